"""The load of a group: its members share the events, each is done once, and each is acked."""

from __future__ import annotations

import json
import re
import time
from collections import defaultdict
from collections.abc import Callable, Mapping

from .checker import Checker, Faults, Origin
from .events import NOBODY
from .publishers import Publisher, Window, posters
from .run import Run
from .subscribers import messages
from .wire import TEXT, Socket

_SEQ = re.compile(rb'"seq":(\d+)\}$')


class Shared:
    """Checks what the members of a group get: each event goes to one of them, and to each in order.

    Attributes:
        slowest: How many events were done.
    """

    def __init__(self, faults: Faults, size: int) -> None:
        self.slowest = 0
        self._faults = faults
        self._members = [Checker(faults, identifiers={NOBODY}) for _ in range(size)]
        self._done: dict[Origin, set[int]] = defaultdict(set)

    def take(self, member: int, payload: bytes) -> int | None:
        """Check one message; return when it was sent, or None if it is none of ours."""
        taken = self._members[member].take(payload)
        if taken is None:
            return None
        origin, number, sent = taken
        if number in self._done[origin]:
            self._faults.repeated += 1
        self._done[origin].add(number)
        self.slowest += 1
        return sent

    def finish(self, owed: Mapping[Origin, int]) -> None:
        """Count what no member got: `owed` says how many events of each origin were answered with 200."""
        for origin in owed.keys() | self._done.keys():
            published = set(range(owed.get(origin, 0)))
            self._faults.lost += len(published - self._done[origin])
            self._faults.misdelivered += len(self._done[origin] - published)


async def group(run: Run) -> None:
    """Publishers, and the members of one group, which ack each event by itself or all that came at once in a list."""
    shared = Shared(run.faults, run.spec["members"])
    window = Window(run.spec["window"], shared)
    for number in range(run.spec["members"]):
        await join(run, number, shared, window.free)
    opened = await posters(run, run.spec["publishers"])
    publishers = [Publisher(run, number, poster, window=window, timed=False) for number, poster in enumerate(opened)]
    for publisher in publishers:
        publisher.go()
    await run.measure()
    owed: dict[Origin, int] = {(b"event", number): publisher.sent for number, publisher in enumerate(publishers)}
    await run.arrived(lambda: shared.slowest, sum(owed.values()))
    shared.finish(owed)


async def join(run: Run, member: int, shared: Shared, moved: Callable[[], None]) -> None:
    """Connect one member."""
    socket, _ = await Socket.open(run.port, {"action": "authenticate", "credentials": run.token, "group": "bench"})
    come: list[int] = []

    def message(payload: bytes) -> None:
        sent, seq = shared.take(member, payload), _SEQ.search(payload)
        if sent is None or seq is None:
            return
        come.append(int(seq[1]))
        if run.measuring:
            run.deliveries += 1
            run.times.append(time.monotonic_ns() - sent)

    take = messages(socket, message)

    def fed(data: bytes) -> None:
        take(data)
        for done in [come[:]] if run.spec["lists"] and come else come:
            socket.send(TEXT, json.dumps({"action": "ack", "seq": done}).encode())
        come.clear()
        moved()

    socket.listen(fed)
    socket.lost = lambda: None if run.stopping else run.problem("the server hung up")
