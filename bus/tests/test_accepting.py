"""Connections: no host can take them all, and none is kept that says nothing."""

from __future__ import annotations

import asyncio
import gc
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from ipaddress import ip_network

import pytest
from bus_under_test import PATIENCE, StartBus, below_aiohttp
from eventbus.limits.turns import Turns
from eventbus.log.by_url import open_log
from eventbus.problems import Overloaded
from eventbus.server import first_states
from eventbus.server.door import Door

Connect = Callable[[], Awaitable[tuple[StreamReader, StreamWriter]]]


class Echo(asyncio.Protocol):
    """Says what it hears."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


@pytest.fixture
async def connect() -> AsyncIterator[Connect]:
    """Connect to a server that echoes, and takes two connections of a host."""
    server = await asyncio.get_running_loop().create_server(Door(lambda _: Echo(), most=2, total=100), "127.0.0.1", 0)
    opened: list[StreamWriter] = []

    async def connect() -> tuple[StreamReader, StreamWriter]:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        opened.append(writer)
        return reader, writer

    yield connect
    for writer in opened:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()
    server.close()


async def echo(connection: tuple[StreamReader, StreamWriter], said: bytes) -> bytes:
    reader, writer = connection
    writer.write(said)
    async with asyncio.timeout(PATIENCE):
        return await reader.readexactly(len(said))


async def test_a_host_has_so_many_connections_and_is_told_so(connect: Connect) -> None:
    one, two = await connect(), await connect()
    assert [await echo(one, b"one"), await echo(two, b"two")] == [b"one", b"two"]

    reader, _ = await connect()
    async with asyncio.timeout(PATIENCE):
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")

    assert head.startswith(b"HTTP/1.1 503 ")
    assert b"Retry-After: 1" in head
    assert b"your host has 2 connections, as many as it may; close some" in body
    assert await echo(one, b"still there") == b"still there"


async def test_one_that_goes_leaves_room_for_another(connect: Connect) -> None:
    await connect()
    for _ in range(5):
        reader, writer = await connect()
        assert await echo((reader, writer), b"hello") == b"hello"
        writer.close()
        await writer.wait_closed()
        async with asyncio.timeout(PATIENCE):
            while not await _has_room(connect):
                pass


async def _has_room(connect: Connect) -> bool:
    reader, writer = await connect()
    writer.write(b"x")
    answer = await reader.read(1)
    writer.close()
    await writer.wait_closed()
    return answer == b"x"


def test_a_trusted_proxy_may_have_any_number() -> None:
    door = Door(lambda _: Echo(), most=1, total=100, proxies=[ip_network("10.0.0.0/8")])

    for _ in range(3):
        door.enter("10.1.2.3")
    door.enter("192.0.2.1")
    with pytest.raises(Overloaded):
        door.enter("192.0.2.1")


async def test_one_that_says_nothing_is_cut_off_and_one_that_spoke_is_not(
    start: StartBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(first_states, "FIRST_WORD", 0.2)
    bus = await start(open_log("memory:"))
    spoke_reader, spoke = await asyncio.open_connection(*bus.address)
    spoke.write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert await spoke_reader.readuntil(b"}") != b""
    silent, silent_too = await asyncio.open_connection(*bus.address)

    async with asyncio.timeout(PATIENCE):
        with suppress(ConnectionResetError):
            assert await silent.read() == b""

    spoke.write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert b"alive" in await spoke_reader.readuntil(b"}")
    spoke.close()
    silent_too.close()


@below_aiohttp
async def test_a_request_whose_connection_ends_before_its_turn_begins_nothing(
    start: StartBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    bus = await start(open_log("memory:"))
    wait = Turns.wait

    def end_first(turns: Turns, host: str, turn: Callable[[], None]) -> None:
        def end_and_turn() -> None:
            turn.__self__.transport.close()  # type: ignore[attr-defined]
            turn()

        wait(turns, host, end_and_turn)

    with monkeypatch.context() as patch:
        patch.setattr(Turns, "wait", end_first)
        assert await bus.raw(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n") == b""

    gc.collect()  # a task that has failed, and that nobody waits for, says so when it goes
    assert (await bus.request("GET", "/healthz")).status == 200
