"""A connected subscriber's place in the log: the hub moves it while it keeps up; while not, it reads on by itself."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from .event import Event
from .log import READ_LIMIT, Log
from .outlet import Outlet, Piece
from .problems import LogUnavailable
from .routing import Client, Service

logger = logging.getLogger("eventbus")

RETRY_READING = 1.0
"""Seconds until a log that could not be read is read again."""

CATCH_UP_BYTES = 64 * 1024
"""Most bytes written at a time to a subscriber that is catching up, or one event if that is larger."""


@dataclass(slots=True)
class Position:
    """How far the hub has delivered; all subscriptions see it move.

    Attributes:
        seq: Events up to this one have gone to whoever is live.
    """

    seq: int


class Subscription:
    """A connected subscriber's place in the log.

    Args:
        subscriber: Whose.
        outlet: Where its events go.
        log: What it reads by itself while it is behind.
        position: The hub's.
        after: It has got everything up to this ``seq``.

    Attributes:
        cursor: Everything up to this ``seq`` was written, or was for others.
        live: Does the hub move the cursor? Else the subscription is catching up.
    """

    # One for each client: a dictionary would take as much as all the rest of it.
    __slots__ = ("_catching_up", "_log", "_outlet", "_position", "_subscriber", "cursor", "live")

    def __init__(
        self, subscriber: Client | Service, outlet: Outlet, *, log: Log, position: Position, after: int
    ) -> None:
        self.cursor = after
        self.live = True
        self._subscriber = subscriber
        self._outlet = outlet
        self._log = log
        self._position = position
        self._catching_up: asyncio.Task[None] | None = None
        if after < position.seq:
            self.fall_behind(after=after)

    def offer(self, piece: Piece) -> None:
        """Write a piece, and move the cursor past it. If the outlet is full, the subscription falls behind."""
        if not self._write(piece):
            self.fall_behind(after=piece.events[0].seq - 1)  # what lies between was for others

    def fall_behind(self, *, after: int) -> None:
        """Read on from the cursor, or from `after` if that is later, until it has come to where the hub is."""
        self.cursor = max(self.cursor, after)
        self.live = False
        self._catching_up = asyncio.create_task(self._catch_up())

    def stop(self) -> None:
        """Deliver nothing more."""
        self.live = False
        if self._catching_up:
            self._catching_up.cancel()

    def _write(self, piece: Piece) -> bool:
        if self._outlet.full:
            return False
        self._outlet.write(piece)
        self.cursor = piece.events[-1].seq
        return True

    async def _catch_up(self) -> None:
        try:
            while not self.live:
                await self._outlet.drained()
                await self._read_on()
                # Nothing is awaited from here to the next delivery, so nothing can fall between.
                self.live = self.cursor >= self._position.seq
        except ConnectionError:
            pass  # it went away while it was behind: its connection's own task sees that too
        except Exception:
            logger.exception("a defect of the bus, while a subscriber caught up")
            self._outlet.failed()  # it would wait for ever

    async def _read_on(self) -> None:
        log, subscriber, head = self._log, self._subscriber, self._log.head
        address = subscriber.address if isinstance(subscriber, Client) else None
        names = subscriber.subscribe if isinstance(subscriber, Service) else None
        try:
            events = await log.read(after=self.cursor, limit=READ_LIMIT, names=names, address=address)
            overtaken = await log.has_lost(after=self.cursor, address=address)
        except LogUnavailable as problem:
            logger.error("%s; trying again in %s s", problem.detail, RETRY_READING)  # noqa: TRY400 - one line
            await asyncio.sleep(RETRY_READING)
            return
        if overtaken:
            self._outlet.overtaken()
            raise ConnectionResetError
        for piece in _pieces(events):
            if not self._write(piece):
                return
        if not events:
            self.cursor = max(self.cursor, head)  # whatever lies between was for others


def _pieces(events: Sequence[Event]) -> Iterator[Piece]:
    """Part what is read at once: an outlet can be asked in between whether it is full."""
    begin, size = 0, 0
    for end, event in enumerate(events, start=1):
        size += len(event.json)
        if size >= CATCH_UP_BYTES or end == len(events):
            yield Piece(events[begin:end])
            begin, size = end, 0
