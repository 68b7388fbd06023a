"""The hub: who is connected, and the one reader that follows the log for all of them.

A subscriber is a cursor in the log, not a queue. While it keeps up it is *live*: the hub hands it each new event.
When its outlet is full it falls behind: it reads on from its own cursor once the outlet has drained, until it is live.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from .event import Event, encode_event
from .log import READ_LIMIT, Log, follow
from .problems import Unavailable
from .routing import Client, Service, receives

logger = logging.getLogger("eventbus")

RETRY_READING = 1.0  # seconds
PUSHES_AT_ONCE = 500  # then everything else has its turn


class Outlet(Protocol):
    """Where a subscriber's events go: its socket."""

    @property
    def full(self) -> bool:
        """Does so much wait to be sent that nothing more should be written?"""

    def write(self, payload: bytes) -> None:
        """Send one message; never waits, and does nothing once the other side has gone."""

    async def drained(self) -> None:
        """Return once the outlet is no longer full. Raises ConnectionError when the other side has gone."""

    def overtaken(self) -> None:
        """Part from the other side: retention took what it had not got yet. When it comes back, it is told so."""


@dataclass(slots=True, eq=False)
class _Subscription:
    """A connected subscriber's place in the log."""

    subscriber: Client | Service
    outlet: Outlet
    cursor: int
    live: bool = True
    catching_up: asyncio.Task[None] | None = None

    def offer(self, event: Event, payload: bytes) -> bool:
        """Write an event and move the cursor past it, unless the outlet is full."""
        if self.outlet.full:
            return False
        self.outlet.write(payload)
        self.cursor = event.seq
        return True


class Hub:
    """Delivers what the log holds to those who are connected.

    Args:
        log: Read from its present head on.
    """

    def __init__(self, log: Log) -> None:
        self._log = log
        self._position = log.head
        self._services: set[_Subscription] = set()
        self._clients: dict[str, set[_Subscription]] = {}

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
        subscription = _Subscription(subscriber, outlet, cursor=after)
        group = self._group_of(subscriber)
        group.add(subscription)
        if after < self._position:
            self._let_catch_up(subscription)
        try:
            yield
        finally:
            group.discard(subscription)
            if isinstance(subscriber, Client) and not group:
                self._clients.pop(subscriber.address, None)
            if subscription.catching_up:
                subscription.catching_up.cancel()

    async def run(self) -> None:
        """Follow the log for ever; a log that cannot be read is tried again."""
        while True:
            try:
                async for events in follow(self._log, after=self._position):
                    await self._deliver(events)
            except Unavailable as problem:
                logger.error("%s; trying again in %s s", problem.detail, RETRY_READING)  # noqa: TRY400 - one line
                await asyncio.sleep(RETRY_READING)

    def _group_of(self, subscriber: Client | Service) -> set[_Subscription]:
        if isinstance(subscriber, Client):
            return self._clients.setdefault(subscriber.address, set())
        return self._services

    async def _deliver(self, events: Iterable[Event]) -> None:
        if self._log.trimmed > self._position:
            self._let_all_catch_up()  # so that each finds out if it missed something
            self._position = self._log.trimmed
        pushed = 0
        for event in events:
            pushed += self._push(event)
            self._position = max(self._position, event.seq)
            if pushed >= PUSHES_AT_ONCE:
                await asyncio.sleep(0)
                pushed = 0

    def _push(self, event: Event) -> int:
        """Write an event to whom it concerns; return how many these are."""
        payload, pushed = b"", 0
        for subscription in self._live_subscriptions(event):
            if receives(subscription.subscriber, event):
                payload = payload or encode_event(event)  # once for all
                pushed += 1
                if not subscription.offer(event, payload):
                    subscription.cursor = event.seq - 1  # what lies between was for others
                    self._let_catch_up(subscription)
        return pushed

    def _live_subscriptions(self, event: Event) -> Iterator[_Subscription]:
        """Those whom an event may concern, without asking every client."""
        for group in (self._services, self._clients.get(event.context.get("identifier", ""), ())):
            for subscription in group:
                if subscription.live and subscription.cursor < event.seq:
                    yield subscription

    def _let_all_catch_up(self) -> None:
        for group in (self._services, *self._clients.values()):
            for subscription in group:
                if subscription.live:
                    subscription.cursor = max(subscription.cursor, self._position)
                    self._let_catch_up(subscription)

    def _let_catch_up(self, subscription: _Subscription) -> None:
        subscription.live = False
        subscription.catching_up = asyncio.create_task(self._catch_up(subscription))

    async def _catch_up(self, subscription: _Subscription) -> None:
        try:
            while not subscription.live:
                await subscription.outlet.drained()
                await self._read_on(subscription)
                # Nothing is awaited from here to the next delivery, so nothing can fall between.
                subscription.live = subscription.cursor >= self._position
        except ConnectionError:
            pass  # it went away while it was behind: its connection's own task sees that too
        except Exception:
            logger.exception("a defect of the bus, while a subscriber caught up")
            subscription.outlet.overtaken()  # it would wait for ever; when it comes back, it resumes

    async def _read_on(self, subscription: _Subscription) -> None:
        head = self._log.head
        address = subscription.subscriber.address if isinstance(subscription.subscriber, Client) else None
        names = subscription.subscriber.subscribe if isinstance(subscription.subscriber, Service) else None
        try:
            events = await self._log.read(after=subscription.cursor, limit=READ_LIMIT, names=names, address=address)
            overtaken = await self._log.has_lost(after=subscription.cursor, address=address)
        except Unavailable as problem:
            logger.error("%s; trying again in %s s", problem.detail, RETRY_READING)  # noqa: TRY400 - one line
            await asyncio.sleep(RETRY_READING)
            return
        if overtaken:
            subscription.outlet.overtaken()
            raise ConnectionResetError
        for event in events:
            if not subscription.offer(event, encode_event(event)):
                return
        if not events:
            subscription.cursor = max(subscription.cursor, head)  # whatever lies between was for others
