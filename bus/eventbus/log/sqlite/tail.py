"""The newest events of a log, in memory: who follows it, or is little behind, need not ask the disk."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

from ...event import Event

MAX_EVENTS = 4096
MAX_BYTES = 4 * 1024 * 1024


class Tail:
    """Holds the newest events, without a gap between them.

    Args:
        after: The newest ``seq`` that is not held.
    """

    def __init__(self, after: int) -> None:
        self.after = after
        self._events: list[Event] = []  # no deque: one that is nearly live finds its place at the end at once
        self._of_client = defaultdict[str | None, list[Event]](list)
        self._size = 0

    def extend(self, events: Iterable[Event]) -> None:
        """Add what comes next; the oldest go when there are too many."""
        for event in events:
            self._events.append(event)
            self._of_client[event.identifier].append(event)
            self._size += len(event.json)
        going = 0
        while len(self._events) - going > MAX_EVENTS or self._size > MAX_BYTES:
            self._size -= len(self._events[going].json)
            going += 1
        if going:
            self._forget(self._events[:going])

    def between(self, seq: int, upto: int, *, address: str | None = None) -> list[Event]:
        """Return the events after `seq`, which is `after` or larger, up to another one; perhaps one client's only."""
        if address is not None:
            return [event for event in self._of_client.get(address, ()) if seq < event.seq <= upto]
        return self._events[seq - self.after : upto - self.after]

    def _forget(self, oldest: Sequence[Event]) -> None:
        self.after = oldest[-1].seq
        del self._events[: len(oldest)]
        for identifier, count in Counter(event.identifier for event in oldest).items():
            del self._of_client[identifier][:count]
            if not self._of_client[identifier]:
                del self._of_client[identifier]
