"""A channel on aiohttp's public API: it works under every runner, and costs more memory while a client is silent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Protocol, runtime_checkable

from aiohttp import WSMessage, WSMsgType, web
from aiohttp.http_websocket import WebSocketError

from ..limits.frame_rate import Stranger
from ..problems import TooFast
from .channel import Close, may_be_said

LOOK_EVERY = 0.05
"""Seconds between two looks at a connection that does not take what is sent to it."""


@runtime_checkable
class CountsFrames(Protocol):
    """What serves a connection, if it can count frames itself: a message may come in any number of them."""

    def count_frames(self, stranger: Stranger | None) -> None:
        """Count what comes from now on; None for a service, whose frames do not count."""


class ResponseChannel:
    """A channel on aiohttp's public API, which works under every runner.

    Args:
        response: The answer to the handshake.
        transport: The connection.
        stranger: Who is at the other side; None if a service is known to be.
        server: What serves the connection, if it counts frames.
    """

    def __init__(
        self,
        response: web.WebSocketResponse,
        transport: asyncio.Transport,
        stranger: Stranger | None,
        server: CountsFrames | None,
    ) -> None:
        self.response = response
        self.transport = transport
        self.goodbye: int | None = None
        self._stranger = stranger
        self._server = server

    def trust(self) -> None:
        """The other side is a service: from now on it may be as fast as it likes."""
        self._stranger = None
        if self._server:
            self._server.count_frames(None)

    def expect_pong(self) -> None:
        """See `Channel`."""
        if self._stranger:
            self._stranger.pings += 1

    async def drained(self) -> None:
        """See `Channel`; aiohttp tells nobody when its connection takes more, so this looks now and then."""
        # asyncio's transport over TLS cannot be asked any more once it was closed.
        while not self.transport.is_closing() and self._is_full():  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(LOOK_EVERY)
        if self.transport.is_closing():
            raise ConnectionResetError

    def _is_full(self) -> bool:
        return self.transport.get_write_buffer_size() > self.transport.get_write_buffer_limits()[1]

    async def messages(self) -> AsyncIterator[WSMessage]:
        """See `Channel`."""
        while not self.response.closed and self.goodbye is None:
            message = await self.response.receive()
            if self._stranger:
                await self._stranger.turn()
            message = self._counted(message)
            if message.type is WSMsgType.CLOSE and may_be_said(message.data):
                self.goodbye = message.data
            if message.type in (WSMsgType.CLOSE, WSMsgType.CLOSING, WSMsgType.CLOSED):
                return
            yield message

    def _counted(self, message: WSMessage) -> WSMessage:
        """Count a message where the server does not count frames; give what is wrong with it instead, if that is so."""
        if message.type is WSMsgType.CLOSE and not may_be_said(message.data):
            return WSMessage(WSMsgType.ERROR, WebSocketError(Close.BROKEN, "a close code"), None)
        if self._stranger and not self._server and isinstance(message.data, str | bytes):
            try:
                self._stranger.take(1, pongs=message.type is WSMsgType.PONG, size=len(message.data))
            except TooFast as problem:
                return WSMessage(WSMsgType.ERROR, WebSocketError(Close.TOO_FAST, problem.detail), None)
        return message
