"""What one connection can cost is bounded, in memory and in turns, whatever it sends; others are served meanwhile."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from bus_under_test import ORIGIN, PATIENCE, Bus, BusProcess, StartBus, StartProcess, below_aiohttp
from eventbus.edges import requests as incoming
from eventbus.log.by_url import open_log
from eventbus.server import aiohttp_inside

MiB = 1024 * 1024
CHUNKED = b"POST / HTTP/1.1\r\nHost: localhost\r\nAuthorization: the-service\r\nTransfer-Encoding: chunked\r\n\r\n"
LAST = CHUNKED.replace(b"Transfer", b"Connection: close\r\nTransfer")
ONE_BYTE = b"1\r\na\r\n"
BROKEN = CHUNKED + ONE_BYTE * 15_000 + b"Z"


def chunked(body: bytes, size: int) -> bytes:
    pieces = [body[start : start + size] for start in range(0, len(body), size)]
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


def event_of(size: int) -> bytes:
    return b'{"name": "hi", "data": "' + b"x" * (size - 26) + b'"}'


def peak(bus: BusProcess) -> int:
    """Bytes of memory that a bus has had at most."""
    [line] = [line for line in Path(f"/proc/{bus.process.pid}/status").read_text().splitlines() if "VmHWM" in line]
    return int(line.split()[1]) * 1024


@asynccontextmanager
async def flood(bus: Bus, request: bytes, *, connections: int) -> AsyncIterator[list[asyncio.Task[bytes]]]:
    """Send a request on each of some connections; give what is answered first on each."""
    async with asyncio.TaskGroup() as group:
        answers = [group.create_task(_first_line(bus, request)) for _ in range(connections)]
        yield answers
        for answer in answers:
            answer.cancel()


async def _first_line(bus: Bus, request: bytes) -> bytes:
    reader, writer = await asyncio.open_connection(*bus.address)
    try:
        writer.write(request)
        return await reader.readline()
    except ConnectionError:
        return b""
    finally:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


async def publish_from(bus: Bus, host: str) -> bytes:
    """Publish as a service on another machine; return the answer's first line."""
    reader, writer = await asyncio.open_connection(*bus.address, local_addr=(host, 0))
    writer.write(b"POST / HTTP/1.1\r\nHost: localhost\r\nAuthorization: the-service\r\nContent-Length: 14\r\n\r\n")
    writer.write(b'{"name": "hi"}')
    line = await reader.readline()
    writer.close()
    with suppress(ConnectionError):
        await writer.wait_closed()
    return line


# Bodies whose length was not announced


@below_aiohttp
@pytest.mark.parametrize("more", [b"zz\r\n", b"1\r\naZ", b"-1\r\n", b"1\ra"], ids=repr)
@pytest.mark.parametrize("before", [b"", ONE_BYTE, ONE_BYTE * 15_000], ids=["first", "second", "late"])
async def test_a_body_whose_chunks_are_broken_is_refused_at_once(bus: Bus, before: bytes, more: bytes) -> None:
    reader, writer = await asyncio.open_connection(*bus.address)
    writer.write(CHUNKED.replace(b"\r\n\r\n", b"\r\nOrigin: " + ORIGIN.encode() + b"\r\n\r\n", 1) + ONE_BYTE)
    await until_current_request(bus)

    writer.write(before + more)
    async with asyncio.timeout(PATIENCE):
        answer = await reader.read()

    assert answer.startswith(b"HTTP/1.1 400 ")
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["detail"].startswith("the body could not be read: ")
    assert answer.count(b"HTTP/1.1") == 1
    writer.close()


async def until_current_request(bus: Bus) -> None:
    """Let the bus take up what was sent before: it answers one that comes later."""
    for _ in range(3):
        assert (await bus.request("GET", "/healthz")).status == 200


@below_aiohttp
async def test_broken_bodies_hold_no_memory_and_keep_nobody_waiting(run: StartProcess) -> None:
    bus = await run(EVENTBUS_LOG="memory:")
    quiet = peak(bus)

    async with flood(bus, BROKEN, connections=100) as answers:
        assert await publish_from(bus, "127.0.0.2") == b"HTTP/1.1 200 OK\r\n"
        async with asyncio.timeout(6 * PATIENCE):  # 1,500,000 chunks, under coverage too
            lines = await asyncio.gather(*answers)

    assert {line.split()[1] for line in lines} <= {b"400", b"408", b"503"}  # 408 on a machine that is busy
    assert peak(bus) - quiet < 40 * MiB
    assert await bus.stop() == 0


@below_aiohttp
async def test_a_flood_of_chunks_is_refused_and_others_are_served_meanwhile(run: StartProcess) -> None:
    bus = await run(EVENTBUS_LOG="memory:")
    quiet = peak(bus)

    async with flood(bus, CHUNKED + ONE_BYTE * 300_000, connections=60) as answers:
        for _ in range(5):
            assert await publish_from(bus, "127.0.0.2") == b"HTTP/1.1 200 OK\r\n"
        assert not all(answer.done() for answer in answers)
        assert peak(bus) - quiet < 40 * MiB
        bus.process.send_signal(signal.SIGTERM)
        assert await bus.exit_status() == 0


@below_aiohttp
async def test_the_number_of_chunks_is_bounded(bus: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(incoming, "MAX_CHUNKS", 100)

    answer = await bus.raw(LAST + chunked(event_of(100), 1))
    refused = await bus.raw(CHUNKED + chunked(event_of(101), 1))

    assert answer.startswith(b"HTTP/1.1 200 ")
    head, _, body = refused.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 413 ")
    assert b"Connection: close" in head
    assert json.loads(body)["detail"] == "the body has more than 100 chunks, which is the limit; send it in larger ones"


@pytest.mark.parametrize("size", [4, 16, 1000, 65_536, 300_000])
async def test_a_large_body_may_come_in_small_chunks(bus: Bus, size: int) -> None:
    most = min(256 * 1024, size * incoming.MAX_CHUNKS)
    async with bus.service() as service:
        answer = await bus.raw(LAST + chunked(event_of(most), size))

        assert answer.startswith(b"HTTP/1.1 200 ")
        assert len((await service.hear())["data"]) == most - 26


async def test_a_batch_of_a_mebibyte_may_come_in_pieces_of_16_bytes(bus: Bus) -> None:
    batch = b"[" + b",".join([event_of(200_000)] * 5) + b"]"

    answer = await bus.raw(LAST + chunked(batch, 16))

    assert answer.startswith(b"HTTP/1.1 200 ")


async def test_extensions_and_trailers_of_chunks_are_passed_over(bus: Bus) -> None:
    answer = await bus.raw(LAST + b'e;name=value;other="quoted"\r\n{"name": "hi"}\r\n0;last\r\nChecksum: abc\r\n\r\n')

    assert answer.startswith(b"HTTP/1.1 200 ")


# Heads


@pytest.mark.parametrize("piece", [b"X-%d: " + b"x" * 8000 + b"\r\n", b"x-%d: x\r\n"], ids=["long", "many"])
async def test_a_head_without_end_is_refused(bus: Bus, piece: bytes) -> None:
    head = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n" + b"".join(piece % number for number in range(120))

    answer = await bus.raw(head + b"Y: " + b"y" * 8000 + b"\r\nZ: " + b"z" * 9000)

    assert answer.split(b" ")[1] in (b"400", b"431")
    assert answer.count(b"HTTP/1.") == 1


async def test_a_head_may_have_24_kib_as_browsers_with_many_cookies_send_it(bus: Bus) -> None:
    cookies = b"".join(b"Cookie-%d: " % number + b"x" * 8000 + b"\r\n" for number in range(3))

    answer = await bus.raw(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n" + cookies + b"\r\n")

    assert answer.startswith(b"HTTP/1.1 200 ")


# All of a connection's bytes come to their place, however they are cut


@pytest.mark.parametrize("piece", [1, 7, 4096, 10**6])
async def test_many_requests_in_any_pieces_are_answered_in_their_order(
    start: StartBus, monkeypatch: pytest.MonkeyPatch, piece: int
) -> None:
    monkeypatch.setattr(aiohttp_inside, "PIECE", piece)
    bus = await start(open_log("memory:"))
    get = b"GET /%b HTTP/1.1\r\nHost: localhost\r\n\r\n"
    requests: Sequence[bytes] = [
        get % b"healthz", get % b"nowhere", CHUNKED + chunked(event_of(300), 5), get % b"readyz",
        CHUNKED.replace(b"Transfer-Encoding: chunked", b"Content-Length: 300") + event_of(300), get % b"nowhere",
    ]  # fmt: skip

    answer = await bus.raw(b"".join(requests * 20) + get.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n") % b"ws")

    assert [int(part[:3]) for part in answer.split(b"HTTP/1.1 ")[1:]] == [200, 404, 200, 200, 200, 404] * 20 + [400]
