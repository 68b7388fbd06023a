"""A WebSocket that the door has opened: no faster than strangers may be, and with little memory while it is silent.

aiohttp would keep the request, its headers, a parser and two tasks for as long as the connection lives: 11 kB, more
than all the rest of a silent client. Here only its reader of frames is used.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections.abc import AsyncIterator

from aiohttp import EofStream, WSMessage, WSMsgType
from aiohttp.http import HttpVersion11, RawRequestMessage
from aiohttp.http_websocket import WS_KEY, WebSocketError

from ..edges.channel import Close, may_be_said
from ..edges.parts import Edges
from ..limits.frame_rate import Stranger
from ..problems import Problem
from .aiohttp_inside import FrameReader, parse_head
from .door import Connection
from .frame_heads import FrameCounter

MESSAGES_AT_ONCE = 50
"""Messages of a service that are obeyed before others have a turn."""

_ANSWER = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %b\r\n\r\n"
)


class WebSocketProtocol(FrameReader):
    """Reads the messages of one connection, and knows when it takes more; a `Channel`.

    Args:
        stranger: Who is at the other side; None if a service is known to be.

    Attributes:
        goodbye: The close code that the other side gave; none if it has not said goodbye.
    """

    def __init__(self, stranger: Stranger | None) -> None:
        super().__init__()
        self.goodbye: int | None = None
        self._ended = False
        self._counter = FrameCounter(stranger)

    def data_received(self, data: bytes) -> None:
        """Read frames, unless one breaks the protocol or they come too fast: then nothing more is heard."""
        readable, error = self._counter.count(data)
        if self._counter.rest:
            self.pause_for(self._counter.rest)
        self.feed(data[:readable])
        if error:
            self.fail(error)

    def expect_pong(self) -> None:
        """The bus sends a ping, and the answer to that does not count."""
        if self._counter.stranger:
            self._counter.stranger.pings += 1

    def trust(self) -> None:
        """The other side is a service: it may be as fast as it likes."""
        self._counter.stranger = None

    async def messages(self) -> AsyncIterator[WSMessage]:
        """Give what comes, until the other side says goodbye or is gone. Everybody else has a turn now and then.

        The last of one that breaks the protocol is of the type ERROR, with what was wrong; the rest is passed over.
        """
        count = 0
        while not self._ended:
            message = await self._read()
            if self._counter.stranger:
                await self._counter.stranger.turn()
            if message.type is WSMsgType.CLOSE and not may_be_said(message.data):
                message = WSMessage(WSMsgType.ERROR, WebSocketError(Close.BROKEN, "a close code"), None)
            if message.type in (WSMsgType.CLOSE, WSMsgType.CLOSED):
                self.goodbye = message.data
                self._ended = True
                return
            yield message
            count += 1
            if count % MESSAGES_AT_ONCE == 0:
                await asyncio.sleep(0)

    async def _read(self) -> WSMessage:
        try:
            return await self.read()
        except EofStream:
            return WSMessage(WSMsgType.CLOSED, None, None)
        except Exception as error:
            self.begin_anew()  # nothing comes until the other side is gone
            if not isinstance(error, WebSocketError):
                raise  # a defect
            return WSMessage(WSMsgType.ERROR, error, None)


def shake_hands(block: bytes, connection: Connection, edges: Edges) -> tuple[WebSocketProtocol, bytes] | None:
    """Let somebody in who shakes hands, and have the connection spoken with; the answer is still to be written.

    Args:
        block: The head of a request, up to and with its empty line.
        connection: Where it came.
        edges: Who decides, and who speaks.

    Returns:
        What reads the connection from now on, and the answer; None if it is no handshake that is let in.
    """
    message = parse_head(block)
    key = _key(message) if message else None
    if message is None or key is None:
        return None
    try:
        edges.guard.check(message.headers, method="GET")
        guest = edges.handshakes.admit(message.headers, peer=connection.peer)
    except Problem:
        return None
    protocol = WebSocketProtocol(guest.stranger)
    connection.task = asyncio.create_task(edges.handshakes.speak(protocol, connection.transport, guest))
    accept = base64.b64encode(hashlib.sha1(key + WS_KEY, usedforsecurity=False).digest())
    return protocol, _ANSWER % accept


def _key(message: RawRequestMessage) -> bytes | None:
    """Return the key of a plain handshake (RFC 6455, 4.2.1); None if it is another request, or asks for more."""
    headers = message.headers
    keys = headers.getall("Sec-WebSocket-Key", [])
    if (
        message.method != "GET"
        or message.path != "/ws"
        or message.version != HttpVersion11
        or not message.upgrade
        or [value.lower() for value in headers.getall("Upgrade", [])] != ["websocket"]
        or headers.getall("Sec-WebSocket-Version", []) != ["13"]
        or len(keys) != 1
        or any(name in headers for name in ("Content-Length", "Transfer-Encoding", "Expect"))
    ):
        return None
    try:
        key = keys[0].encode("ascii")
        return key if len(base64.b64decode(key, validate=True)) == 16 else None
    except ValueError:
        return None
