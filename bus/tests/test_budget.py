"""What is still coming in is bounded too: from the head of a request on, until it is answered."""

from __future__ import annotations

import asyncio
import tracemalloc
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from ipaddress import ip_network

import pytest
from bus_under_test import ORIGIN, PATIENCE, Answer, Bus, StartBus
from eventbus.budget import Budget
from eventbus.config import Settings
from eventbus.log import open_log
from eventbus.problems import Unavailable

Hold = Callable[..., Awaitable[tuple[StreamReader, StreamWriter]]]


def test_what_is_held_is_bounded_until_it_is_let_go() -> None:
    budget = Budget(10)

    with budget.hold(6, host="a"), budget.hold(4, host="a"), pytest.raises(Unavailable), budget.hold(1, host="a"):
        pass
    with budget.hold(10, host="a"), budget.hold(0, host="a"):
        pass


def test_what_goes_wrong_is_let_go_too() -> None:
    budget = Budget(10)

    for _ in range(2):
        with suppress(ZeroDivisionError), budget.hold(10, host="a"):
            raise ZeroDivisionError


def test_what_is_larger_than_the_whole_passes_alone() -> None:
    budget = Budget(10)

    with budget.hold(11, host="a"), pytest.raises(Unavailable), budget.hold(11, host="a"):
        pass
    with budget.hold(11, host="a"):
        pass


def test_a_host_has_its_share_and_leaves_the_rest_to_others() -> None:
    budget = Budget(10, share=0.5)

    with budget.hold(5, host="a"), budget.hold(5, host="b"):
        for host in ("a", "c"):
            with pytest.raises(Unavailable), budget.hold(1, host=host):
                pass
    with budget.hold(5, host="a"), pytest.raises(Unavailable), budget.hold(1, host="a"):
        pass


# Over the wire.


@pytest.fixture
async def bus(start: StartBus, monkeypatch: pytest.MonkeyPatch) -> Bus:
    monkeypatch.setattr("eventbus.budget.MAX_HELD", 10_000)  # a host that shows no service's token has a quarter
    proxies = (ip_network("127.0.0.1"),)
    return await start(open_log("memory:"), Settings(max_body=1_000, client_rate=0, trusted_proxies=proxies))


@pytest.fixture
async def hold(bus: Bus) -> AsyncIterator[Hold]:
    """Send a head, and a body that is not complete: `await hold(*headers)`."""
    writers = []

    async def hold(*headers: str, body: bytes = b"x" * 999) -> tuple[StreamReader, StreamWriter]:
        reader, writer = await asyncio.open_connection(*bus.address)
        writers.append(writer)
        head = ["POST / HTTP/1.1", "Host: bus", *(headers or ["Content-Length: 1000"])]
        writer.write("\r\n".join([*head, "\r\n"]).encode() + body)
        await writer.drain()
        return reader, writer

    yield hold
    for writer in writers:
        writer.close()


async def until(status: int, publish: Callable[[], Awaitable[Answer]]) -> Answer:
    """Publish until it is answered so: what others sent or closed is noticed in a moment."""
    async with asyncio.timeout(PATIENCE):
        while (answer := await publish()).status != status:
            assert answer.status in (200, 503)
    return answer


@pytest.mark.parametrize("length", ["Content-Length: 1000", "Content-Length: 99999", "Transfer-Encoding: chunked"])
async def test_bodies_that_are_held_back_keep_out_their_host_but_no_other_and_no_service(
    bus: Bus, hold: Hold, length: str
) -> None:
    token = await bus.new_token()
    body = b"10\r\n" if "chunked" in length else b"x" * 999
    holders = [await hold(length, body=body) for _ in range(2)]
    event = {"name": "hi", "context": {"identifier": token}, "data": "x" * 600}

    refused = await until(503, lambda: bus.post(event, Origin=ORIGIN))

    assert refused.json["title"] == "Unavailable"
    assert refused.headers["Retry-After"] == "1"
    assert refused.headers["Access-Control-Allow-Origin"] == ORIGIN
    await bus.publish("hi", service="the-service", data="x" * 900)
    assert (await bus.post(event, **{"X-Forwarded-For": "192.0.2.1"})).status == 200
    assert (await bus.post(event, authorization="a guess")).status == 401
    for _, writer in holders:
        writer.close()
    await until(200, lambda: bus.post(event))
    assert [(await bus.post(event)).status for _ in range(10)] == [200] * 10


async def test_who_is_refused_hears_so_before_the_body_has_come(bus: Bus, hold: Hold) -> None:
    connections = [await hold() for _ in range(3)]

    answers = {asyncio.create_task(reader.readline()) for reader, _ in connections}
    done, waiting = await asyncio.wait(answers, timeout=PATIENCE, return_when=asyncio.FIRST_COMPLETED)
    for task in waiting:
        task.cancel()

    assert [task.result() for task in done] == [b"HTTP/1.1 503 Service Unavailable\r\n"]


async def test_a_service_has_bounds_as_well_and_keeps_no_client_out(bus: Bus, hold: Hold) -> None:
    token = await bus.new_token()
    event = {"name": "hi", "data": "x" * 600}
    for _ in range(9):
        await hold("Authorization: the-service", "Content-Length: 1000")
    await hold("Authorization: the-service", "Content-Length: 500", body=b"x")

    await until(503, lambda: bus.post(event, authorization="the-service"))

    await bus.publish("hi", token=token, data="x" * 600)


async def test_what_is_refused_for_its_form_is_let_go(bus: Bus) -> None:
    token = await bus.new_token()
    for body in (b"x" * 1000, b"x" * 1001, b'{"name": 1}', b'{"name": "hi", "context": {}}'):
        for _ in range(5):
            assert (await bus.post(body)).status in (400, 401, 413, 422)

    await bus.publish("hi", token=token, data="x" * 600)


@pytest.mark.parametrize(
    ("body", "status"), [(b"x" * 200_000, b"400"), (b'{"name": "hi", "data": "%s"}' % (b"x" * 200_000), b"401")]
)
async def test_nothing_is_kept_of_a_body_that_was_answered_though_its_connection_stays(
    start: StartBus, body: bytes, status: bytes
) -> None:
    bus = await start(open_log("memory:"))
    request = b"POST / HTTP/1.1\r\nHost: bus\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    writers = []

    async def publish() -> None:
        reader, writer = await asyncio.open_connection(*bus.address)
        writers.append(writer)
        writer.write(request)
        async with asyncio.timeout(PATIENCE):
            assert status in await reader.readline()
            await reader.readuntil(b"}")

    tracemalloc.start()
    try:
        await publish()
        before, _ = tracemalloc.get_traced_memory()
        for _ in range(10):
            await publish()
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
        for writer in writers:
            writer.close()

    assert after - before < 5 * len(body)
