"""The hub: who is connected, and the one reader that follows the log for all of them.

A subscriber is a cursor in the log, not a queue. While it keeps up it is *live*: the hub hands it each new event.
When its outlet is full it falls behind: it reads on from its own cursor once the outlet has drained, until it is live.

The bus takes as long to write one event to a socket as a hundred, so all that one read of the log finds goes in one
piece; and whoever gets the same events shares the piece.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager

from .event import Event
from .log import Log, follow
from .outlet import Outlet, Piece
from .problems import LogUnavailable
from .routing import Client, Service, receives
from .subscription import RETRY_READING, Position, Subscription

logger = logging.getLogger("eventbus")

PUSHES_AT_ONCE = 500
"""Sockets that are written to before everything else has its turn."""


class Hub:
    """Delivers what the log holds to those who are connected.

    Args:
        log: Read from its present head on.
    """

    def __init__(self, log: Log) -> None:
        self._log = log
        self._position = Position(log.head)
        self._services: dict[Service, set[Subscription]] = {}
        self._clients: dict[str, set[Subscription]] = {}

    @property
    def addresses(self) -> list[str]:
        """The clients that are connected."""
        return list(self._clients)

    def has(self, address: str, count: int = 1) -> bool:
        """Is a client connected, so many times or more?"""
        return len(self._clients.get(address, ())) >= count

    @contextmanager
    def connected(self, subscriber: Client | Service, outlet: Outlet, *, after: int) -> Iterator[None]:
        """Deliver to a subscriber what comes after `after`, a ``seq``, until the block is left."""
        subscription = Subscription(subscriber, outlet, log=self._log, position=self._position, after=after)
        subscriptions = self._subscriptions_of(subscriber)
        subscriptions.add(subscription)
        try:
            yield
        finally:
            subscription.stop()
            subscriptions.discard(subscription)
            if not subscriptions:
                self._forget(subscriber)

    async def run(self) -> None:
        """Follow the log for ever; a log that cannot be read is tried again."""
        while True:
            try:
                async for events in follow(self._log, after=self._position.seq):
                    await self._deliver(events)
            except LogUnavailable as problem:
                logger.error("%s; trying again in %s s", problem.detail, RETRY_READING)  # noqa: TRY400 - one line
                await asyncio.sleep(RETRY_READING)

    def _subscriptions_of(self, subscriber: Client | Service) -> set[Subscription]:
        if isinstance(subscriber, Client):
            return self._clients.setdefault(subscriber.address, set())
        return self._services.setdefault(subscriber, set())

    def _forget(self, subscriber: Client | Service) -> None:
        if isinstance(subscriber, Client):
            self._clients.pop(subscriber.address, None)
        else:
            self._services.pop(subscriber, None)

    async def _deliver(self, events: Sequence[Event]) -> None:
        if self._log.trimmed > self._position.seq:
            self._let_all_fall_behind()  # so that each finds out if it missed something
            self._position.seq = self._log.trimmed
        if not events:
            return
        # Before anything is written: who comes in the middle of it finds out that it has to catch up.
        self._position.seq = max(self._position.seq, events[-1].seq)
        for count, (subscription, piece) in enumerate(self._pieces(events), start=1):
            subscription.offer(piece)
            if count % PUSHES_AT_ONCE == 0:
                await asyncio.sleep(0)

    def _pieces(self, events: Sequence[Event]) -> Iterator[tuple[Subscription, Piece]]:
        """Find out who gets what of these events, without asking every client."""
        for service, subscriptions in list(self._services.items()):
            yield from _shared([event for event in events if receives(service, event)], subscriptions)
        of_clients = defaultdict[str, list[Event]](list)
        for event in events:
            if event.identifier and event.identifier in self._clients:
                of_clients[event.identifier].append(event)
        for address, own in of_clients.items():
            yield from _shared(own, self._clients.get(address, ()))

    def _let_all_fall_behind(self) -> None:
        for subscriptions in (*self._services.values(), *self._clients.values()):
            for subscription in subscriptions:
                if subscription.live:
                    subscription.fall_behind(after=self._position.seq)


def _shared(events: Sequence[Event], subscriptions: Collection[Subscription]) -> Iterator[tuple[Subscription, Piece]]:
    """Give each of these that is live the events that are new to it. Some may leave meanwhile."""
    piece = Piece(events)
    for subscription in list(subscriptions) if events else ():
        if not subscription.live:
            continue
        if subscription.cursor < events[0].seq:
            yield subscription, piece
        elif new := [event for event in events if event.seq > subscription.cursor]:
            yield subscription, Piece(new)  # it came when a part of these was in the log
