"""From HTTP to WebSocket: the handshake (RFC 6455, 4.2), and what reads the connection from then on.

aiohttp would keep the request, its headers, a parser and two tasks for as long as the connection lives: 11 kB, more
than all the rest of a silent client. So it is told that it has lost the connection; only its reader of frames goes on.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import math
from collections.abc import AsyncIterator
from typing import cast

from aiohttp import EofStream, WSMessage, WSMsgType, web
from aiohttp._websocket.reader import WebSocketDataQueue
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http import HttpVersion11
from aiohttp.http_websocket import WS_KEY, WebSocketError, WebSocketReader

from ..edges.frames import Close
from ..edges.refusals import BadParameter, WrongVersion
from ..limits.frame_rate import Stranger
from ..problems import TooFast
from .door import switch
from .frame_heads import FrameHeads

MAX_MESSAGE = 64 * 1024  # bytes

MOST_UNREAD = 128 * 1024
"""Bytes of messages that wait to be obeyed, above which no more is read."""

MESSAGES_AT_ONCE = 50

_ANSWER = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %b\r\n\r\n"
)


class WebSocketProtocol(BaseProtocol):
    """Reads the messages of one connection, and knows when it takes more.

    Args:
        stranger: Who is at the other side; None if a service is known to be.

    Attributes:
        goodbye: The close code that the other side gave; none if it has not said goodbye.
    """

    def __init__(self, stranger: Stranger | None = None) -> None:
        super().__init__(asyncio.get_running_loop())
        self._upgraded = True  # aiohttp's: there is no parser of HTTP to be paused
        self._ended = False
        self.goodbye: int | None = None
        self._stranger = stranger
        self._heads = FrameHeads()
        self._is_deaf = False
        self._queue = self._new_queue()
        self._reader = WebSocketReader(self._queue, MAX_MESSAGE, compress=False, decode_text=True)

    def data_received(self, data: bytes) -> None:
        """Read frames, unless one breaks the protocol or they come too fast: then nothing more is heard."""
        if self._is_deaf:
            return
        most = self._stranger.most_at_once if self._stranger else math.inf
        found = self._heads.find(data, most=most)
        try:
            rest = self._stranger.take(found.frames, pongs=found.pongs, size=len(data)) if self._stranger else 0.0
        except TooFast as problem:
            self._hear_no_more(WebSocketError(Close.TOO_FAST, problem.detail))
            return
        if rest:
            self._pause_reading_for_buffer()
            self._loop.call_later(rest, self._resume_reading_for_buffer)
        self._reader.feed_data(data[: found.unmasked_at])
        if found.unmasked_at is not None:
            self._hear_no_more(WebSocketError(Close.BROKEN, "a frame without a mask"))

    def _hear_no_more(self, error: WebSocketError) -> None:
        self._is_deaf = True
        if not self._queue.exception():  # the reader may have found fault with an earlier frame
            self._queue.set_exception(error)

    def expect_pong(self) -> None:
        """The bus sends a ping, and the answer to that does not count."""
        if self._stranger:
            self._stranger.pings += 1

    def trust(self) -> None:
        """The other side is a service: it may be as fast as it likes."""
        self._stranger = None

    def connection_lost(self, exc: BaseException | None) -> None:  # noqa: D102
        super().connection_lost(exc)
        self._queue.feed_eof()

    async def messages(self) -> AsyncIterator[WSMessage]:
        """Give what comes, until the other side says goodbye or is gone. Everybody else has a turn now and then.

        The last of one that breaks the protocol is of the type ERROR, with what was wrong; the rest is passed over.
        """
        count = 0
        while not self._ended:
            message = await self._read()
            if self._stranger:
                await self._stranger.turn()
            if message.type is WSMsgType.CLOSE and not _may_be_said(message.data):
                message = WSMessage(WSMsgType.ERROR, WebSocketError(Close.BROKEN, "a close code"), None)
            if message.type in (WSMsgType.CLOSE, WSMsgType.CLOSED):
                self.goodbye = message.data
                self._ended = True
                return
            yield message
            count += 1
            if count % MESSAGES_AT_ONCE == 0:
                await asyncio.sleep(0)

    async def drained(self) -> None:
        """Return once no more waits to be sent than should; raise ConnectionError when the other side has gone."""
        await self._drain_helper()

    async def _read(self) -> WSMessage:
        try:
            return cast(WSMessage, await self._queue.read())
        except EofStream:
            return WSMessage(WSMsgType.CLOSED, None, None)
        except Exception as error:
            self._queue = self._new_queue()  # stays empty until the other side is gone
            if not isinstance(error, WebSocketError):
                raise  # a defect
            return WSMessage(WSMsgType.ERROR, error, None)

    def _new_queue(self) -> WebSocketDataQueue:
        return WebSocketDataQueue(self, MOST_UNREAD // 2, loop=self._loop)  # which doubles that


def upgrade(request: web.Request, protocol: WebSocketProtocol) -> asyncio.Transport:
    """Answer a handshake, and have the connection read from then on; aiohttp can do nothing more with the request.

    Raises:
        BadParameter: It is no handshake.
        ConnectionResetError: The other side has gone.
    """
    answer = _answer(request)
    handler, transport = request.protocol, request.transport
    if transport is None or transport.is_closing():
        raise ConnectionResetError
    early = _Early()
    handler.set_parser(cast(WebSocketReader, early))  # which gets at once what has come already
    switch(transport, protocol)
    transport.write(answer)  # now: who is told to wait by this will be told to go on
    if early.data:
        protocol.data_received(early.data)
    handler.transport = None  # or it would be closed with the handler
    handler.connection_lost(None)
    return transport


def _may_be_said(close_code: int) -> bool:
    """May a close code be sent? aiohttp's reader refuses most that may not (RFC 6455, 7.4)."""
    return close_code <= 4999 and close_code != 1006


def _answer(request: web.Request) -> bytes:
    if request.headers.get("Upgrade", "").lower() == "websocket":
        versions = request.headers.getall("Sec-WebSocket-Version", [])
        if versions != ["13"]:
            raise WrongVersion(f"WebSocket version {', '.join(versions) or 'none'}: the bus speaks 13 (RFC 6455)")
    try:
        is_handshake = web.WebSocketResponse().can_prepare(request).ok
    except ValueError:  # such as a key that is not ASCII
        is_handshake = False
    # Where a body ends, and with it the handshake, a proxy might see otherwise.
    if not is_handshake or request.body_exists or request.version < HttpVersion11:
        raise BadParameter("here one speaks WebSocket; this is no handshake (RFC 6455, 4.1)")
    key = request.headers["Sec-WebSocket-Key"].encode()
    return _ANSWER % base64.b64encode(hashlib.sha1(key + WS_KEY, usedforsecurity=False).digest())


class _Early:
    """Takes from aiohttp what had come behind the handshake, where it expects a reader."""

    def __init__(self) -> None:
        self.data = b""

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        self.data += data
        return False, b""

    def feed_eof(self) -> None:
        """The connection ended, as aiohttp thinks."""
