"""Takes connections: not too many of one host, and none that says nothing. What is said on them is others' business.

Over TLS a connection counts from the end of its handshake on, for which it has no longer than for its first word.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Collection

from .forwarded import Network, is_in, sending_host
from .garbage import Garbage
from .problems import Unavailable, raw_refusal

FIRST_WORD = 10.0
"""Seconds that the other side has to begin to say something, and before that to shake hands over TLS."""

GOODBYE = 1.0
"""Seconds that the other side of TLS has to say goodbye."""

READ_AT_ONCE = 64 * 1024  # bytes


def switch(transport: asyncio.Transport, protocol: asyncio.Protocol) -> None:
    """Let another protocol speak with the other side of an accepted connection from now on."""
    connection = transport.get_protocol()
    assert isinstance(connection, _Connection)  # noqa: S101 - else it was not accepted here
    connection.go_on_with(protocol)


class Acceptor:
    """Makes the protocol of each connection.

    Args:
        protocol: Makes what speaks with the other side of a connection at first.
        most: Connections that one host may have.
        proxies: Where web servers may stand that speak for others: they may have any number.
    """

    def __init__(
        self, protocol: Callable[[], asyncio.Protocol], *, most: int, proxies: Collection[Network] = ()
    ) -> None:
        self.protocol = protocol
        # One for all connections: what arrives is taken out at once. asyncio would get a quarter of a MiB from the
        # system for each read, and give it back, which takes longer than the read.
        self.buffer = memoryview(bytearray(READ_AT_ONCE))
        self._most = most
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
            Unavailable: It has too many.
        """
        host = sending_host(peer, (), trusted=())
        if self._connections[host] >= self._most and not is_in(peer, self._proxies):
            raise Unavailable(f"your host has {self._most} connections, as many as it may; close some")
        self._connections[host] += 1
        self._living += 1
        return host

    def let_go(self, host: str) -> None:
        """Count one less."""
        self._connections[host] -= 1
        if not self._connections[host]:
            del self._connections[host]
        self._living -= 1
        self._garbage.connection_ended(self._living)


class _Connection(asyncio.BufferedProtocol):
    """Hands all on to the protocol that speaks with the other side, once that may stay."""

    def __init__(self, acceptor: Acceptor) -> None:
        self._acceptor = acceptor
        self._transport: asyncio.Transport
        self._protocol: asyncio.Protocol | None = None
        self._host = ""
        self._silent: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - a server makes no others
        self._transport = transport
        peer = transport.get_extra_info("peername")
        try:
            self._host = self._acceptor.take(peer[0] if peer else "")
        except Unavailable as problem:
            transport.write(raw_refusal(problem, b"Connection: close\r\n"))
            transport.close()
            # Over TLS, it would stay until the other side has said goodbye, too.
            asyncio.get_running_loop().call_later(GOODBYE, transport.abort)
            return
        self._silent = asyncio.get_running_loop().call_later(FIRST_WORD, transport.abort)
        self.go_on_with(self._acceptor.protocol())

    def go_on_with(self, protocol: asyncio.Protocol) -> None:
        """Hand on to another one."""
        self._protocol = protocol
        protocol.connection_made(self._transport)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._silent:
            self._silent.cancel()
        if self._protocol:
            self._acceptor.let_go(self._host)
            self._protocol.connection_lost(exc)

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002
        return self._acceptor.buffer

    def buffer_updated(self, nbytes: int) -> None:
        if self._silent:
            self._silent.cancel()
            self._silent = None
        if self._protocol:
            self._protocol.data_received(bytes(self._acceptor.buffer[:nbytes]))

    def eof_received(self) -> bool | None:
        return self._protocol.eof_received() if self._protocol else None

    def pause_writing(self) -> None:
        if self._protocol:
            self._protocol.pause_writing()

    def resume_writing(self) -> None:
        if self._protocol:
            self._protocol.resume_writing()
