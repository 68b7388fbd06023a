"""How old events are: by a clock of the log's own, which never leaps, whatever the system's clock does.

It runs with a clock that only goes forward, and counts the system's sleep. Its time and the log's newest position are
noted now and then: such a mark says that the events up to a position are at least so old. Time that the bus was off is
known to the system's clock alone, which may be wrong. It counts once that clock has run evenly for some minutes, and
only for what was there before.
"""

from __future__ import annotations

import logging
import time
from bisect import bisect_right
from collections.abc import Callable, Sequence
from itertools import pairwise
from operator import attrgetter

import msgspec

logger = logging.getLogger("eventbus")

EVEN = 300.0
"""Seconds that the system's clock must have run evenly before it is believed."""

LEAP = 2.0
"""Seconds between two looks by which a clock that is being corrected bit by bit never moves."""

PLAUSIBLE = range(1_735_689_600, 4_102_444_800)
"""Unix times that a clock may show which is right: from 2025 to 2100."""

MOST_MARKS = 4_000
"""Marks above which those go that tell little."""

FINENESS = 100
"""An age is known to this part of it; more marks would tell more."""


def steady_clock() -> float:
    """Seconds on a clock that only goes forward, also while the system sleeps, where it has such a clock."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


class Mark(msgspec.Struct, array_like=True):
    """When `seq` was the newest position, by the log's clock."""

    when: float
    seq: int


class Sight(msgspec.Struct, frozen=True, array_like=True):
    """What the system's clock showed, while it could be believed, at a time by the log's clock."""

    when: float
    wall: float


class _Kept(msgspec.Struct):
    """What outlives a restart."""

    now: float
    sight: Sight | None
    marks: list[Mark]


class Ages:
    """Knows which events are older than an age.

    Args:
        wall: The system's clock: Unix time.
        steady: Seconds; only goes forward.
    """

    def __init__(self, *, wall: Callable[[], float] = time.time, steady: Callable[[], float] = steady_clock) -> None:
        self._wall = wall
        self._steady = steady
        self._skew = wall() - steady()  # at the last look
        self._even_since = self._begun = steady()
        self._begun_at = wall()  # by the log's clock
        self._sight: Sight | None = None
        self._was_off = False  # for a time that is not counted yet
        self._marks: list[Mark] = []

    @property
    def is_sure(self) -> bool:
        """Has the system's clock been believed in this run? From then on it tells how long the bus was off."""
        return self._sight is not None and not self._was_off

    def now(self) -> float:
        """Tell the time by the log's clock: seconds, at first Unix time."""
        return self._begun_at + self._steady() - self._begun

    def resume(self, kept: bytes) -> None:
        """Go on from what an earlier run of the bus kept."""
        earlier = msgspec.json.decode(kept, type=_Kept)
        self._begun, self._begun_at = self._steady(), earlier.now
        self._sight, self._marks = earlier.sight, earlier.marks
        self._was_off = earlier.sight is not None

    def to_keep(self) -> bytes:
        """Write what `resume` reads."""
        return msgspec.json.encode(_Kept(now=self.now(), sight=self._sight, marks=self._marks))

    def look(self, newest: int) -> bool:
        """Look at the clocks, and note the log's newest position; to be called often.

        Returns:
            Whether the clock has leapt: then what is to be kept should be kept at once.
        """
        leapt = self._look_at_the_clock()
        if newest > (self._marks[-1].seq if self._marks else 0):
            self._marks.append(Mark(self.now(), newest))
            if len(self._marks) > MOST_MARKS:
                self._marks = _thinned(self._marks, self.now())
        return leapt

    def position(self, age: float) -> int:
        """Return a position up to which all events are older than `age`, in seconds; 0 if none is known to be."""
        older = bisect_right(self._marks, self.now() - age, key=attrgetter("when"))
        return self._marks[older - 1].seq if older else 0

    def forget(self, trimmed: int) -> None:
        """Forget the marks of events that have gone."""
        gone = bisect_right(self._marks, trimmed, key=attrgetter("seq"))
        del self._marks[: gone - 1 if gone == len(self._marks) else gone]  # the newest says what needs no mark any more

    def _look_at_the_clock(self) -> bool:
        wall, steady = self._wall(), self._steady()
        moved, self._skew = wall - steady - self._skew, wall - steady
        if abs(moved) > LEAP:
            logger.warning("the system's clock leapt by %+.0f s; events and identities grow no older by that", moved)
            self._even_since = steady
            if not self._was_off:
                self._sight = None
            return True
        if steady - self._even_since >= EVEN and PLAUSIBLE.start <= wall < PLAUSIBLE.stop:
            if self._was_off and self._sight:
                self._count_time_off(self._sight, wall)
            self._was_off = False
            self._sight = Sight(self.now(), wall)
        return False

    def _count_time_off(self, last: Sight, wall: float) -> None:
        """Make older what was there when the system's clock could be believed last."""
        off = wall - last.wall - (self.now() - last.when)
        for mark in self._marks:
            if off > 0 and mark.when <= last.when:
                mark.when -= off


def _thinned(marks: Sequence[Mark], now: float) -> list[Mark]:
    """Leave out marks between two that are close to each other for their age."""
    kept = [marks[0]]
    for mark, after in pairwise(marks[1:]):
        if after.when - kept[-1].when > (now - after.when) / FINENESS:
            kept.append(mark)
    return [*kept, marks[-1]]
