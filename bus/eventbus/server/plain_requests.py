"""A short cut for the one request that a busy bus gets thousands of times a second: a plain ``POST`` of events.

aiohttp makes a request, a response, a task and many headers of it, which takes longer than all the rest together. Here
the head that arrives is compared, as bytes, with those of earlier requests. If it is one of them, and the body is there
too, the events are published as ever and the answer is written. A WebSocket's handshake that may be let in is answered
without aiohttp, too. Whatever is not fully understood goes to aiohttp from its first byte on, and the connection with
it for good, so that one place knows HTTP. ``EVENTBUS_FAST_PATH=off`` leaves everything to aiohttp.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from email.utils import formatdate

from msgspec.json import encode

from ..edges.parts import Edges
from ..edges.refusals import OF_ALL_ANSWERS, Defect, header_lines, raw_refusal
from ..limits.hosts import sending_host
from ..problems import Problem
from ..timestamps import within_calendar
from .aiohttp_inside import HttpProtocol
from .door import Connection
from .plain_heads import PlainHead, PlainHeads
from .websocket_protocol import shake_hands

MAX_HANDSHAKE = 8 * 1024
"""Bytes of a handshake whose end is waited for."""

READ_AHEAD = 64 * 1024
"""Bytes of further requests that wait until the one before them is answered, above which no more is read."""

KEEP_ALIVE = 75.0
"""Seconds that a connection may stay open between two requests."""

HANDSHAKE = b"GET /ws "

logger = logging.getLogger("eventbus")

_OK = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
    + header_lines(OF_ALL_ANSWERS)
    + b"Content-Length: %d\r\n%bDate: %b\r\n\r\n%b"
)


class ShortCut:
    """Knows the heads of plain requests, and the connections that send nothing else.

    Args:
        edges: What answers requests.
        others: Makes what speaks with the other side of a connection that sends other requests.
    """

    def __init__(self, edges: Edges, others: Callable[[Connection], HttpProtocol]) -> None:
        self.edges = edges
        self.others = others
        self.connections: set[PlainRequests] = set()
        self.heads = PlainHeads(edges)

    def __call__(self, connection: Connection) -> asyncio.Protocol:
        """Make what speaks with the other side of a connection at first."""
        return PlainRequests(self, connection)

    async def close(self) -> None:
        """Close the connections; those that wait for an answer get it first."""
        answering = [connection.answering for connection in self.connections if connection.answering]
        if answering:
            await asyncio.wait(answering)
        for connection in list(self.connections):
            connection.close()


class PlainRequests(asyncio.Protocol):
    """Speaks with the other side as long as nothing but plain requests come.

    One request is answered at a time, as aiohttp does it; what comes meanwhile waits.
    """

    def __init__(self, short_cut: ShortCut, connection: Connection) -> None:
        self._short_cut = short_cut
        self._connection = connection
        self._transport = connection.transport
        self._loop = asyncio.get_running_loop()
        self._waiting = b""
        self._is_read = True  # what we write, by the other side
        self._idle_since = self._loop.time()
        self.answering: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:  # noqa: ARG002 - the connection has it
        self._short_cut.connections.add(self)
        self._idle = self._loop.call_later(KEEP_ALIVE, self._close_if_idle)
        with suppress(OSError):  # it may have been reset already
            self._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio passes it
        self._waiting = b""
        self._leave()

    def pause_writing(self) -> None:
        self._is_read = False
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        self._is_read = True
        self._go_on()

    def data_received(self, data: bytes) -> None:
        if self.answering or not self._is_read:
            self._waiting += data
            if len(self._waiting) > READ_AHEAD:
                self._transport.pause_reading()
        else:
            data, self._waiting = self._waiting + data, b""
            self._answer_first(data)

    @property
    def is_idle(self) -> bool:
        """Has all been answered that came?"""
        return not self.answering and not self._waiting

    def close(self) -> None:
        """Hang up."""
        self._transport.close()

    def _answer_first(self, data: bytes) -> None:
        """Answer the request that data begins with, or leave all to what answers others."""
        short_cut, end_of_head = self._short_cut, data.find(b"\r\n\r\n")
        if data.startswith(HANDSHAKE):
            self._take_handshake(data, end_of_head)
            return
        begin = end_of_head + 4
        head = short_cut.heads.find(data[:begin]) if end_of_head >= 0 and not short_cut.edges.http.stopping else None
        if head is None or len(data) < begin + head.length:
            self._hand_over(data)
            return
        self._connection.asked()
        end = begin + head.length
        self._waiting = data[end:]
        self.answering = self._loop.create_task(self._answer(head, data[begin:end]))

    def _take_handshake(self, data: bytes, end_of_head: int) -> None:
        if end_of_head < 0 and len(data) <= MAX_HANDSHAKE:
            self._waiting = data
            return
        begin = end_of_head + 4
        taken = shake_hands(data[:begin], self._connection, self._short_cut.edges) if end_of_head >= 0 else None
        if taken is None:
            self._hand_over(data)
            return
        protocol, answer = taken
        self._leave()
        self._connection.asked()
        self._connection.become(protocol)
        self._transport.write(answer)  # only now: if it fills the buffer, pause and resume reach the same protocol
        protocol.data_received(data[begin:])

    async def _answer(self, head: PlainHead, body: bytes) -> None:
        edges = self._short_cut.edges
        try:
            host = sending_host(self._connection.peer, head.forwarded, trusted=edges.proxies)
            with edges.http.hold_bytes(head.service, host=host) as hold:
                hold.grow(len(body))
                receipt = encode(await edges.http.publish_body(body, head.service, host=host))
            answer = _OK % (len(receipt), head.headers, _date(), receipt)
        except Problem as problem:
            answer = raw_refusal(problem, b"%bDate: %b\r\n" % (head.headers, _date()))
        except Exception:  # not aiohttp's to answer: the event may be in the log, and would be stored twice
            logger.exception("a defect of the bus, while it handled %s %r", "POST", head.path)
            answer = raw_refusal(Defect(), b"%bDate: %b\r\n" % (head.headers, _date()))
        self.answering = None
        self._idle_since = self._loop.time()
        if self._transport.is_closing():
            return
        self._transport.write(answer)
        self._go_on()

    def _go_on(self) -> None:
        """Take what waits, unless one is being answered, or the other side does not read its answers."""
        if not self.answering and self._is_read:
            if len(self._waiting) <= READ_AHEAD:
                self._transport.resume_reading()
            if self._waiting:
                self.data_received(b"")

    def _hand_over(self, data: bytes) -> None:
        self._leave()
        if not self._transport.is_closing():
            handler = self._short_cut.others(self._connection)
            self._connection.become(handler)
            self._transport.resume_reading()
            handler.data_received(data)  # last: it may pause reading, and must not be overruled

    def _leave(self) -> None:
        self._short_cut.connections.discard(self)
        self._idle.cancel()

    def _close_if_idle(self) -> None:
        wait = self._idle_since + KEEP_ALIVE - self._loop.time()
        if self.answering is None and wait <= 0 and self._transport.get_write_buffer_size():
            self._transport.abort()  # it does not read its answers: to say goodbye would take for ever
        elif self.answering is None and wait <= 0:
            self.close()
        else:
            self._idle = self._loop.call_later(max(wait, 1.0), self._close_if_idle)


class _Clock:
    """Writes the time as HTTP does (RFC 9110, 5.6.7), anew each second."""

    def __init__(self) -> None:
        self._second = 0
        self._text = b""

    def __call__(self) -> bytes:
        second = int(time.time())
        if second != self._second:
            self._second, self._text = second, formatdate(within_calendar(second), usegmt=True).encode()
        return self._text


_date = _Clock()
