"""Whether the bus still lives: a network can vanish without a word, and the connection looks open for ever after."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

MISSED_BEATS = 3
"""After so many beats without a sign of life, the bus counts as gone."""


@asynccontextmanager
async def watched(socket: ClientConnection, heartbeat: float) -> AsyncIterator[Pulse]:
    """Watch a connection as long as the block lasts."""
    pulse = Pulse(socket, heartbeat)
    watching = asyncio.create_task(pulse.watch())
    try:
        yield pulse
    finally:
        watching.cancel()


class Pulse:
    """The bus's signs of life on one connection: whatever comes, and the answers to our pings.

    Beats are counted, not seconds: a program that was kept from reading, by a handler or by the system, has had no beat
    meanwhile.

    Args:
        socket: The connection.
        heartbeat: Seconds between two beats.
    """

    def __init__(self, socket: ClientConnection, heartbeat: float) -> None:
        self._socket = socket
        self._heartbeat = heartbeat
        self._heard = False

        self._until_silence = asyncio.timeout(None)

    def hear(self) -> None:
        """Something came."""
        self._heard = True

    def until_silence(self) -> asyncio.Timeout:
        """Make a context that ends with a `TimeoutError` once the bus has been silent for too long."""
        self._until_silence = asyncio.timeout(None)
        return self._until_silence

    async def watch(self) -> None:
        """Ping, and listen, until the bus has been silent for too long."""
        missed = 0
        while missed < MISSED_BEATS:
            self._heard = False
            pinging = asyncio.create_task(self._ping())  # not waited for: it may not even get out
            await asyncio.sleep(self._heartbeat)
            pinging.cancel()
            missed = 0 if self._heard else missed + 1
        with suppress(RuntimeError):  # nobody listens any more
            self._until_silence.reschedule(0)

    async def _ping(self) -> None:
        with suppress(ConnectionClosed):
            await (await self._socket.ping())
            self.hear()
