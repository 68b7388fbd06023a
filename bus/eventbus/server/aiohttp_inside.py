"""Everything that touches what aiohttp and asyncio do not promise to keep: their parsers, and their names with a ``_``.

`assumptions` tries each of it on what is installed, before the bus uses any. Without all this the bus is complete, and
slower, on aiohttp's public API.
"""

from __future__ import annotations

import asyncio
from asyncio import sslproto
from typing import Any, cast

from aiohttp import EMPTY_PAYLOAD, StreamReader, WSMessage, web
from aiohttp._websocket.reader import WebSocketDataQueue
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http import HttpProcessingError, HttpRequestParser, RawRequestMessage
from aiohttp.http_websocket import WebSocketError, WebSocketReader

from ..edges.channel import MAX_MESSAGE
from ..edges.refusals import HeadTooLarge, ProblemHandler, raw_refusal
from ..limits.frame_rate import Stranger
from ..limits.hosts import sending_host
from ..limits.turns import Turns
from .door import Connection
from .frame_heads import FrameCounter

EMPTY_LINE = b"\r\n\r\n"  # with the end of the line before it
LAST_CHUNK = b"0" + EMPTY_LINE

MOST_UNREAD = 128 * 1024
"""Bytes of messages that wait to be obeyed, above which no more is read."""

PIECE = 4 * 1024
"""Bytes that are parsed in one turn: no more than 700 chunks of a body are in them."""

LINGERING = 1.0
"""Seconds for which what comes after a refusal is passed over: to hang up at once would take the answer away."""

MAX_HEAD = 32 * 1024
"""Bytes that a request's head may have; aiohttp bounds a line of it, and how many there are: to 1 MiB in all."""


def parse_head(block: bytes) -> RawRequestMessage | None:
    """Read the head of a request, up to and with its empty line; None if it is not one head in plain lines."""
    if not block.count(b"\r\n") == block.count(b"\r") == block.count(b"\n"):
        return None
    loop = asyncio.get_running_loop()
    parser = HttpRequestParser(BaseProtocol(loop), loop, 2**16)
    try:
        [(message, _)], _, _ = parser.feed_data(block)
    except (HttpProcessingError, ValueError):
        return None
    return message


def shrink_tls_buffers() -> None:
    """Give each TLS connection a smaller buffer, for as long as it lives: asyncio's has a quarter of a MiB."""
    sslproto.SSLProtocol.max_size = 16 * 1024  # bytes: no TLS record holds more (RFC 8446, 5.1)


class FrameReader(BaseProtocol):
    """aiohttp's reader of WebSocket frames, without its request, its parser of HTTP and its tasks."""

    def __init__(self) -> None:
        super().__init__(asyncio.get_running_loop())
        self._upgraded = True  # there is no parser of HTTP to be paused
        self._messages = self._new_queue()
        self._reader = WebSocketReader(self._messages, MAX_MESSAGE, compress=False, decode_text=True)

    def feed(self, data: bytes) -> None:
        """Read frames."""
        self._reader.feed_data(data)

    def fail(self, error: WebSocketError) -> None:
        """Let `read` raise an error after what came before it, unless a frame was wrong already."""
        if not self._messages.exception():
            self._messages.set_exception(error)

    async def read(self) -> WSMessage:
        """Give the next message.

        Raises:
            EofStream: There is none any more.
            WebSocketError: A frame was wrong.
        """
        return cast(WSMessage, await self._messages.read())

    def begin_anew(self) -> None:
        """Forget what was wrong; nothing more comes until the end."""
        self._messages = self._new_queue()

    def pause_for(self, seconds: float) -> None:
        """Read nothing from the connection for so long."""
        self._pause_reading_for_buffer()
        self._loop.call_later(seconds, self._resume_reading_for_buffer)

    async def drained(self) -> None:
        """Return once no more waits to be sent than should; raise ConnectionError when the other side has gone."""
        await self._drain_helper()

    def connection_lost(self, exc: BaseException | None) -> None:
        super().connection_lost(exc)
        self._messages.feed_eof()

    def _new_queue(self) -> WebSocketDataQueue:
        return WebSocketDataQueue(self, MOST_UNREAD // 2, loop=self._loop)  # which doubles that


class HttpProtocol(ProblemHandler):
    """aiohttp's side of a connection, bounded in what it costs: parsed by turns, and what is broken only once.

    What breaks HTTP is answered as every refusal is, and costs nothing that came before it on the same connection.
    """

    def __init__(self, server: web.Server, turns: Turns, connection: Connection, **options: Any) -> None:
        super().__init__(server, loop=asyncio.get_running_loop(), **options)
        self._turns = turns
        self._connection = connection
        self._host = sending_host(connection.peer, (), trusted=())
        self._counter = FrameCounter(None)  # of frames, if the connection becomes a WebSocket's
        self._unparsed = b""
        self._body: StreamReader = EMPTY_PAYLOAD  # of the last request, which may be coming
        self._head = 0  # bytes of a head that is coming
        self._end_of_head = b""  # the last of them: its empty line may come in two pieces
        self._body_left = 0  # bytes of a body of known length that are still to come
        self._has_turn = False

    def data_received(self, data: bytes) -> None:
        """Keep what has come for the next turn. aiohttp itself passes nothing, to have its parser go on."""
        if self._close or self._force_close:
            return
        if not data:
            self._parse(data)
        elif self._payload_parser is not None:  # the connection is a WebSocket's
            readable, error = self._counter.count(data)
            super().data_received(data[:readable])
            if error and self.transport:
                self.transport.close()  # without a word: aiohttp's reader cannot be told
        else:
            self._unparsed += data
            if len(self._unparsed) > PIECE:
                super()._pause_transport_reading()
            self._wait_for_turn()

    def connection_lost(self, exc: BaseException | None) -> None:
        self._unparsed = b""
        self._end_body(exc or ConnectionResetError("the other side hung up"))
        super().connection_lost(exc)

    def set_parser(self, parser: WebSocketReader, *args: Any, **options: Any) -> None:
        """Leave the connection to a WebSocket's reader, with what waits for its turn."""
        super().set_parser(parser, *args, **options)
        unparsed, self._unparsed = self._unparsed, b""
        super().data_received(unparsed)
        super()._resume_transport_reading()

    def count_frames(self, stranger: Stranger | None) -> None:
        """Count what comes from now on, and be no faster; None for a service, whose frames do not count."""
        self._counter.stranger = stranger

    @property
    def is_idle(self) -> bool:
        """Has all been answered that came? A WebSocket is never idle."""
        waits = self._waiter is not None and not self._waiter.done()  # for a request, as aiohttp itself asks it
        return waits and not (self._unparsed or self._upgraded or self._head)

    def hear_no_more(self) -> None:
        """Pass over all that comes from now on; the connection ends soon after the answer to its request."""
        self._unparsed = b""
        self._lingering_time = LINGERING
        self.close()

    def _resume_transport_reading(self) -> None:
        if self._unparsed:
            self._wait_for_turn()
        else:
            super()._resume_transport_reading()

    def _wait_for_turn(self) -> None:
        if not self._has_turn:
            self._has_turn = True
            self._turns.wait(self._host, self._take_turn)

    def _take_turn(self) -> None:
        self._has_turn = False
        if self._reading_paused or self._buffer_paused:
            return  # what is parsed waits to be read: aiohttp says when it is to go on
        if self.transport is None or self.transport.is_closing():
            return  # a request that begins as its connection ends would be a traceback of aiohttp's
        size = self._size_of_piece()
        piece, self._unparsed = self._unparsed[:size], self._unparsed[size:]
        if piece:
            self._parse(piece)
        if not self._reading_paused and not self._buffer_paused:
            self._resume_transport_reading()

    def _size_of_piece(self) -> int:
        """Tell how much to parse now: not beyond a head, or a body of known length.

        Where what comes behind a good request is broken, aiohttp would drop both if it got them together.
        """
        if self._body_left:
            return min(self._body_left, PIECE)
        if not self._body.is_eof():  # in chunks: not beyond what may be the last of them
            last = self._unparsed[:PIECE].find(LAST_CHUNK)
            return PIECE if last < 0 else last + len(LAST_CHUNK)
        end = (self._end_of_head + self._unparsed[:PIECE]).find(EMPTY_LINE)
        return PIECE if end < 0 else end + len(EMPTY_LINE) - len(self._end_of_head)

    def _parse(self, data: bytes) -> None:
        """Have aiohttp parse bytes. Its parser would fail again with each call, and queue one more refusal."""
        if self._is_broken():
            return
        came = self._request_count
        super().data_received(data)
        if self._is_broken():
            self._end_body(web.RequestPayloadError("this is no chunk (RFC 9112, 7.1)"))
        elif self._request_count > came:
            self._begin_body()
        elif self._body_left:
            self._body_left -= len(data)
        elif self._body.is_eof() and not self._upgraded:  # what comes behind a handshake is no head
            self._end_of_head = (self._end_of_head + data)[1 - len(EMPTY_LINE) :]
            self._count_head(len(data))
        if self._request_count and self._body.is_eof():
            self._connection.asked()

    def _begin_body(self) -> None:
        message, self._body = self._messages[-1]
        self._head, self._end_of_head = 0, b""
        if isinstance(message, RawRequestMessage):
            self._body_left = int(message.headers.get("Content-Length", 0))

    def _count_head(self, size: int) -> None:
        self._head += size
        if self._head > MAX_HEAD and self.transport:
            problem = HeadTooLarge(f"the head of the request has more than {MAX_HEAD} bytes, which is the limit")
            if not self._current_request:
                self.transport.write(raw_refusal(problem, b"Connection: close\r\n"))
            self.hear_no_more()
            self._loop.call_later(LINGERING, self.force_close)

    def _is_broken(self) -> bool:
        return bool(self._messages) and not isinstance(self._messages[-1][0], RawRequestMessage)

    def _end_body(self, error: BaseException) -> None:
        """Tell the reader of a body, if one is coming, that no more of it will."""
        if not self._body.is_eof():
            self._body.set_exception(error)
