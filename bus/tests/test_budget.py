"""What is still coming in is bounded too: from the head of a request on, until it is answered."""

from __future__ import annotations

import asyncio
import tracemalloc
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager, suppress
from ipaddress import ip_network

import pytest
from bus_under_test import ORIGIN, PATIENCE, Answer, Bus, StartBus
from eventbus.config import Settings
from eventbus.limits.refused_bytes import RefusedBytes
from eventbus.limits.request_bytes import Budget
from eventbus.log.by_url import open_log
from eventbus.problems import LogUnavailable, Overloaded
from eventbus.publishing import Receipts

Hold = Callable[..., Awaitable[tuple[StreamReader, StreamWriter]]]


@contextmanager
def held(budget: Budget, *sizes: int, host: str = "a") -> Iterator[None]:
    """Hold so many bytes, which come one part after the other."""
    with budget.hold(host=host) as hold:
        for size in sizes:
            hold.grow(size)
        yield


def has_room(budget: Budget, *sizes: int, host: str = "a") -> bool:
    try:
        with held(budget, *sizes, host=host):
            return True
    except Overloaded:
        return False


def test_what_is_held_is_bounded_until_it_is_let_go() -> None:
    budget = Budget(10)

    with held(budget, 6), held(budget, 3, 1):
        assert not has_room(budget, 1)
    assert has_room(budget, 10)


def test_a_request_of_which_nothing_came_holds_nothing() -> None:
    budget = Budget(10)

    with ExitStack() as silent:
        for _ in range(100):
            silent.enter_context(budget.hold(host="a"))
        assert has_room(budget, 10)


def test_what_goes_wrong_is_let_go_too() -> None:
    budget = Budget(10)

    for _ in range(2):
        with suppress(ZeroDivisionError), held(budget, 10):
            raise ZeroDivisionError
    with held(budget, 5):
        assert not has_room(budget, 5, 1)
    assert has_room(budget, 10)


def test_what_is_larger_than_the_whole_passes_alone() -> None:
    budget = Budget(10)

    with held(budget, 6, 5):
        assert not has_room(budget, 11)
    assert has_room(budget, 11)


def test_a_host_has_its_share_and_leaves_the_rest_to_others() -> None:
    budget = Budget(10, share=0.5)

    with held(budget, 5, host="a"), held(budget, 5, host="b"):
        assert not has_room(budget, 1, host="a")
        assert not has_room(budget, 1, host="c")
    with held(budget, 5, host="a"):
        assert not has_room(budget, 1, host="a")
        assert has_room(budget, 5, host="b")


def test_small_requests_pass_beside_large_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eventbus.limits.request_bytes.SMALL", 10)
    budget = Budget(100)

    with held(budget, 5, 40, host="a"), held(budget, 30, host="b"):
        assert not has_room(budget, 5, 6, host="c")
        assert has_room(budget, 5, 5, host="c")
    assert has_room(budget, 75)


def test_all_hosts_of_a_site_have_a_share_together_and_other_sites_theirs() -> None:
    budget = Budget(80, share=1 / 8)

    with ExitStack() as all_held:
        for number in range(4):
            all_held.enter_context(held(budget, 10, host=f"2001:db8:0:{number}::/64"))
        assert not has_room(budget, 1, host="2001:db8:0:ffff::/64")
        assert has_room(budget, 10, host="2001:db8:1::/64")
        assert has_room(budget, 10, host="192.0.2.1")


def test_a_host_keeps_its_count_while_thousands_of_others_come() -> None:
    budget = Budget(10, share=0.5)

    with held(budget, 5, host="a"):
        for number in range(2_000):
            assert has_room(budget, 1, host=f"host {number}")
        assert not has_room(budget, 1, host="a")
    assert has_room(budget, 5, host="a")


# Over the wire.


@pytest.fixture
async def bus(start: StartBus, monkeypatch: pytest.MonkeyPatch) -> Bus:
    monkeypatch.setattr(
        "eventbus.limits.request_bytes.MAX_HELD", 20_000
    )  # a host that shows no service's token has an eighth
    monkeypatch.setattr("eventbus.edges.requests.COUNTED_AT_ONCE", 1)
    proxies = (ip_network("127.0.0.1"),)
    return await start(open_log("memory:"), Settings(max_body=1_000, client_rate=0, trusted_proxies=proxies))


@pytest.fixture
async def hold(bus: Bus) -> AsyncIterator[Hold]:
    """Send a head, and a body that is not complete: `await hold(*headers)`."""
    writers = []

    async def hold(*headers: str, body: bytes = b"x" * 999) -> tuple[StreamReader, StreamWriter]:
        reader, writer = await asyncio.open_connection(*bus.address)
        writers.append(writer)
        head = ["POST / HTTP/1.1", "Host: localhost", *(headers or ["Content-Length: 1000"])]
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
    body = (b"3e8\r\n" if "chunked" in length else b"") + b"x" * 999
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
    for _ in range(20):
        await hold("Authorization: the-service", "Content-Length: 1000")

    await until(503, lambda: bus.post(event, authorization="the-service"))

    await bus.publish("hi", token=token, data="x" * 600)


async def test_who_announces_much_and_sends_nothing_keeps_nobody_out(start: StartBus) -> None:
    bus = await start(open_log("memory:"))
    token = await bus.new_token()
    async with AsyncExitStack() as silent:
        for number in range(64):
            request = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1048576\r\n\r\n"
            await silent.enter_async_context(sent(bus, request, host=f"127.0.0.{10 + number % 4}"))

        assert (await bus.request("GET", "/healthz")).status == 200  # those before it have been read
        await bus.publish("hi", token=token)
        await bus.publish("hi", service="the-service", data="x" * 100_000)
        for number in range(10, 14):
            line = await first_line(bus, whole(b'{"name": "hi"}'), host=f"127.0.0.{number}")
            assert line == b"HTTP/1.1 401 Unauthorized\r\n"  # no token: it was read


@pytest.mark.parametrize("service", [True, False])
async def test_several_hosts_may_send_the_largest_batches_at_the_same_time(start: StartBus, service: bool) -> None:
    bus = await start(open_log("memory:"), Settings(client_rate=0))
    context = b"{}" if service else b'{"identifier": "%b"}' % (await bus.new_token()).encode()
    event = b'{"name": "hi", "context": %b, "data": "%b"}' % (context, b"x" * 250_000)
    request = whole(b"[" + b",".join([event] * 4) + b"]", *([b"Authorization: the-service\r\n"] if service else []))

    async with asyncio.TaskGroup() as group:
        lines = [group.create_task(first_line(bus, request, host=f"127.0.0.{number}")) for number in range(10, 26)]

    assert [line.result() for line in lines] == [b"HTTP/1.1 200 OK\r\n"] * 16


def whole(body: bytes, *headers: bytes) -> bytes:
    head = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n" % len(body)
    return head + b"".join(headers) + b"\r\n" + body


@asynccontextmanager
async def sent(bus: Bus, request: bytes, *, host: str) -> AsyncIterator[StreamReader]:
    """Send bytes from another machine, and stay connected."""
    reader, writer = await asyncio.open_connection(*bus.address, local_addr=(host, 0))
    try:
        writer.write(request)
        await writer.drain()
        yield reader
    finally:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


async def first_line(bus: Bus, request: bytes, *, host: str) -> bytes:
    async with asyncio.timeout(PATIENCE), sent(bus, request, host=host) as reader:
        return await reader.readline()


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
    request = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(body) + body
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


async def test_what_is_refused_has_a_rate_too_which_services_do_not_feel(start: StartBus) -> None:
    bus = await start(open_log("memory:"), Settings(client_rate=0))
    junk = b"[" + b'{"name":"hi","context":{"identifier":"token-of-nobody"}},' * 18_000 + b"0]"

    refused = [(await bus.post(junk)).status for _ in range(25)]

    assert refused[:10] == [413] * 10
    assert refused[-1] == 429
    assert int((await bus.post(junk)).headers["Retry-After"]) >= 1
    await bus.publish("hi", service="the-service")


async def test_what_the_bus_could_not_store_is_not_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    class NoDisk:
        async def publish(self, *_: object, **__: object) -> Receipts:
            raise LogUnavailable("the disk is full")

    refused = RefusedBytes(NoDisk(), clock=lambda: 0.0)  # type: ignore[arg-type]

    for _ in range(100):
        with pytest.raises(LogUnavailable):
            await refused.publish(b"x" * 1_000_000, None, host="h")
