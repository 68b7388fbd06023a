"""Who sends events: each on a connection of its own, the next one once the last is answered."""

from __future__ import annotations

import random
import time
from collections import Counter, deque
from math import inf
from typing import Protocol

from .events import EVERYBODY, event
from .run import Run
from .wire import Poster


class Publisher:
    """Sends the next event once the last is answered, `most` events at most; a `window` may make it wait.

    If it is `timed`, latency is the time of its answers, else of the deliveries.
    """

    def __init__(
        self,
        run: Run,
        number: int,
        poster: Poster,
        *,
        batch: int = 1,
        window: Window | None = None,
        most: float = inf,
        timed: bool = True,
    ) -> None:
        self.sent = 0
        self.most = most
        self._run, self._number, self._poster = run, number, poster
        self._batch, self._window, self._timed = batch, window, timed
        self._began = 0
        poster.answered = self._answered
        poster.lost = lambda: None if run.stopping and not run.under_way else run.problem("the server hung up")

    def go(self) -> None:
        """Send the next, now or when there is room."""
        if self._run.stopping or self.sent >= self.most or (self._window and not self._window.take(self)):
            return
        self._run.under_way += 1
        self._began = time.monotonic_ns()
        self._poster.post(self.body(self._began))

    def body(self, now: int) -> bytes:
        """Write the next event, or batch."""
        first, self.sent = self.sent, self.sent + self._batch
        if self._batch == 1:
            return event(b"event", self._number, EVERYBODY, first, now)
        numbers = range(first, self.sent)
        return b"[%b]" % b",".join([event(b"event", self._number, EVERYBODY, number, now) for number in numbers])

    def _answered(self, status: int) -> None:
        run = self._run
        run.under_way -= 1
        if status != 200:
            run.problem(f"a publisher was answered {status}")
            return
        if run.measuring:
            run.events += self._batch
            if self._timed:
                run.times.append(time.monotonic_ns() - self._began)
        self.go()


class Addressing(Publisher):
    """Sends each event to a random client; `owed` says how many each has been sent."""

    def __init__(self, run: Run, number: int, poster: Poster, tokens: list[str]) -> None:
        super().__init__(run, number, poster, timed=False)
        self.owed: Counter[int] = Counter()
        self._tokens = tokens

    def body(self, now: int) -> bytes:
        """Write the next event."""
        to = random.randrange(len(self._tokens))  # noqa: S311 - a load, no secret
        number = self.owed[to]
        self.owed[to] += 1
        self.sent += 1
        return event(b"event", self._number, to, number, now, self._tokens[to].encode())


class HasSlowest(Protocol):
    """Those that get events; `slowest` is how many the slowest of them has."""

    slowest: int


class Window:
    """Bounds the events that are sent and not with all services."""

    def __init__(self, size: int, crowd: HasSlowest) -> None:
        self._size, self._crowd = size, crowd
        self._sent = 0
        self._waiting: deque[Publisher] = deque()

    def take(self, publisher: Publisher) -> bool:
        """Take a place, or remember who wants one."""
        if self._sent - self._crowd.slowest < self._size:
            self._sent += 1
            return True
        self._waiting.append(publisher)
        return False

    def free(self) -> None:
        """The slowest went on: let others go on too."""
        for _ in range(min(self._size - (self._sent - self._crowd.slowest), len(self._waiting))):
            self._waiting.popleft().go()


async def posters(run: Run, count: int, *, token: str | None = None) -> list[Poster]:
    """Open connections to publish on."""
    return [await run.wire.Poster.open(run.port, token or run.token) for _ in range(count)]
