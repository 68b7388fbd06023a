"""What one run of the generator counts, and how long it measures."""

from __future__ import annotations

import asyncio
import time
from array import array
from collections.abc import Awaitable, Callable
from contextlib import suppress
from types import ModuleType
from typing import Any

from . import nats, wire
from .checker import Faults
from .figures import latencies
from .machine import busy_seconds, cpu_seconds, resident_kb, written_bytes
from .wire import PATIENCE

Spec = dict[str, Any]
Figures = dict[str, Any]


class Run:
    """What one run counts. `measuring` is true between the warm-up and the end; `stopping` when no more may be sent.

    `wire` is how the server is spoken to: one of two modules that have `Poster`, `Socket` and `split`.
    """

    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        self.port: int = spec["port"]
        self.token: str = spec["token"]
        self.wire: ModuleType = nats if spec.get("speaks") == "nats" else wire
        self.ordered: bool = spec.get("ordered", True)
        self.faults = Faults()
        self.problems: list[str] = []
        self.measuring = self.stopping = False
        self.events = self.deliveries = self.under_way = 0
        self.times = array("q")
        self.figures: Figures = {}
        self._failed = asyncio.Event()

    def problem(self, text: str) -> None:
        """Note what fails the run; end it."""
        self.problems.append(text)
        self.stopping = True
        self._failed.set()

    async def measure(self) -> None:
        """Let it warm up, measure for a while, and let it end."""
        await asyncio.sleep(self.spec["warm_up"])
        self.events = self.deliveries = 0
        await self.measure_while(self._some_time())

    async def _some_time(self) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._failed.wait(), self.spec["seconds"])

    async def measure_while(self, busy_with: Awaitable[None]) -> None:
        """Measure until that is done, and let it end."""
        pid = self.spec["pid"]
        began, server, own, busy = time.monotonic(), cpu_seconds(pid), time.process_time(), busy_seconds()
        written = written_bytes(pid)
        self.measuring = True
        await busy_with
        self.measuring = False
        seconds = time.monotonic() - began
        server, own, busy = cpu_seconds(pid) - server, time.process_time() - own, busy_seconds() - busy
        written = written_bytes(pid) - written
        self.stopping = True
        self.figures |= {
            "seconds": seconds,
            "events_per_s": self.events / seconds,
            "deliveries_per_s": self.deliveries / seconds,
            "us_per_event": server * 1e6 / self.events if self.events else None,
            "us_per_delivery": server * 1e6 / self.deliveries if self.deliveries else None,
            "server_cpu": server / seconds,
            "generator_cpu": own / seconds,
            "other_cpu": max(0.0, (busy - server - own) / seconds),
            "disk_per_event": written / self.events if written and self.events else None,
            "rss_mb": resident_kb(pid) / 1024,
        }
        await self.until(lambda: self.under_way == 0, "an answer did not come")

    async def until(self, done: Callable[[], bool], otherwise: str) -> None:
        """Wait for what must come; it is a problem if it does not."""
        end = time.monotonic() + PATIENCE
        while not done() and not self.problems:
            if time.monotonic() > end:
                self.problem(otherwise)
            await asyncio.sleep(0.01)

    async def arrived(self, received: Callable[[], int], owed: int) -> None:
        """Wait until all has arrived, or nothing more does, and a moment for what should not have come."""
        last, since = -1, time.monotonic()
        while (now := received()) < owed and time.monotonic() - since < self.spec.get("silence", 2):
            if now != last:
                last, since = now, time.monotonic()
            await asyncio.sleep(0.02)
        await asyncio.sleep(0.05)

    def result(self) -> Figures:
        """Return all figures; of a server that promises no order, what came late is one of them and no fault."""
        if not self.ordered:
            self.figures["late"], self.faults.out_of_order = self.faults.out_of_order, 0
        return self.figures | latencies(self.times) | {"faults": self.faults.counts(), "problems": self.problems[:3]}
