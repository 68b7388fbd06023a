"""All groups of this bus: found, made, woken when the log grows, and their places kept in the log."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import msgspec

from ..log import GroupKey, Log
from ..problems import LogUnavailable
from .delivery import LocalGroup
from .place import Place
from .rules import GroupState

logger = logging.getLogger("eventbus")

KEEP_PLACES_EVERY = 1.0
"""Seconds that an ack may be lost for if the bus is killed; the price is a redelivery."""


class LocalGroups:
    """All groups that have members, and those whose place is still to be kept.

    Args:
        log: Keeps their events and places.
        ack_wait: Seconds a member has to ack an event.
        max_deliveries: After so many attempts, an event becomes a dead letter.
        clock: Seconds; only goes forward.
    """

    def __init__(
        self, log: Log, *, ack_wait: float, max_deliveries: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._log = log
        self._ack_wait = ack_wait
        self._max_deliveries = max_deliveries
        self._clock = clock
        self._known: dict[GroupKey, LocalGroup] = {}
        self._awaited: Counter[GroupKey] = Counter()  # by those who find or create; not to be forgotten

    async def find(self, key: GroupKey) -> LocalGroup | None:
        """Return a group that exists, once its place is durable: whoever made it may still be waiting for that."""
        with self._not_forgotten(key):
            if key not in self._known:
                place = await self._log.group_place(key)
                if place is not None:
                    self._add(key, msgspec.json.decode(place, type=Place)).kept = place
            group = self._known.get(key)
            if group and not group.kept:
                await self._keep_places([group])
        return group

    async def create(self, key: GroupKey, *, after: int) -> LocalGroup:
        """Make a group that begins after a ``seq``, unless it exists by now; return once its place is durable."""
        with self._not_forgotten(key):
            group = await self.find(key) or self._add(key, Place(cursor=after))
            await self._keep_places([group])
        return group

    async def run(self) -> None:
        """Wake the groups when the log grows, for ever."""
        seen = 0
        while True:
            await self._log.wait_beyond(seen)
            seen = self._log.head
            for group in self._known.values():
                group.wake()

    async def keep_places(self) -> None:
        """Make durable how far each group has come; forget those that nobody needs then."""
        await self._keep_places(self._known.values())
        for key, group in list(self._known.items()):
            if key not in self._awaited and group.can_be_forgotten:
                del self._known[key]

    async def keep_keeping_places(self) -> None:
        """Do that for ever."""
        while True:
            await asyncio.sleep(KEEP_PLACES_EVERY)
            try:
                await self.keep_places()
            except LogUnavailable as problem:
                logger.error("the places of groups wait for their next turn: %s", problem.detail)  # noqa: TRY400 - one line

    async def _keep_places(self, groups: Iterable[LocalGroup]) -> None:
        places = {group: group.place for group in groups}
        changed = {group: place for group, place in places.items() if place != group.kept}
        if changed:
            await self._log.keep_group_places({group.key: place for group, place in changed.items()})
        for group, place in changed.items():
            group.kept = place

    @contextmanager
    def _not_forgotten(self, key: GroupKey) -> Iterator[None]:
        self._awaited[key] += 1
        try:
            yield
        finally:
            self._awaited[key] -= 1
            if not self._awaited[key]:
                del self._awaited[key]

    def _add(self, key: GroupKey, place: Place) -> LocalGroup:
        if key not in self._known:  # another member may have been quicker
            state = GroupState(place, ack_wait=self._ack_wait)
            self._known[key] = LocalGroup(key, self._log, state, max_deliveries=self._max_deliveries, clock=self._clock)
        return self._known[key]
