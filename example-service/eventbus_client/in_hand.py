"""What a service has in hand: which questions wait or are at work, so that none is begun twice and the bus is told."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field

from .answers import Event

logger = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class Work:
    """A question that this program has taken and not finished.

    Attributes:
        question: It has the name of its log as `epoch`.
        waits: Its handler was not called yet.
        handled_since: When its handler was called; none before that, and after it has returned.
        told: The bus was told of it once.
        hangs: Its handler has taken too long.
    """

    question: Event
    waits: bool = True
    handled_since: float | None = None
    told: bool = False
    hangs: bool = False

    def begin(self) -> None:
        """Its handler is called."""
        self.waits, self.handled_since = False, time.monotonic()

    def is_answered(self) -> None:
        """Its handler has returned: what is left is to publish its answers."""
        self.handled_since, self.hangs = None, False


@dataclass(slots=True)
class InHand:
    """All that a service has taken and not finished, on whichever connection it came.

    Attributes:
        handler_timeout: Seconds after which the bus is told no longer that a handler is at work.
        places: Handlers that are at work at a time.
    """

    handler_timeout: float
    places: int
    _works: dict[tuple[str, int], Work] = field(default_factory=dict)

    def find(self, question: Event) -> Work | None:
        """Find a question that has come before and is not finished."""
        key = _key(question)
        return self._works.get(key) if key else None

    def take(self, question: Event) -> Work:
        """Take a question that is not in hand yet."""
        work = Work(question)
        if key := _key(question):
            self._works[key] = work
        return work

    def finish(self, work: Work) -> None:
        """Have done with a question."""
        if key := _key(work.question):
            del self._works[key]

    def seqs(self, epoch: str) -> list[int]:
        """Give what the bus that has this log is to be told: all but what another instance may do as well.

        That is what hangs, and, where all places are taken by what hangs, what waits for one.
        """
        for work in self._works.values():
            self._look_at(work)
        none_is_free = sum(work.hangs for work in self._works.values()) >= self.places
        found = []
        for (log, seq), work in self._works.items():
            is_anybodys = work.hangs or (work.waits and none_is_free)
            if log == epoch and not (is_anybodys and work.told):
                work.told = True
                found.append(seq)
        return found

    def _look_at(self, work: Work) -> None:
        since = work.handled_since
        if since is None or work.hangs or time.monotonic() - since < self.handler_timeout:
            return
        work.hangs = True
        logger.warning(
            "%s #%s has been in its handler for %g s, which is EVENTBUS_HANDLER_TIMEOUT: another instance may get it",
            work.question["name"],
            work.question.get("seq"),
            self.handler_timeout,
        )


def _key(question: Event) -> tuple[str, int] | None:
    seq = question.get("seq")
    return (question["epoch"], seq) if isinstance(seq, int) else None
