"""The log's newest position, and a way to wait for the next one."""

from __future__ import annotations

import asyncio


class Head:
    """The newest durable event's ``seq``.

    Args:
        seq: Where it stands at the start.
    """

    def __init__(self, seq: int) -> None:
        self.seq = seq
        self._moved = asyncio.Event()

    def advance(self, seq: int) -> None:
        """Move to `seq` and wake all who wait."""
        if seq > self.seq:
            self.seq = seq
            self._moved.set()

    async def wait_beyond(self, seq: int) -> None:
        """Return once the head is above `seq`."""
        while self.seq <= seq:
            self._moved.clear()
            await self._moved.wait()
