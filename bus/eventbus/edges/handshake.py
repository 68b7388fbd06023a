"""The handshake of a WebSocket (RFC 6455, 4.2): who may open one, and its way on aiohttp's public API.

A faster way past aiohttp stands in `server.websocket_protocol`. It asks the same `Handshakes`, and leaves all that is
refused to this one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Coroutine
from contextlib import AbstractContextManager

from aiohttp import web
from aiohttp.http import HttpVersion11
from multidict import CIMultiDictProxy

from ..authorization import Authorization
from ..limits.frame_rate import Stranger, Strangers
from ..limits.hosts import Network, sending_host
from ..limits.websockets import Seat, Seats
from ..problems import BadParameter, Stopping
from .channel import CLOSING, MAX_MESSAGE, Channel
from .cors import Cors
from .refusals import WrongVersion
from .response_channel import CountsFrames, ResponseChannel
from .socket_outlet import SocketOutlet
from .websocket import WebSockets


class Guest(AbstractContextManager["Guest"]):
    """Who was let in, until the block is left. By hand: a generator would keep the handshake's headers all the while.

    Args:
        host: Where it is.
        seats: All of them.
        seat: Where it sits.
        stranger: What its frames are counted by; None if it is known to be a service.

    Attributes:
        host: As above.
        stranger: As above.
    """

    __slots__ = ("_seat", "_seats", "host", "stranger")

    def __init__(self, host: str, *, seats: Seats, seat: Seat, stranger: Stranger | None) -> None:
        self.host = host
        self.stranger = stranger
        self._seats = seats
        self._seat = seat

    def is_service(self) -> None:
        """It has shown that it is a service, and counts no more among the strangers."""
        self._seats.give_to_service(self._seat)

    def leave(self) -> None:
        """It has gone."""
        self._seats.leave(self._seat)

    def __exit__(self, *_: object) -> None:
        self.leave()


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

    def admit(self, headers: CIMultiDictProxy[str], *, peer: str) -> Guest:
        """Let somebody in.

        Args:
            headers: Of the handshake.
            peer: The address that it came from.

        Raises:
            NotAllowed: It comes from a page that is not allowed.
            Stopping: The bus is about to stop.
            TooFast: Too many come from its host.
            Overloaded: All seats are taken.
        """
        self._cors.check(headers)
        if self.sockets.stopping:
            raise Stopping("the bus is stopping; connect again")
        host = sending_host(peer, headers.getall("X-Forwarded-For", []), trusted=self._proxies)
        is_service = self._authorization.is_service(headers.getall("Authorization", []))
        if not is_service:
            self._strangers.enter(host)
        seat = self._seats.take(host, service=is_service)
        stranger = None if is_service else self._strangers.connected(host)
        return Guest(host, seats=self._seats, seat=seat, stranger=stranger)

    async def connect(self, request: web.Request) -> web.StreamResponse:
        """GET /ws: shake hands, and speak with the other side until one of both hangs up."""
        guest = self.admit(request.headers, peer=request.remote or "")
        try:
            channel = await _open(request, guest.stranger)
        except BaseException:
            guest.leave()
            raise
        await self.speak(channel, channel.transport, guest)
        return channel.response

    def speak(self, channel: Channel, transport: asyncio.Transport, guest: Guest) -> Coroutine[None, None, None]:
        """Speak with somebody who was admitted, and whose handshake is answered, until one of both hangs up.

        No coroutine of its own, as it would stay in memory for as long as the other side is silent.
        """
        outlet = SocketOutlet(transport, channel.drained, send_buffer=self._send_buffer)
        return self.sockets.speak(channel, outlet, host=guest.host, on_service=guest.is_service, place=guest)


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
    server = request.protocol if isinstance(request.protocol, CountsFrames) else None
    if server:
        server.count_frames(stranger)  # before the first of them can be read
    await response.prepare(request)
    transport = request.transport
    if transport is None or transport.is_closing():
        raise ConnectionResetError
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
