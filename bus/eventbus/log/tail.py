"""The newest events of a log, in memory: who follows it, or is little behind, need not ask the disk."""

from __future__ import annotations

from collections.abc import Iterable

from ..event import Event

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
        self._size = 0

    def extend(self, events: Iterable[Event]) -> None:
        """Add what comes next; the oldest go when there are too many."""
        for event in events:
            self._events.append(event)
            self._size += len(event.json)
        going = 0
        while len(self._events) - going > MAX_EVENTS or self._size > MAX_BYTES:
            self._size -= len(self._events[going].json)
            going += 1
        if going:
            self.after = self._events[going - 1].seq
            del self._events[:going]

    def between(self, seq: int, upto: int) -> list[Event]:
        """Return the events after `seq`, which is `after` or larger, up to another."""
        return self._events[seq - self.after : upto - self.after]
