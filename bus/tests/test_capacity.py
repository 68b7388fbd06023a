"""Connections in all: fewer than the system's files. Silent ones go first, and services find room."""

from __future__ import annotations

import asyncio
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress

import pytest
from bus_under_test import HANDSHAKE, KEY, PATIENCE, BusProcess, StartProcess, below_aiohttp
from eventbus.limits.open_files import Capacity, capacity_of
from eventbus.problems import Overloaded


class Connection:
    """Remembers whether it was told to go."""

    def __init__(self, *, is_idle: bool = False) -> None:
        self.was_refused = self.was_parted = False
        self.is_idle = is_idle

    def part(self) -> None:
        self.was_parted = True

    def refuse(self, problem: Overloaded) -> None:
        self.was_refused = True


def enter(capacity: Capacity, count: int, *, heard: bool = False) -> list[Connection]:
    connections = [Connection() for _ in range(count)]
    for connection in connections:
        capacity.enter(connection)
        if heard:
            capacity.heard(connection)
    return connections


def test_the_oldest_that_has_asked_for_nothing_makes_room() -> None:
    capacity = Capacity(100)
    enter(capacity, 50, heard=True)
    silent = enter(capacity, 40)

    newest = enter(capacity, 3, heard=True)

    assert [connection.was_refused for connection in silent] == [True] * 3 + [False] * 37
    assert not any(connection.was_refused for connection in newest)


def test_where_all_have_asked_for_something_only_a_service_finds_room() -> None:
    capacity = Capacity(100)
    heard = enter(capacity, 90, heard=True)
    [stranger, service] = Connection(), Connection()

    assert not capacity.enter(stranger)
    assert not capacity.enter(service)
    capacity.is_a_service_s(service)
    enter(capacity, 10)  # as many as are kept: the first of those that were asked goes

    assert (stranger.was_refused, service.was_refused) == (True, False)
    assert not any(connection.was_refused for connection in heard)
    capacity.leave(heard[0])
    assert capacity.enter(Connection())


def test_of_those_that_have_asked_for_something_the_one_that_is_idle_for_longest_makes_room() -> None:
    capacity = Capacity(100)
    busy, idle = enter(capacity, 20, heard=True), enter(capacity, 70, heard=True)
    for connection in idle:
        connection.is_idle = True
    capacity.heard(idle[0])  # once more

    newest = Connection()
    assert capacity.enter(newest)

    assert [connection.was_parted for connection in idle[:3]] == [False, True, False]
    assert not any(connection.was_parted or connection.was_refused for connection in (*busy, newest))


def test_services_may_have_all_that_is_kept_for_them_and_no_more() -> None:
    capacity = Capacity(100)
    enter(capacity, 90, heard=True)
    for service in enter(capacity, 10):
        capacity.is_a_service_s(service)

    with pytest.raises(Overloaded):
        capacity.enter(Connection())


@pytest.mark.parametrize(("files", "connections"), [(40, 20), (256, 128), (1024, 896), (10_240, 10_112)])
def test_some_files_are_left_for_others(files: int, connections: int) -> None:
    assert capacity_of(files) == connections


# A bus that may have few files open

Connect = Callable[..., Awaitable[tuple[StreamReader, StreamWriter]]]
HALF = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Half: "
WHOLE = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
REFUSED = b"HTTP/1.1 503 Service Unavailable"
PUBLISH = b"POST / HTTP/1.1\r\nHost: localhost\r\nAuthorization: %b\r\nContent-Length: 14\r\n\r\n" + b'{"name": "hi"}'


@pytest.fixture
async def bus(run: StartProcess) -> BusProcess:
    return await run(prefix=("sh", "-c", 'ulimit -n 256; exec "$@"', "sh"))


@pytest.fixture
async def connect(bus: BusProcess) -> AsyncIterator[Connect]:
    """Connect from another machine, and say something: `await connect("127.0.0.2", b"…")`."""
    writers = []

    async def connect(host: str, said: bytes) -> tuple[StreamReader, StreamWriter]:
        reader, writer = await asyncio.open_connection(*bus.address, local_addr=(host, 0))
        writers.append(writer)
        writer.write(said)
        return reader, writer

    yield connect
    for writer in writers:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


async def answer(connection: tuple[StreamReader, StreamWriter]) -> bytes:
    async with asyncio.timeout(PATIENCE):
        return (await connection[0].readline()).strip()


async def test_half_heads_of_two_hosts_keep_nobody_out(bus: BusProcess, connect: Connect) -> None:
    for number in range(260):
        await connect(f"127.0.0.{2 + number % 2}", HALF)

    assert await answer(await connect("127.0.0.9", WHOLE)) == b"HTTP/1.1 200 OK"
    assert await answer(await connect("127.0.0.9", PUBLISH % b"the-service")) == b"HTTP/1.1 200 OK"
    token = await bus.new_token()
    await bus.publish("hi", token=token)
    assert "no more connections" not in bus.output


@below_aiohttp
async def test_whole_requests_of_two_hosts_keep_nobody_out(bus: BusProcess, connect: Connect) -> None:
    for number in range(260):
        assert await answer(await connect(f"127.0.0.{2 + number % 2}", WHOLE)) in (b"HTTP/1.1 200 OK", REFUSED)

    assert await answer(await connect("127.0.0.9", WHOLE)) == b"HTTP/1.1 200 OK"
    token = await bus.new_token()
    await bus.publish("hi", token=token)
    assert "no more connections" not in bus.output


@below_aiohttp
async def test_where_all_are_busy_others_are_told_to_come_later_and_services_get_in(
    bus: BusProcess, connect: Connect
) -> None:
    for number in range(110):
        connected = await answer(await connect(f"127.0.0.{2 + number % 2}", HANDSHAKE + KEY))
        assert connected == b"HTTP/1.1 101 Switching Protocols"
    for _ in range(30):
        await connect("127.0.0.4", HALF)  # in the part that is kept for services, as long as none comes

    while await answer(await connect("127.0.0.9", HANDSHAKE + KEY)) == b"HTTP/1.1 101 Switching Protocols":
        pass
    refused = await connect("127.0.0.9", PUBLISH % b"a-guess")

    assert await answer(refused) == REFUSED
    assert b"connections are taken or kept for services" in await refused[0].read()
    service = await connect("127.0.0.9", PUBLISH % b"the-service")
    assert await answer(service) == b"HTTP/1.1 200 OK"
    await service[0].readuntil(b"}")
    service[1].write(PUBLISH % b"the-service")  # and stays
    assert await answer(service) == b"HTTP/1.1 200 OK"
    assert "no more connections" not in bus.output
