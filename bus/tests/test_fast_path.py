"""The short cut: whatever comes, in whatever pieces, the answers and the log are the same with it as without it."""

from __future__ import annotations

import asyncio
import re
import socket
from asyncio import StreamReader, StreamWriter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import bus_under_test
import pytest
from aiohttp import web
from bus_under_test import ORIGIN, PATIENCE, Bus, StartBus, StartProcess
from eventbus.app import create_app
from eventbus.config import Settings
from eventbus.edges.http_api import HttpApi
from eventbus.edges.parts import EDGES
from eventbus.log import Log
from eventbus.log.by_url import open_log
from eventbus.log.memory import MemoryLog
from eventbus.patterns import Patterns
from eventbus.routing import Service
from eventbus.server.plain_heads import MAX_HEADS
from eventbus.server.plain_requests import READ_AHEAD, PlainRequests
from eventbus.server.running import create_runner, serve
from eventbus.services import Services
from hypothesis import example, given, settings
from hypothesis import strategies as st

LAST = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
"""After it, whoever is in step closes the connection."""

SERVICES = Services(
    {"the-service": Service(name="all"), "the-answerer": Service(name="one", publish=Patterns(["*-completed"]))}
)

QUIET = 0.3
"""Seconds in which nothing comes from a bus that waits for more; if the two differ, both have longer."""


def request(body: bytes, *headers: str, line: str = "POST / HTTP/1.1", length: str | None = None) -> bytes:
    lines = [line, "Host: localhost", *headers, f"Content-Length: {len(body) if length is None else length}", "", ""]
    return "\r\n".join(lines).encode("latin-1") + body


EVENT = b'{"name": "check-domain", "data": [1, 2.50, {"a": "\\u00e9"}]}'
SERVICE = "Authorization: Bearer the-service"

PLAIN = [
    request(EVENT, SERVICE),
    request(EVENT, "Authorization: the-service", "Content-Type: application/json", "User-Agent: test"),
    request(EVENT, SERVICE, f"Origin: {ORIGIN}"),
    request(EVENT, SERVICE, "Connection: keep-alive", "X-Forwarded-For: 192.0.2.1"),
    request(EVENT, SERVICE, line="POST /events HTTP/1.1"),
    request(b'[{"name": "a", "id": "1"}, {"name": "b", "data": null}]', SERVICE),
    request(b'{"name": "again", "id": "same"}', SERVICE),
]
REFUSED = [
    request(EVENT, SERVICE, "Origin: http://elsewhere"),
    request(EVENT, SERVICE, "Origin: null"),
    request(EVENT, SERVICE, f"Origin: {ORIGIN}", "Origin: http://elsewhere"),
    request(EVENT).replace(b"localhost", b"evil.test"),
    request(EVENT, SERVICE).replace(b"localhost", b"a.service.may"),
    request(EVENT),
    request(EVENT, "Authorization: Bearer wrong", f"Origin: {ORIGIN}"),
    request(EVENT, SERVICE, SERVICE),
    request(b'{"name": "check-domain"}', "Authorization: the-answerer", f"Origin: {ORIGIN}"),
    request(b'{"name": "hi", "context": {"identifier": "token-x"}}', f"Origin: {ORIGIN}"),
    request(b"no JSON", SERVICE),
    request(b'{"name": "\xff"}', SERVICE),
    request(b'{"name": "white space"}', SERVICE),
    request(b"[]", SERVICE),
    request(b'[{"name": "a"}, {"name": ""}]', SERVICE),
    request(b'{"name": "a", "data": ' + b"[" * 65 + b"]" * 65 + b"}", SERVICE),
    request(b'{"name": "a", "data": "' + b"x" * 3000 + b'"}', SERVICE),
    request(b"x" * 6000, SERVICE),
]
WELL_FORMED = [
    b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"OPTIONS / HTTP/1.1\r\nHost: localhost\r\nOrigin: %b\r\n\r\n" % ORIGIN.encode(),
    request(EVENT, SERVICE, line="PUT / HTTP/1.1"),
    request(EVENT, SERVICE, line="POST /nowhere HTTP/1.1"),
    request(EVENT, SERVICE, line="POST /?a=b HTTP/1.1"),
    request(EVENT, SERVICE, line="POST http://bus/ HTTP/1.1"),
    request(EVENT, SERVICE, line="\r\nPOST / HTTP/1.1"),
    request(EVENT, SERVICE, "Content-Encoding: gzip"),
    request(EVENT, SERVICE, "X: \xe9"),
    request(EVENT, SERVICE, "X: " + "y" * 3000),
    request(EVENT, SERVICE, length=" 60 "),
    request(b"", SERVICE),
]
ODD = [
    request(EVENT, SERVICE).replace(b"Host: localhost\r\n", b""),
    request(EVENT, SERVICE, "Host: evil.test"),
    request(EVENT, SERVICE, "Connection: keep-alive", line="POST / HTTP/1.0"),
    request(EVENT, SERVICE, "Connection: keep-alive, close"),
    request(EVENT, SERVICE, line="PATCH / HTTP/1.1"),
    b"\r\n\r\n" + PLAIN[0],
    request(EVENT, SERVICE, line="POST / HTTP/1.0"),
    request(EVENT, SERVICE, line="POST  / HTTP/1.1"),
    request(EVENT, SERVICE, line="post / HTTP/1.1"),
    request(EVENT, SERVICE, "Connection: close"),
    request(EVENT, SERVICE, "Connection: Upgrade", "Upgrade: websocket"),
    request(EVENT, SERVICE, "Expect: 100-continue"),
    # From the published lists of request smuggling: two parsers may take these for different requests.
    request(EVENT, SERVICE, length="+60"),
    request(EVENT, SERVICE, length="0x3c"),
    request(EVENT, SERVICE, length="6_0"),
    request(EVENT, SERVICE, length="060"),
    request(EVENT, SERVICE, length="60, 60"),
    request(EVENT, SERVICE, length=" 60 "),
    request(EVENT, SERVICE, length="\u0666\u0660".encode().decode("latin-1")),
    request(EVENT, SERVICE, length="-1"),
    request(EVENT, SERVICE, "Content-Length: 0"),
    request(EVENT, SERVICE, "content-length: 60"),
    request(EVENT, SERVICE, "Content-Length : 0"),
    request(EVENT, SERVICE, "X: y", " Content-Length: 0"),
    request(EVENT, SERVICE, "X: y\nContent-Length: 0"),
    request(EVENT, SERVICE, "X: y\rContent-Length: 0"),
    request(EVENT, SERVICE, "X: y\0"),
    request(EVENT, SERVICE, "\x0bTransfer-Encoding: chunked"),
    request(EVENT, SERVICE, "Transfer-Encoding: xchunked"),
    request(EVENT, SERVICE, "Transfer-Encoding: identity"),
    request(EVENT, SERVICE, "Transfer-Encoding:\tchunked"),
    request(EVENT, SERVICE, "Transfer-Encoding : chunked"),
    request(EVENT, SERVICE, "Transfer_Encoding: chunked"),
    request(b"5\r\nhello\r\n0\r\n\r\n", SERVICE, "Transfer-Encoding: chunked"),
    request(b"0\r\n\r\n" + LAST, SERVICE, "Transfer-Encoding: chunked"),
    b"POST / HTTP/1.1\nHost: localhost\n%b\nContent-Length: 60\n\n%b" % (SERVICE.encode(), EVENT),
    b"POST / HTTP/1.1\r\nHost: localhost\r\n%b\r\nContent-Length: 60\n\r\n%b" % (SERVICE.encode(), EVENT),
    b"\r\n\r\n",
    b"\x16\x03\x01 this is TLS",
    b"POST / HTTP/1.1\r\n\r\n",
]


@dataclass
class Pair:
    """Two buses that differ in nothing but the short cut."""

    runner: asyncio.Runner
    logs: list[Log]
    ports: list[int]

    def outcomes(self, pieces: list[bytes], apart: list[bytes] | None = None) -> list[Any]:
        """Send the same to both; return what each answered, and what that added to its log.

        Args:
            pieces: What is sent, one after the other.
            apart: The same for the one without the short cut, each piece once that before it is answered.
        """
        quick = self.runner.run(self._outcomes(pieces, apart, QUIET))
        return quick if quick[0] == quick[1] else self.runner.run(self._outcomes(pieces, apart, PATIENCE / 4))

    async def _outcomes(self, pieces: list[bytes], apart: list[bytes] | None, quiet: float) -> list[Any]:
        with_it, without = Talk(pieces, quiet), Talk(apart or pieces, quiet, waits=apart is not None)
        return list(await asyncio.gather(self._outcome(0, with_it), self._outcome(1, without)))

    async def _outcome(self, which: int, talk: Talk) -> Any:
        log = self.logs[which]
        before = log.head
        await talk.hold(*await asyncio.open_connection("127.0.0.1", self.ports[which]))
        events = await log.read(after=before, limit=1000)
        added = [(event.seq - before, event.content.name, bytes(event.content.data)) for event in events]
        return [_comparable(answer, before) for answer in talk.answers], added


class Talk:
    """One connection: what is said, and what is answered until the other side hangs up or says nothing more."""

    def __init__(self, pieces: list[bytes], quiet: float, *, waits: bool = False) -> None:
        self.pieces = pieces
        self.quiet = quiet
        self.waits = waits  # for an answer, before the next piece is sent
        self.answers: list[Any] = []
        self._answered = asyncio.Event()

    async def hold(self, reader: StreamReader, writer: StreamWriter) -> None:
        reading = asyncio.create_task(self._read(reader))
        with suppress(ConnectionError):
            for piece in self.pieces:
                self._answered.clear()
                writer.write(piece)
                await writer.drain()
                with suppress(TimeoutError):
                    await (asyncio.wait_for(self._answered.wait(), self.quiet) if self.waits else asyncio.sleep(0))
        await reading
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()

    async def _read(self, reader: StreamReader) -> None:
        try:
            while True:
                head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), self.quiet)
                status, *lines = head.decode("latin-1").strip().split("\r\n")
                headers = dict(line.split(": ", 1) for line in lines)
                body = await reader.readexactly(int(headers.get("Content-Length", 0)))
                self.answers.append((status, headers, body))
                self._answered.set()
        except TimeoutError:
            self.answers.append("waits for more")
        except (asyncio.IncompleteReadError, ConnectionError):
            self.answers.append("hung up")
        finally:
            self._answered.set()


def _comparable(answer: Any, before: int) -> Any:
    """Leave out what differs from run to run: the time, ids that the bus makes, where the log stood, and its length."""
    if isinstance(answer, str):
        return answer
    status, headers, body = answer
    headers = {name: value for name, value in headers.items() if name not in ("Date", "Content-Length")}
    text = re.sub(rb"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f-]{21}", b"an-id", body)
    text = re.sub(rb'"seq":(\d+)', lambda match: b'"seq":%d' % max(0, int(match[1]) - before), text)
    return status, headers, text


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    with asyncio.Runner() as runner:
        pair = Pair(runner, [], [])
        opened = [runner.run(_open(pair, on)) for on in (True, False)]
        yield pair
        for serving, app_runner in opened:
            runner.run(serving.stop())
            runner.run(app_runner.cleanup())


async def _open(pair: Pair, on: bool) -> Any:
    log = open_log("memory:")
    options = Settings(max_event=2000, max_body=5000)
    app = create_app(log=log, services=SERVICES, settings=options)
    if not on:
        del app[EDGES]  # then all requests are aiohttp's
    runner = create_runner(app)
    await runner.setup()
    listening = socket.create_server(("127.0.0.1", 0))
    serving = await serve(runner, [listening], settings=options)
    pair.logs.append(log)
    pair.ports.append(listening.getsockname()[1])
    return serving, runner


@pytest.mark.parametrize("odd", PLAIN + REFUSED + WELL_FORMED + ODD, ids=repr)
def test_each_request_means_the_same_alone_and_between_plain_ones(pair: Pair, odd: bytes) -> None:
    alone = pair.outcomes([odd, LAST])
    # Of what comes at once and is broken somewhere, aiohttp answers nothing that came before the break.
    between = pair.outcomes([PLAIN[0] + odd + PLAIN[0] + LAST], apart=[PLAIN[0], odd + PLAIN[0] + LAST])

    assert alone[0] == alone[1]
    assert between[0] == between[1]


@settings(deadline=None, max_examples=200)
@given(
    requests=st.lists(st.sampled_from(PLAIN) | st.sampled_from(PLAIN + REFUSED + WELL_FORMED), max_size=5),
    data=st.data(),
)
@example(requests=[PLAIN[0]] * 20, data=None)
def test_a_stream_of_requests_means_the_same_however_it_is_cut(pair: Pair, requests: list[bytes], data: Any) -> None:
    stream = b"".join(requests) + LAST
    cuts = data.draw(st.lists(st.integers(0, len(stream)), max_size=4)) if data else []
    ends = sorted({*cuts, len(stream)})
    pieces = [stream[begin:end] for begin, end in zip([0, *ends], ends, strict=False)]

    with_it, without = pair.outcomes(pieces)

    assert with_it == without


@settings(deadline=None, max_examples=200)
@given(
    plain=st.sampled_from(PLAIN),
    noise=st.lists(st.tuples(st.integers(0, 400), st.binary(min_size=1, max_size=3)), min_size=1, max_size=3),
)
def test_a_plain_request_with_bytes_changed_means_the_same(
    pair: Pair, plain: bytes, noise: list[tuple[int, bytes]]
) -> None:
    changed = bytearray(plain)
    for place, put in noise:
        changed[place % len(plain) : place % len(plain) + len(put)] = put
    stream = plain + bytes(changed) + LAST

    with_it, without = pair.outcomes([stream], apart=[stream])

    assert with_it == without


# What a connection may do to the bus.


@pytest.fixture
async def bus(start: StartBus) -> Bus:
    return await start(open_log("memory:"), Settings())


@pytest.fixture
def short_cut(monkeypatch: pytest.MonkeyPatch) -> list[PlainRequests]:
    """The connections of the short cut, in the order they came."""
    known: list[PlainRequests] = []

    class Known(PlainRequests):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            super().connection_made(transport)
            known.append(self)

    monkeypatch.setattr("eventbus.server.plain_requests.PlainRequests", Known)
    return known


only_with_it = pytest.mark.skipif(not bus_under_test.FAST_PATH, reason="without the short cut")


async def reads_little(bus: Bus) -> socket.socket:
    """Connect, with few buffers of one's own."""
    raw = socket.socket()
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    raw.setblocking(False)
    await asyncio.get_running_loop().sock_connect(raw, bus.address)
    return raw


@only_with_it
async def test_plain_requests_are_taken_by_the_short_cut_and_others_are_not(
    bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    handled = 0
    publish = HttpApi.publish

    async def counted(self: HttpApi, request: web.Request) -> web.Response:
        nonlocal handled
        handled += 1
        return await publish(self, request)

    monkeypatch.setattr(HttpApi, "publish", counted)
    reader, writer = await asyncio.open_connection(*bus.address)
    for plain in PLAIN:
        writer.write(plain)
        assert b" 200 OK" in await reader.readuntil(b"\r\n\r\n")
        await reader.readuntil(b"}")
    writer.close()

    assert handled == 0


@only_with_it
async def test_who_never_reads_its_answers_is_not_read_any_more(bus: Bus, short_cut: list[PlainRequests]) -> None:
    loop, raw = asyncio.get_running_loop(), await reads_little(bus)
    await loop.sock_sendall(raw, PLAIN[0])
    async with bus.service() as service:
        connection = short_cut[0]
        theirs = connection._transport.get_extra_info("socket")
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)  # so that it is soon full
        sending = asyncio.create_task(loop.sock_sendall(raw, PLAIN[0] * 50_000))  # 7 MB
        async with asyncio.timeout(PATIENCE * 3):
            while connection._is_read:
                await service.hear()
        for _ in range(50):
            await bus.publish("still-here", service="the-service")

        assert not connection._is_read
        assert connection._transport.get_write_buffer_size() < 100_000
        assert len(connection._waiting) < READ_AHEAD + 2 * 65536
        assert not sending.done()
    sending.cancel()
    raw.close()


@only_with_it
async def test_a_connection_that_is_idle_is_closed_and_one_in_use_is_not(
    bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("eventbus.server.plain_requests.KEEP_ALIVE", 0.3)
    reader, writer = await asyncio.open_connection(*bus.address)
    loop = asyncio.get_running_loop()
    began = loop.time()
    while loop.time() < began + 1:
        writer.write(PLAIN[0])
        await reader.readuntil(b"}")

    async with asyncio.timeout(PATIENCE):
        assert await reader.read() == b""
    writer.close()


@only_with_it
async def test_heads_that_all_differ_do_not_fill_the_memory(bus: Bus, short_cut: list[PlainRequests]) -> None:
    reader, writer = await asyncio.open_connection(*bus.address)
    for number in range(MAX_HEADS + 100):
        writer.write(request(EVENT, SERVICE, f"X: {number}"))
        await reader.readuntil(b"}")
    writer.close()

    assert len(short_cut[0]._short_cut.heads._heads) <= MAX_HEADS


@only_with_it
async def test_what_is_being_stored_when_the_bus_stops_is_answered(start: StartBus, short_cut: list[Any]) -> None:
    class SlowLog(MemoryLog):
        asked, goes_on = asyncio.Event(), asyncio.Event()

        async def append(self, entries: Any) -> Any:
            self.asked.set()
            await self.goes_on.wait()
            return await super().append(entries)

    log = SlowLog()
    bus = await start(log)
    reader, writer = await asyncio.open_connection(*bus.address)
    writer.write(PLAIN[0])
    await log.asked.wait()

    closing = asyncio.create_task(short_cut[0]._short_cut.close())
    done, _ = await asyncio.wait([closing], timeout=0.05)
    assert not done
    log.goes_on.set()
    await closing

    assert b" 200 OK" in await reader.read()
    writer.close()


@only_with_it
async def test_one_that_is_silent_meanwhile_is_let_go_when_the_bus_stops(run: StartProcess) -> None:
    bus = await run(EVENTBUS_LOG="memory:")
    reader, writer = await asyncio.open_connection(*bus.address)
    writer.write(PLAIN[0])
    await reader.readuntil(b"}")

    assert await bus.stop() == 0
    assert await reader.read() == b""
    writer.close()


async def stuck(raw: socket.socket, data: bytes) -> asyncio.Task[None]:
    """Send, and read nothing, until nobody takes any more; fails if all is taken."""
    sent = 0
    loop = asyncio.get_running_loop()

    async def send() -> None:
        nonlocal sent
        for begin in range(0, len(data), 10_000):
            await loop.sock_sendall(raw, data[begin : begin + 10_000])
            sent = begin

    sending = asyncio.create_task(send())
    before = -1
    while sent != before:
        before = sent
        await asyncio.wait([sending], timeout=1)
    assert not sending.done()
    return sending


@pytest.mark.parametrize("first", [b"", PLAIN[0]], ids=["at once", "after a plain one"])
async def test_who_sends_other_requests_without_end_and_never_reads_is_not_read_any_more(
    bus: Bus, first: bytes
) -> None:
    """aiohttp pauses reading when it has too many requests: taking over from the short cut must not undo that."""
    raw = await reads_little(bus)

    async with asyncio.timeout(PATIENCE * 6):
        sending = await stuck(raw, first + WELL_FORMED[0] * 700_000)  # 27 MB
    sending.cancel()
    raw.close()


@only_with_it
async def test_one_that_is_idle_and_has_not_read_its_answers_goes_too(
    bus: Bus, monkeypatch: pytest.MonkeyPatch, short_cut: list[PlainRequests]
) -> None:
    monkeypatch.setattr("eventbus.server.plain_requests.KEEP_ALIVE", 0.5)
    loop, raw = asyncio.get_running_loop(), await reads_little(bus)
    await loop.sock_sendall(raw, PLAIN[0])
    async with asyncio.timeout(PATIENCE * 3):
        await bus.request("GET", "/healthz")  # by now the one before it has been taken
        theirs = short_cut[0]._transport.get_extra_info("socket")
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        with pytest.raises(ConnectionError):
            await loop.sock_sendall(raw, PLAIN[0] * 50_000)

    assert not short_cut[0]._short_cut.connections
    assert short_cut[0]._transport.get_write_buffer_size() == 0
    assert short_cut[0]._waiting == b""
    raw.close()
