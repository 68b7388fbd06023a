"""The log in memory: the simplest that keeps the log's promises, but for durability."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping, Sequence
from itertools import islice, takewhile

from ..event import Draft, Event, logged
from ..ids import id_of
from ..patterns import Patterns
from ..timestamps import timestamp
from . import MOST_IDENTITIES, TRIM_BYTES, TRIM_STEP, Appended, Entry, GroupKey, Publisher, oldest, take, wanted
from .head import Head


class MemoryLog:
    """Forgets everything on restart. For tests and for reading first.

    Args:
        capacity: Events kept; above it the oldest tenth goes.
        max_bytes: Bytes of events kept, likewise.
    """

    def __init__(self, *, capacity: int = 100_000, max_bytes: int = 64 * 1024 * 1024) -> None:
        self.epoch = secrets.token_hex(8)
        self.trimmed = 0
        self._capacity = capacity
        self.most_bytes = max_bytes
        self._size = 0  # bytes of all events
        self._ids_from = 0  # ids of events up to here may be used again
        self._head = Head(0)
        self._events: list[Event] = []
        self._origins: list[tuple[str, str]] = []  # of each event, scope and id
        self._known: dict[tuple[str, str], int] = {}  # of each scope and id the newest seq
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

    def forget_ids(self, *, upto: int) -> None:
        self._ids_from = upto

    async def trim(self, *, upto: int = 0, keep: int | None = None, keep_bytes: int | None = None) -> bool:
        if keep is not None:
            upto = max(upto, self.head - keep)
        surplus = 0 if keep_bytes is None else self._size - keep_bytes
        sizes = ((event.seq, len(event.json)) for event in self._events[:TRIM_STEP])
        last, size = oldest(sizes, upto=upto, surplus=surplus)
        count = max(0, last - self.trimmed)
        self._let_go(count)
        return count == TRIM_STEP or size >= TRIM_BYTES

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
        surplus = islice(self._identities, len(expired), max(len(expired), len(self._identities) - MOST_IDENTITIES))
        for address in [*expired, *surplus]:
            del self._identities[address]
            self._lost.pop(address, None)
        return len(expired) == TRIM_STEP

    async def check(self) -> None:
        pass  # memory can always be written

    async def close(self) -> None:
        pass  # and has no files

    def _append(self, draft: Draft, publisher: Publisher) -> Appended:
        event_id, seq = id_of(draft), self.head + 1
        first = self._known.get((publisher.scope, event_id), 0)
        if first > self._ids_from:
            return Appended(id=event_id, seq=first, duplicate=True)
        self._known[publisher.scope, event_id] = seq
        came = timestamp(time.time())
        self._events.append(logged(draft, id=event_id, seq=seq, time=came, source=publisher.source))
        self._origins.append((publisher.scope, event_id))
        self._size += len(self._events[-1].json)
        while len(self._events) > self._capacity or self._size > self.most_bytes:
            self._let_go(len(self._events) // 10 + 1)
        self._head.advance(seq)
        return Appended(id=event_id, seq=seq)

    def _let_go(self, count: int) -> None:
        """Trim the oldest events, and remember whose they were."""
        for event, origin in zip(self._events[:count], self._origins[:count], strict=True):
            self._size -= len(event.json)
            if self._known[origin] == event.seq:
                del self._known[origin]
            self.trimmed = event.seq
            if event.identifier is not None and event.identifier in self._identities:
                self._lost[event.identifier] = event.seq
        del self._events[:count], self._origins[:count]
