"""The handshake of a WebSocket (RFC 6455, 4.2): who may open one, and its way on aiohttp's public API.

A faster way past aiohttp stands in `server.websocket_protocol`. It asks the same `Handshakes`, and leaves all that is
refused to this one.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from aiohttp import WSMessage, WSMsgType, web
from aiohttp.http import HttpVersion11
from aiohttp.http_websocket import WebSocketError
from multidict import CIMultiDictProxy

from ..authorization import Authorization
from ..limits.frame_rate import Stranger, Strangers
from ..limits.hosts import Network, sending_host
from ..limits.websockets import Seat, Seats
from ..problems import BadParameter, Stopping, TooFast
from .channel import CLOSING, MAX_MESSAGE, Channel, Close, may_be_said
from .cors import Cors
from .refusals import WrongVersion
from .socket_outlet import SocketOutlet
from .websocket import WebSockets

LOOK_EVERY = 0.05
"""Seconds between two looks at a connection that does not take what is sent to it."""


@dataclass(frozen=True, slots=True)
class Guest:
    """Who comes in.

    Attributes:
        host: Where it is.
        seat: Where it sits.
        stranger: What its frames are counted by; None if it is known to be a service.
    """

    host: str
    seat: Seat
    stranger: Stranger | None


class Handshakes:
    """Decides who may open a WebSocket.

    Args:
        sockets: Those that are open.
        cors: Whose pages may connect.
        authorization: Tells services by their headers.
        seats: How many there may be.
        strangers: How fast they may send frames.
        proxies: Where web servers may stand that speak for others.
        send_buffer: Bytes waiting for one socket above which nothing more is written to it.
    """

    def __init__(
        self,
        *,
        sockets: WebSockets,
        cors: Cors,
        authorization: Authorization,
        seats: Seats,
        strangers: Strangers,
        proxies: Collection[Network],
        send_buffer: int,
    ) -> None:
        self.sockets = sockets
        self._cors = cors
        self._authorization = authorization
        self._seats = seats
        self._strangers = strangers
        self._proxies = proxies
        self._send_buffer = send_buffer

    @contextmanager
    def admitted(self, headers: CIMultiDictProxy[str], *, peer: str) -> Iterator[Guest]:
        """Let somebody in until the block is left.

        Args:
            headers: Of the handshake.
            peer: The address that it came from.

        Raises:
            NotAllowed: It comes from a page that is not allowed.
            Stopping: The bus is about to stop.
            Overloaded: All seats are taken.
        """
        self._cors.check(headers)
        if self.sockets.stopping:
            raise Stopping("the bus is stopping; connect again")
        host = sending_host(peer, headers.getall("X-Forwarded-For", []), trusted=self._proxies)
        is_service = self._authorization.is_service(headers.getall("Authorization", []))
        with self._seats.taken(host, service=is_service) as seat:
            yield Guest(host, seat, None if is_service else self._strangers.connected(host))

    async def connect(self, request: web.Request) -> web.StreamResponse:
        """GET /ws: shake hands, and speak with the other side until one of both hangs up."""
        with self.admitted(request.headers, peer=request.remote or "") as guest:
            channel = await _open(request, guest.stranger)
            await self.speak(channel, channel.transport, guest)
            return channel.response

    async def speak(self, channel: TrustingChannel, transport: asyncio.Transport, guest: Guest) -> None:
        """Speak with somebody who was admitted, and whose handshake is answered, until one of both hangs up."""

        def trust() -> None:
            self._seats.give_to_service(guest.seat)
            channel.trust()

        outlet = SocketOutlet(transport, channel.drained, send_buffer=self._send_buffer)
        await self.sockets.speak(channel, outlet, host=guest.host, on_service=trust)


class TrustingChannel(Channel, Protocol):
    """A channel that counts what comes, unless a service is at the other side."""

    def trust(self) -> None:
        """The other side is a service: from now on it may be as fast as it likes."""


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
        if server:
            server.count_frames(stranger)

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
        _, high = self.transport.get_write_buffer_limits()
        while self.transport.get_write_buffer_size() > high:
            if self.transport.is_closing():
                raise ConnectionResetError
            await asyncio.sleep(LOOK_EVERY)
        if self.transport.is_closing():
            raise ConnectionResetError

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
        if self._stranger and not self._server and message.type not in (WSMsgType.CLOSED, WSMsgType.ERROR):
            try:
                self._stranger.take(1, pongs=message.type is WSMsgType.PONG, size=len(message.data or ""))
            except TooFast as problem:
                return WSMessage(WSMsgType.ERROR, WebSocketError(Close.TOO_FAST, problem.detail), None)
        return message


async def _open(request: web.Request, stranger: Stranger | None) -> ResponseChannel:
    """Answer a handshake.

    Raises:
        WrongVersion: It is one for another version.
        BadParameter: It is none.
        ConnectionResetError: The other side has gone.
    """
    _check(request)
    # Frames are answered by `Connection`, so that one place knows when the other side takes no more.
    response = web.WebSocketResponse(
        autoclose=False, autoping=False, compress=False, max_msg_size=MAX_MESSAGE, timeout=CLOSING
    )
    await response.prepare(request)
    transport = request.transport
    if transport is None or transport.is_closing():
        raise ConnectionResetError
    server = request.protocol if isinstance(request.protocol, CountsFrames) else None
    return ResponseChannel(response, transport, stranger, server)


def _check(request: web.Request) -> None:
    """Find out whether a request is a handshake (RFC 6455, 4.2.1).

    Raises:
        WrongVersion: It is one for another version.
        BadParameter: It is none.
    """
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
