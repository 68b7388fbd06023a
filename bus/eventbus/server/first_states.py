"""What a connection is before its first request: it shakes hands over TLS, is silent, knocks, or is refused."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from contextlib import suppress
from ssl import SSLContext
from typing import Protocol, cast

from ..problems import Overloaded

FIRST_WORD = 10.0
"""Seconds that the other side has to begin to say something, and before that to shake hands over TLS."""

GOODBYE = 1.0
"""Seconds that the other side of TLS has to say goodbye."""

MAX_KNOCK = 8 * 1024
"""Bytes in which a service has to show its token where only services find room."""


class Owner(Protocol):
    """The connection, as its first states see it.

    Attributes:
        transport: What is written goes there.
        state: What the connection is now.
        task: What works for it.
    """

    transport: asyncio.Transport
    state: asyncio.Protocol
    task: asyncio.Task[None] | None

    def encrypted(self, transport: asyncio.Transport) -> None:
        """From now on all that is written and read is encrypted."""

    def begin(self, data: bytes) -> None:
        """The other side has said its first word."""

    def let_in_service(self, authorization: Collection[str]) -> bool:
        """Give the connection to the service that shows its token; tell if one did."""

    def refuse(self, problem: Overloaded) -> None:
        """Say why, and hang up."""


class Encrypting(asyncio.Protocol):
    """The handshake of TLS is under way."""

    def __init__(self, connection: Owner, tls: SSLContext) -> None:
        self._early = b""  # what came with the end of the handshake, before asyncio had said that it is done
        connection.task = asyncio.create_task(self._shake_hands(connection, tls))

    def data_received(self, data: bytes) -> None:
        self._early += data

    async def _shake_hands(self, connection: Owner, tls: SSLContext) -> None:
        plain = connection.transport
        with suppress(OSError):  # of whatever kind: what asyncio has to say of it, nobody needs to know
            encrypted = await asyncio.get_running_loop().start_tls(
                plain,
                cast(asyncio.BufferedProtocol, connection),  # which it is, too
                tls,
                server_side=True,
                ssl_handshake_timeout=FIRST_WORD,
                ssl_shutdown_timeout=GOODBYE,
            )
            if encrypted and not encrypted.is_closing():
                connection.encrypted(encrypted)
                if self._early:
                    connection.state.data_received(self._early)
                return
        plain.abort()


class Silent(asyncio.Protocol):
    """No word yet: a connection that says none in time is ended."""

    def __init__(self, connection: Owner) -> None:
        self._connection = connection
        self._end = asyncio.get_running_loop().call_later(FIRST_WORD, connection.transport.abort)

    def data_received(self, data: bytes) -> None:
        self._end.cancel()
        self._connection.begin(data)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio passes it
        self._end.cancel()


class Knocking(asyncio.Protocol):
    """Only a service finds room: what comes is looked through for a service's token, and kept."""

    def __init__(self, connection: Owner) -> None:
        self._connection = connection
        self._head = b""
        self._end = asyncio.get_running_loop().call_later(FIRST_WORD, connection.transport.abort)

    def data_received(self, data: bytes) -> None:
        if self._connection.transport.is_closing():
            return
        self._head += data
        if b"\r\n\r\n" in self._head or len(self._head) > MAX_KNOCK:
            self._end.cancel()
            if self._connection.let_in_service(_authorization(self._head)):
                self._connection.begin(self._head)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio passes it
        self._end.cancel()


class Refused(asyncio.Protocol):
    """There is no place for it, which it is told."""

    def __init__(self, connection: Owner, *, problem: Overloaded) -> None:
        self._connection = connection
        self._problem = problem

    def connection_made(self, transport: asyncio.BaseTransport) -> None:  # noqa: ARG002 - the connection has it
        self._connection.refuse(self._problem)


def _authorization(request: bytes) -> list[str]:
    """Find the values of these headers in a request, which need not be one; HTTP's parser judges it later."""
    fields = [line.partition(b":") for line in request.partition(b"\r\n\r\n")[0].split(b"\r\n")[1:]]
    found = [value.strip() for name, _, value in fields if name.lower() == b"authorization"]
    return [value.decode(errors="surrogateescape") for value in found]
