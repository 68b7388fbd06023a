"""Takes connections: not too many, in all and of one host, and none that says nothing.

What is said on them is others' business, with one exception: where only services find room, a head is looked through
for a service's token.

Over TLS a connection counts from the end of its handshake on, for which it has no longer than for its first word.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Collection

from ..edges.refusals import raw_refusal
from ..limits.hosts import Network, is_in, places_of, sending_host
from ..limits.open_files import Capacity
from ..limits.websockets import share_of_a_place
from ..problems import Overloaded
from ..services import Services
from .garbage import Garbage

FIRST_WORD = 10.0
"""Seconds that the other side has to begin to say something, and before that to shake hands over TLS."""

GOODBYE = 1.0
"""Seconds that the other side of TLS has to say goodbye."""

READ_AT_ONCE = 64 * 1024  # bytes

MOST_OF_A_HEAD = 8 * 1024
"""Bytes in which a service has to show its token where only services find room."""


def switch(transport: asyncio.Transport, protocol: asyncio.Protocol) -> None:
    """Let another protocol speak with the other side of an accepted connection from now on."""
    _connection(transport).go_on_with(protocol)


def heard(transport: asyncio.Transport) -> None:
    """Say that the other side of a connection has asked for something, all of which has come."""
    _connection(transport).heard()


def _connection(transport: asyncio.Transport) -> _Connection:
    connection = transport.get_protocol()
    assert isinstance(connection, _Connection)  # noqa: S101 - else it was not accepted here
    return connection


class Acceptor:
    """Makes the protocol of each connection.

    Args:
        protocol: Makes what speaks with the other side of a connection at first.
        most: Connections that one host may have.
        total: Connections that there may be.
        services: They find room where others do not.
        proxies: Where web servers may stand that speak for others: they may have any number.
    """

    def __init__(
        self,
        protocol: Callable[[], asyncio.Protocol],
        *,
        most: int,
        total: int,
        services: Services | None = None,
        proxies: Collection[Network] = (),
    ) -> None:
        self.protocol = protocol
        # One for all connections: what arrives is taken out at once. asyncio would get a quarter of a MiB from the
        # system for each read, and give it back, which takes longer than the read.
        self.buffer = memoryview(bytearray(READ_AT_ONCE))
        self.capacity = Capacity(total)
        self.services = services or Services({})
        self._most = most
        self._total = total
        self._proxies = proxies
        self._connections: Counter[str] = Counter()
        self._living = 0  # the sum of these
        self._garbage = Garbage()

    def __call__(self) -> asyncio.BaseProtocol:
        """Make the protocol of one more connection."""
        return _Connection(self)

    def take(self, peer: str) -> str:
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

    def let_go(self, host: str) -> None:
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


class _Connection(asyncio.BufferedProtocol):
    """Hands all on to the protocol that speaks with the other side, once that may stay."""

    def __init__(self, acceptor: Acceptor) -> None:
        self._acceptor = acceptor
        self._transport: asyncio.Transport
        self._protocol: asyncio.Protocol | None = None
        self._host: str | None = None
        self._head = b""  # as long as it is not known whether the other side may stay
        self._is_heard = False
        self._silent: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - a server makes no others
        self._transport = transport
        peer = transport.get_extra_info("peername")
        self._silent = asyncio.get_running_loop().call_later(FIRST_WORD, transport.abort)
        try:
            self._host = self._acceptor.take(peer[0] if peer else "")
            may_stay = self._acceptor.capacity.enter(self)
        except Overloaded as problem:
            self.refuse(problem)
            return
        if may_stay:
            self.go_on_with(self._acceptor.protocol())

    def refuse(self, problem: Overloaded) -> None:
        """Say why, and hang up."""
        self._head = b""
        self._transport.write(raw_refusal(problem, b"Connection: close\r\n"))
        self._transport.close()
        # Over TLS, it would stay until the other side has said goodbye, too.
        asyncio.get_running_loop().call_later(GOODBYE, self._transport.abort)

    def heard(self) -> None:
        """Count as one that has asked for something."""
        if not self._is_heard:
            self._is_heard = True
            self._acceptor.capacity.heard(self)

    def go_on_with(self, protocol: asyncio.Protocol) -> None:
        """Hand on to another one."""
        self._protocol = protocol
        protocol.connection_made(self._transport)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._silent:
            self._silent.cancel()
        self._acceptor.capacity.leave(self)
        if self._host is not None:
            self._acceptor.let_go(self._host)
        if self._protocol:
            self._protocol.connection_lost(exc)

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002
        return self._acceptor.buffer

    def buffer_updated(self, nbytes: int) -> None:
        data = bytes(self._acceptor.buffer[:nbytes])
        if self._protocol:
            self._is_silent_no_more()
            self._protocol.data_received(data)
        elif not self._transport.is_closing():
            self._head += data
            if b"\r\n\r\n" in self._head or len(self._head) > MOST_OF_A_HEAD:
                self._let_in_services()

    def _is_silent_no_more(self) -> None:
        if self._silent:
            self._silent.cancel()
            self._silent = None

    def _let_in_services(self) -> None:
        capacity = self._acceptor.capacity
        if not self._acceptor.services.with_header(_authorization(self._head)):
            self.refuse(capacity.problem())
            return
        capacity.is_a_service_s(self)
        self._is_silent_no_more()
        head, self._head = self._head, b""
        protocol = self._acceptor.protocol()
        self.go_on_with(protocol)
        protocol.data_received(head)

    def eof_received(self) -> bool | None:
        return self._protocol.eof_received() if self._protocol else None

    def pause_writing(self) -> None:
        if self._protocol:
            self._protocol.pause_writing()

    def resume_writing(self) -> None:
        if self._protocol:
            self._protocol.resume_writing()


def _authorization(request: bytes) -> list[str]:
    """Find the values of these headers in a request, which need not be one; HTTP's parser judges it later."""
    fields = [line.partition(b":") for line in request.partition(b"\r\n\r\n")[0].split(b"\r\n")[1:]]
    found = [value.strip() for name, _, value in fields if name.lower() == b"authorization"]
    return [value.decode(errors="surrogateescape") for value in found]
