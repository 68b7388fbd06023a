"""The door: owns each connection from accept to close, and knows what it is at each moment.

    accepted ── Encrypting, over TLS ──┬── Silent: no word yet ──┬── PlainRequests ──┬── HttpProtocol: aiohttp's
                                       ├── Knocking: a service? ─┘                   └── WebSocketProtocol
                                       └── refused

Not too many come in, in all and of one host, and none stays that says nothing. A connection counts from when it is
accepted: for its handshake over TLS it has no longer than for its first word.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Collection
from functools import partial
from ssl import SSLContext

from ..edges.refusals import raw_refusal
from ..limits.hosts import Network, is_in, places_of, sending_host
from ..limits.open_files import Capacity
from ..limits.websockets import share_of_a_place
from ..problems import Overloaded
from ..services import Services
from .first_states import GOODBYE, Encrypting, Knocking, Refused, Silent
from .garbage import Garbage

READ_AT_ONCE = 64 * 1024
"""Bytes that are taken from a socket at once."""

REFUSED_AT_ONCE = 32
"""Connections that shake hands over TLS only to read why they are refused; more are cut off without a word."""


class Door:
    """Makes connections, and counts them.

    Args:
        first: Makes what speaks with the other side of a connection at first.
        most: Connections that one host may have.
        total: Connections that there may be.
        services: They find room where others do not.
        proxies: Where web servers may stand that speak for others: they may have any number.
        tls: How to encrypt, if at all.
    """

    def __init__(
        self,
        first: Callable[[Connection], asyncio.Protocol],
        *,
        most: int,
        total: int,
        services: Services | None = None,
        proxies: Collection[Network] = (),
        tls: SSLContext | None = None,
    ) -> None:
        self.first = first
        self.tls = tls
        # One for all connections: what arrives is taken out at once. asyncio would get a quarter of a MiB from the
        # system for each read, and give it back, which takes longer than the read.
        self.buffer = memoryview(bytearray(READ_AT_ONCE))
        self.capacity = Capacity(total)
        self.refusing: set[Connection] = set()
        self.services = services or Services({})
        self._most = most
        self._total = total
        self._proxies = proxies
        self._connections: Counter[str] = Counter()
        self._living = 0  # the sum of these
        self._garbage = Garbage()

    def __call__(self) -> asyncio.BaseProtocol:
        """Make the protocol of one more connection."""
        return Connection(self)

    def enter(self, peer: str) -> str:
        """Count one more connection, from this address; return the host that it counts for.

        Raises:
            Overloaded: It has too many.
        """
        host = sending_host(peer, (), trusted=())
        if not is_in(peer, self._proxies):
            self._check(host)
        for place, _ in places_of(host):
            self._connections[place] += 1
        self._living += 1
        return host

    def refuse_after_handshake(self, connection: Connection) -> bool:
        """May a connection shake hands over TLS only to read that it is refused? Some may at a time."""
        if len(self.refusing) >= REFUSED_AT_ONCE:
            return False
        self.refusing.add(connection)
        return True

    def leave(self, host: str) -> None:
        """Count one less."""
        for place, _ in places_of(host):
            self._connections[place] -= 1
            if not self._connections[place]:
                del self._connections[place]
        self._living -= 1
        self._garbage.connection_ended(self._living)

    def _check(self, host: str) -> None:
        for place, hosts in places_of(host):
            most = share_of_a_place(self._most, hosts, self._total)
            if self._connections[place] >= most:
                whose = "your host has" if hosts == 1 else f"the hosts of {place} have"
                raise Overloaded(f"{whose} {most} connections, as many as it may; close some")


class Connection(asyncio.BufferedProtocol):
    """One connection. What comes goes to its state, until the connection becomes something else.

    Attributes:
        transport: What is written goes there.
        peer: The address of the other side.
        state: What the connection is now.
        task: What speaks with the other side, if a task does.
    """

    __slots__ = ("__weakref__", "_begin", "_door", "_host", "peer", "state", "task", "transport")

    transport: asyncio.Transport

    def __init__(self, door: Door) -> None:
        self._door = door
        self._host: str | None = None
        self._begin: Callable[[Connection], asyncio.Protocol] = Silent
        self.peer = ""
        self.state: asyncio.Protocol = asyncio.Protocol()  # until it is made
        self.task: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - a server makes no others
        self.transport = transport
        peer = transport.get_extra_info("peername")
        self.peer = peer[0] if peer else ""
        try:
            self._host = self._door.enter(self.peer)
            may_stay = self._door.capacity.enter(self)
            self._begin = Silent if may_stay else Knocking
        except Overloaded as problem:
            self._begin = partial(Refused, problem=problem)
            if self._door.tls and not self._door.refuse_after_handshake(self):
                transport.abort()
                return
        if self._door.tls:
            self.become(Encrypting(self, self._door.tls))
        else:
            self.become(self._begin(self))

    def become(self, state: asyncio.Protocol) -> None:
        """Let something else speak with the other side from now on."""
        self.state = state
        state.connection_made(self.transport)

    def begin(self, data: bytes) -> None:
        """The other side has said its first word."""
        self.become(self._door.first(self))
        self.state.data_received(data)

    def encrypted(self, transport: asyncio.Transport) -> None:
        """From now on all that is written and read is encrypted."""
        self.transport = transport
        self.become(self._begin(self))

    def asked(self) -> None:
        """The other side has asked for something, all of which has come."""
        self._door.capacity.heard(self)

    @property
    def is_idle(self) -> bool:
        """Is the connection between two requests?"""
        return getattr(self.state, "is_idle", False)

    def part(self) -> None:
        """Hang up, as a server may between two requests (RFC 9112, 9.5)."""
        self.transport.close()

    def let_in_service(self, authorization: Collection[str]) -> bool:
        """Give a connection that only a service may have to the service that shows its token; tell if one did."""
        if not self._door.services.with_header(list(authorization)):
            self.refuse(self._door.capacity.problem())
            return False
        self._door.capacity.is_a_service_s(self)
        return True

    def refuse(self, problem: Overloaded) -> None:
        """Say why, and hang up."""
        if isinstance(self.state, Encrypting):
            self.transport.abort()  # there is no way yet to say anything
            return
        self.transport.write(raw_refusal(problem, b"Connection: close\r\n"))
        self.transport.close()
        # Over TLS, it would stay until the other side has said goodbye, too.
        asyncio.get_running_loop().call_later(GOODBYE, self.transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        self._door.refusing.discard(self)
        self._door.capacity.leave(self)
        if self._host is not None:
            self._door.leave(self._host)
        self.state.connection_lost(exc)

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - all of it
        return self._door.buffer

    def buffer_updated(self, nbytes: int) -> None:
        self.state.data_received(bytes(self._door.buffer[:nbytes]))

    def eof_received(self) -> bool | None:
        return self.state.eof_received()

    def pause_writing(self) -> None:
        self.state.pause_writing()

    def resume_writing(self) -> None:
        self.state.resume_writing()
