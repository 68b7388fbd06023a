"""A connected subscriber's place in the log: the hub moves it while it keeps up; while not, it reads on by itself."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from .event import Event
from .frames import text_frame
from .log import READ_LIMIT, Log
from .outlet import Outlet
from .problems import LogUnavailable
from .routing import Client, Service

logger = logging.getLogger("eventbus")

RETRY_READING = 1.0  # seconds

BITE = 64 * 1024
"""Bytes, or one event if it is larger, written at once to one that catches up. What is live comes in one piece."""


@dataclass(slots=True, eq=False)
class Subscription:
    """A connected subscriber's place in the log."""

    subscriber: Client | Service
    outlet: Outlet
    cursor: int
    live: bool = True
    catching_up: asyncio.Task[None] | None = None

    def offer(self, events: Sequence[Event], frames: bytes) -> bool:
        """Write events, one or more, and move the cursor past them, unless the outlet is full."""
        if self.outlet.full:
            return False
        self.outlet.write(frames)
        self.cursor = events[-1].seq
        return True

    def let_catch_up(self, log: Log, position: Callable[[], int]) -> None:
        """Read on from the cursor until it has come to where the hub is, whose `position` that is."""
        self.live = False
        self.catching_up = asyncio.create_task(self._catch_up(log, position))

    def stop(self) -> None:
        """Deliver nothing more."""
        self.live = False
        if self.catching_up:
            self.catching_up.cancel()

    async def _catch_up(self, log: Log, position: Callable[[], int]) -> None:
        try:
            while not self.live:
                await self.outlet.drained()
                await self._read_on(log)
                # Nothing is awaited from here to the next delivery, so nothing can fall between.
                self.live = self.cursor >= position()
        except ConnectionError:
            pass  # it went away while it was behind: its connection's own task sees that too
        except Exception:
            logger.exception("a defect of the bus, while a subscriber caught up")
            self.outlet.failed()  # it would wait for ever

    async def _read_on(self, log: Log) -> None:
        head = log.head
        address = self.subscriber.address if isinstance(self.subscriber, Client) else None
        names = self.subscriber.subscribe if isinstance(self.subscriber, Service) else None
        try:
            events = await log.read(after=self.cursor, limit=READ_LIMIT, names=names, address=address)
            overtaken = await log.has_lost(after=self.cursor, address=address)
        except LogUnavailable as problem:
            logger.error("%s; trying again in %s s", problem.detail, RETRY_READING)  # noqa: TRY400 - one line
            await asyncio.sleep(RETRY_READING)
            return
        if overtaken:
            self.outlet.overtaken()
            raise ConnectionResetError
        for bite in _bites(events):
            if not self.offer(bite, frames_of(bite)):
                return
        if not events:
            self.cursor = max(self.cursor, head)  # whatever lies between was for others


def frames_of(events: Sequence[Event]) -> bytes:
    """Wrap events, to be written in one piece."""
    return b"".join([text_frame(event.json) for event in events])


def _bites(events: Sequence[Event]) -> Iterator[Sequence[Event]]:
    """Part what is read at once: an outlet can be asked in between whether it is full."""
    begin, size = 0, 0
    for end, event in enumerate(events, start=1):
        size += len(event.json)
        if size >= BITE or end == len(events):
            yield events[begin:end]
            begin, size = end, 0
