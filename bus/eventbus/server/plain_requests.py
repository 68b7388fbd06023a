"""A short cut for the one request that a busy bus gets thousands of times a second: a plain ``POST`` of events.

aiohttp makes a request, a response, a task and many headers of it, which takes longer than all the rest together. Here
the head that arrives is compared, as bytes, with those of earlier requests. If it is one of them, and the body is there
too, the events are published as ever and the answer is written. Whatever is not fully understood goes to aiohttp from
its first byte on, and the connection with it for good, so that one place knows HTTP.
``EVENTBUS_FAST_PATH=off`` leaves everything to aiohttp.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from email.utils import formatdate

from aiohttp import web
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http import HttpProcessingError, HttpRequestParser, HttpVersion11
from aiohttp.tcp_helpers import tcp_keepalive
from msgspec.json import encode

from ..config import Settings
from ..edges.cors import Cors
from ..edges.http_api import HttpApi
from ..edges.own_hosts import Hosts
from ..edges.refusals import OF_ALL_ANSWERS, Defect, header_lines, raw_refusal
from ..limits.hosts import sending_host
from ..problems import Problem
from ..routing import Service
from ..timestamps import within_calendar
from .door import heard, switch
from .running import KEEP_ALIVE

MAX_HEADS = 1024
MAX_HEAD = 2048  # bytes
READ_AHEAD = 64 * 1024
"""Bytes of further requests that wait until the one before them is answered, above which no more is read."""

logger = logging.getLogger("eventbus")

_OK = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
    + header_lines(OF_ALL_ANSWERS)
    + b"Content-Length: %d\r\n%bDate: %b\r\n\r\n%b"
)
_CHANGE_THE_MEANING = ("Transfer-Encoding", "Content-Encoding", "Expect", "Upgrade", "TE", "Trailer")


@dataclass(frozen=True, slots=True)
class _Head:
    """What the head of a plain request says.

    Attributes:
        path: Where it goes.
        length: Bytes of the body.
        service: Who publishes; None for a client.
        forwarded: The ``X-Forwarded-For`` headers.
        headers: Of any answer.
    """

    path: str
    length: int
    service: Service | None
    forwarded: list[str]
    headers: bytes


class FastPath:
    """Knows the heads of plain requests, and the connections that send nothing else.

    Args:
        api: Says who publishes, and publishes.
        cors: Says which pages may publish, and makes headers for browsers.
        hosts: Says by which names the bus may be called.
        settings: Limits, and who is trusted to speak for others.
    """

    def __init__(self, *, api: HttpApi, cors: Cors, hosts: Hosts, settings: Settings) -> None:
        self.api = api
        self.proxies = settings.trusted_proxies
        self.connections: set[_PlainRequests] = set()
        self._cors = cors
        self._hosts = hosts
        self._max_body = settings.max_body
        self._heads: dict[bytes, _Head | None] = {}

    def before(self, others: Callable[[], asyncio.Protocol]) -> Callable[[], asyncio.Protocol]:
        """Return what makes the protocol of a connection: ours, and others for everything else."""
        return lambda: _PlainRequests(self, others)

    def head(self, block: bytes) -> _Head | None:
        """Tell what a request's head says, up to and with its empty line; None if it is not plain."""
        try:
            return self._heads[block]
        except KeyError:
            pass
        if len(block) > MAX_HEAD:
            return None
        if len(self._heads) >= MAX_HEADS:
            self._heads.clear()
        head = self._heads[block] = self._parse(block)
        return head

    def _parse(self, block: bytes) -> _Head | None:
        if not block.count(b"\r\n") == block.count(b"\r") == block.count(b"\n"):
            return None
        loop = asyncio.get_running_loop()
        parser = HttpRequestParser(BaseProtocol(loop), loop, 2**16)
        try:
            [(message, _)], _, _ = parser.feed_data(block)
        except (HttpProcessingError, ValueError):
            return None
        headers = message.headers
        lengths = headers.getall("Content-Length", [])
        length = int(lengths[0]) if len(lengths) == 1 else 0
        if (
            message.version != HttpVersion11
            or message.method != "POST"
            or message.path not in ("/", "/events")
            or any(name in headers for name in _CHANGE_THE_MEANING)
            or message.should_close
            or not 0 < length <= self._max_body
        ):
            return None
        try:
            service = self.api.publisher(headers)
            self._hosts.check(headers.getall("Host", []), is_trusted=service is not None)
            self._cors.check(headers)
        except Problem:
            return None
        answer = self._cors.headers(headers)
        forwarded = headers.getall("X-Forwarded-For", [])
        return _Head(message.path, length, service, forwarded, header_lines(answer))

    async def close(self) -> None:
        """Close the connections; those that wait for an answer get it first."""
        answering = [connection.answering for connection in self.connections if connection.answering]
        if answering:
            await asyncio.wait(answering)
        for connection in list(self.connections):
            connection.close()


FAST_PATH = web.AppKey("FAST_PATH", FastPath)
"""The app's; absent if a setting says so."""


class _PlainRequests(asyncio.Protocol):
    """Speaks with the other side as long as nothing but plain requests come.

    One request is answered at a time, as aiohttp does it; what comes meanwhile waits.
    """

    def __init__(self, path: FastPath, others: Callable[[], asyncio.Protocol]) -> None:
        self._path = path
        self._others = others
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport
        self._peer = ""
        self._waiting = b""
        self._is_read = True  # what we write, by the other side
        self._idle_since = self._loop.time()
        self.answering: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - a server makes no others
        self._transport = transport
        peer = transport.get_extra_info("peername")
        self._peer = peer[0] if peer else ""
        self._path.connections.add(self)
        self._idle = self._loop.call_later(KEEP_ALIVE, self._close_if_idle)
        with suppress(OSError):  # it may have been reset already
            tcp_keepalive(transport)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
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
            self._take(data)

    def close(self) -> None:
        """Hang up."""
        self._transport.close()

    def _take(self, data: bytes) -> None:
        """Answer the request that data begins with, or leave all to aiohttp."""
        path, end_of_head = self._path, data.find(b"\r\n\r\n")
        begin = end_of_head + 4
        head = path.head(data[:begin]) if end_of_head >= 0 and not path.api.stopping else None
        if head is None or len(data) < begin + head.length:
            self._hand_over(data)
            return
        heard(self._transport)
        end = begin + head.length
        self._waiting = data[end:]
        self.answering = self._loop.create_task(self._answer(head, data[begin:end]))

    async def _answer(self, head: _Head, body: bytes) -> None:
        api = self._path.api
        try:
            host = sending_host(self._peer, head.forwarded, trusted=self._path.proxies)
            with api.hold_bytes(head.service, host=host) as hold:
                hold.grow(len(body))
                receipt = encode(await api.publishing.publish(body, head.service, host=host))
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
                self._take(self._waiting)

    def _hand_over(self, data: bytes) -> None:
        self._leave()
        if not self._transport.is_closing():
            handler = self._others()
            switch(self._transport, handler)
            self._transport.resume_reading()
            handler.data_received(data)  # last: it may pause reading, and must not be overruled

    def _leave(self) -> None:
        self._path.connections.discard(self)
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
