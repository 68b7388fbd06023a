"""Events that wait, each until a time of its own: a heap that finds the first, and forgets what was taken out."""

from __future__ import annotations

import heapq

MAX_VOID = 64
"""Entries that may be void beyond as many as are not: void ones may lie there for long."""


class Waiting:
    """A queue of events by the time when they are due."""

    def __init__(self) -> None:
        self._due: dict[int, float] = {}
        self._heap: list[tuple[float, int]] = []  # the same; entries that `_due` contradicts are void

    def __contains__(self, seq: int) -> bool:
        return seq in self._due

    def add(self, seq: int, *, due: float) -> None:
        """Let an event wait."""
        self._due[seq] = due
        heapq.heappush(self._heap, (due, seq))

    def remove(self, seq: int) -> None:
        """Let an event wait no longer, if it did."""
        self._due.pop(seq, None)

    def first(self) -> tuple[float, int] | None:
        """Give the time and the event that come first; None if nothing waits."""
        self._forget_void()
        return self._heap[0] if self._heap else None

    def next_due(self, *, now: float) -> int | None:
        """Give the event that has been due longest; None if none is."""
        first = self.first()
        return first[1] if first and first[0] <= now else None

    def due_after_first(self, *, now: float, most: int) -> list[int]:
        """Give some more events that are due, in the order in which they became so."""
        waiting = {entry for entry in self._heap if self._due.get(entry[1]) == entry[0]}  # one may be there twice
        entries = heapq.nsmallest(most + 1, waiting)
        return [seq for due, seq in entries[1:] if due <= now]

    def any_after(self, now: float) -> bool:
        """Is anything due later than now?"""
        return any(due > now for due in self._due.values())

    def _forget_void(self) -> None:
        if len(self._heap) > 2 * len(self._due) + MAX_VOID:
            self._heap = [(due, seq) for seq, due in self._due.items()]
            heapq.heapify(self._heap)
        while self._heap and self._due.get(self._heap[0][1]) != self._heap[0][0]:
            heapq.heappop(self._heap)
