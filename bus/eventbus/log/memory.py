"""The log in memory: the simplest that keeps the log's promises, but for durability."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping, Sequence
from itertools import islice, takewhile

import msgspec

from ..event import Draft, Event, logged, timestamp
from ..ids import id_of
from ..patterns import Patterns
from . import TRIM_STEP, WINDOW, Appended, Entry, GroupKey, Publisher, take, wanted
from .head import Head


class _Origin(msgspec.Struct, frozen=True, gc=False):
    """What the log must know of an event, but nobody who reads it."""

    scope: str
    id: str
    time: str


class MemoryLog:
    """Forgets everything on restart. For tests and for reading first.

    Args:
        capacity: Events kept; above it the oldest tenth goes.
        window: Seconds within which a repeated id is a duplicate.
    """

    def __init__(self, *, capacity: int = 100_000, window: float = WINDOW) -> None:
        self.epoch = secrets.token_hex(8)
        self.trimmed = 0
        self._capacity = capacity
        self._window = window
        self._head = Head(0)
        self._events: list[Event] = []
        self._origins: list[_Origin] = []  # the events'
        self._known: dict[tuple[str, str], tuple[int, str]] = {}  # of each scope and id the newest seq and its time
        self._identities: dict[str, float] = {}
        self._lost: dict[str, int] = {}  # the newest event of each client that was trimmed
        self._places: dict[GroupKey, bytes] = {}

    @property
    def head(self) -> int:
        return self._head.seq

    async def append(self, entries: Sequence[Entry]) -> list[Appended]:
        return [self._append(draft, publisher) for draft, publisher in entries]

    async def read(
        self, *, after: int, limit: int, names: Patterns | None = None, address: str | None = None
    ) -> list[Event]:
        kept = (self._events[index] for index in range(max(0, after - self.trimmed), len(self._events)))
        return take(wanted(kept, names, address), limit)

    async def wait_beyond(self, seq: int) -> None:
        await self._head.wait_beyond(seq)

    async def has_lost(self, *, after: int, address: str | None = None) -> bool:
        return after < (self.trimmed if address is None else self._lost.get(address, 0))

    async def trim(self, *, keep: int | None, since: str) -> bool:
        surplus = len(self._events) - keep if keep is not None else 0
        old = sum(1 for _ in takewhile(lambda origin: origin.time < since, self._origins[:TRIM_STEP]))
        going = max(0, surplus, old)
        self._let_go(min(going, TRIM_STEP))
        return going >= TRIM_STEP

    async def group_place(self, group: GroupKey) -> bytes | None:
        return self._places.get(group)

    async def keep_group_places(self, places: Mapping[GroupKey, bytes]) -> None:
        self._places |= places

    async def identity_expiry(self, address: str) -> float:
        return self._identities.get(address, 0.0)

    async def keep_identities(self, expiries: Mapping[str, float], *, now: float) -> bool:
        for address in expiries:
            self._identities.pop(address, None)
        self._identities |= expiries  # at the end: the first expire first
        oldest = islice(self._identities, TRIM_STEP)
        expired = list(takewhile(lambda address: self._identities[address] <= now, oldest))
        for address in expired:
            del self._identities[address]
            self._lost.pop(address, None)
        return len(expired) == TRIM_STEP

    async def check(self) -> None:
        pass  # memory can always be written

    async def close(self) -> None:
        pass  # and has no files

    def _append(self, draft: Draft, publisher: Publisher) -> Appended:
        now, event_id = time.time(), id_of(draft)
        seq, came = self.head + 1, timestamp(now)
        first = self._known.get((publisher.scope, event_id))
        if first and first[1] >= timestamp(now - self._window):
            return Appended(id=event_id, seq=first[0], duplicate=True)
        self._known[publisher.scope, event_id] = seq, came
        self._events.append(logged(draft, id=event_id, seq=seq, time=came, source=publisher.source))
        self._origins.append(_Origin(publisher.scope, event_id, came))
        if len(self._events) > self._capacity:
            self._let_go(len(self._events) - self._capacity * 9 // 10)
        self._head.advance(seq)
        return Appended(id=event_id, seq=seq)

    def _let_go(self, count: int) -> None:
        """Trim the oldest events, and remember whose they were."""
        for event, origin in zip(self._events[:count], self._origins[:count], strict=True):
            key = origin.scope, origin.id
            if self._known[key][0] == event.seq:
                del self._known[key]
            self.trimmed = event.seq
            if event.identifier is not None and event.identifier in self._identities:
                self._lost[event.identifier] = event.seq
        del self._events[:count], self._origins[:count]
