"""The log in memory: the simplest that keeps the log's promises, but for durability."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from itertools import islice, takewhile

from ..event import Draft, Event, now
from ..patterns import EVERYTHING, Patterns
from . import Appended, Entry, Publisher, take
from .head import Head


class MemoryLog:
    """Forgets everything on restart. For tests and for reading first.

    Args:
        capacity: Events kept; above it the oldest tenth goes.
    """

    def __init__(self, *, capacity: int = 100_000) -> None:
        self.epoch = secrets.token_hex(8)
        self._capacity = capacity
        self._head = Head(0)
        self._events: list[Event] = []
        self._seqs: dict[tuple[str, str], int] = {}  # the same events by (scope, id), oldest first
        self._identities: dict[str, float] = {}

    @property
    def head(self) -> int:
        return self._head.seq

    async def append(self, entries: Sequence[Entry]) -> list[Appended]:
        return [self._append(draft, publisher) for draft, publisher in entries]

    async def read(
        self, *, after: int, limit: int, names: Patterns = EVERYTHING, address: str | None = None
    ) -> list[Event]:
        first = self._events[0].seq if self._events else 1
        newer = self._events[max(0, after + 1 - first) :]
        wanted = (e for e in newer if e.name in names and (address is None or e.context.get("identifier") == address))
        return take(wanted, limit)

    async def wait_beyond(self, seq: int) -> None:
        await self._head.wait_beyond(seq)

    async def identity_expiry(self, address: str) -> float:
        return self._identities.get(address, 0.0)

    async def keep_identities(self, expiries: Mapping[str, float], *, now: float) -> None:
        for address in expiries:
            self._identities.pop(address, None)
        self._identities |= expiries  # at the end: the first expire first
        expired = list(takewhile(lambda address: self._identities[address] <= now, self._identities))
        for address in expired:
            del self._identities[address]

    async def check(self) -> None:
        pass  # memory can always be written

    async def close(self) -> None:
        pass  # and has no files

    def _append(self, draft: Draft, publisher: Publisher) -> Appended:
        key = (publisher.scope, draft.id)
        if key in self._seqs:
            return Appended(id=draft.id, seq=self._seqs[key], duplicate=True)
        seq = self.head + 1
        self._seqs[key] = seq
        self._events.append(
            Event(
                name=draft.name,
                data=draft.data,
                context=draft.context,
                id=draft.id,
                seq=seq,
                time=now(),
                source=publisher.source,
            )
        )
        self._trim()
        self._head.advance(seq)
        return Appended(id=draft.id, seq=seq)

    def _trim(self) -> None:
        if len(self._events) > self._capacity:
            surplus = len(self._events) - self._capacity * 9 // 10
            del self._events[:surplus]
            for key in list(islice(self._seqs, surplus)):
                del self._seqs[key]
