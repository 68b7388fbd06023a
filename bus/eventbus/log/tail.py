"""The newest events of a log, in memory: who follows it, or is little behind, need not ask the disk."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from itertools import islice

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
        self._events: deque[Event] = deque()
        self._size = 0

    def extend(self, events: Iterable[Event]) -> None:
        """Add what comes next; the oldest go when there are too many."""
        for event in events:
            self._events.append(event)
            self._size += len(event.json)
        while len(self._events) > MAX_EVENTS or self._size > MAX_BYTES:
            oldest = self._events.popleft()
            self._size -= len(oldest.json)
            self.after = oldest.seq

    def beyond(self, seq: int) -> Iterator[Event]:
        """Give the events after `seq`, which is `after` or larger."""
        return islice(self._events, seq - self.after, None)
