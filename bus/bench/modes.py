"""The loads: who publishes and who listens, and what is owed to whom at the end."""

from __future__ import annotations

import asyncio
import time
from collections import deque

from .checker import Origin
from .crowd import Crowd
from .machine import resident_kb
from .publishers import Addressing, Publisher, Window, posters
from .run import Run
from .subscribers import crowd_of, identify


async def publish(run: Run) -> None:
    """Publishers alone, each with one request under way."""
    opened = await posters(run, run.spec["publishers"])
    for number, poster in enumerate(opened):
        Publisher(run, number, poster, batch=run.spec.get("batch", 1)).go()
    await run.measure()


async def deliver(run: Run) -> None:
    """Publishers, and services that get everything; at most `window` events are under way."""
    windows: list[Window] = []
    crowd = await crowd_of(run, run.spec["services"], lambda: windows[0].free() if windows else None)
    windows.append(Window(run.spec["window"], crowd))
    opened = await posters(run, run.spec["publishers"])
    publishers = [
        Publisher(run, number, poster, window=windows[0], timed=False) for number, poster in enumerate(opened)
    ]
    for publisher in publishers:
        publisher.go()
    await run.measure()
    await settle(run, crowd, publishers)


async def settle(run: Run, crowd: Crowd, publishers: list[Publisher]) -> None:
    """Wait for what is owed to each service, and check that it came."""
    owed: dict[Origin, int] = {(b"event", number): publisher.sent for number, publisher in enumerate(publishers)}
    await run.arrived(lambda: crowd.received, sum(owed.values()) * len(crowd.members))
    crowd.finish(owed)


async def open_loop(run: Run) -> None:
    """Events at a fixed rate, whatever the server does: each one's time counts from when it should have been sent."""
    crowd = await crowd_of(run, run.spec["services"])
    opened = await posters(run, run.spec["publishers"])
    free, due = deque(range(len(opened))), deque[int]()
    publishers = [Publisher(run, number, poster) for number, poster in enumerate(opened)]

    def send() -> None:
        while free and due:
            number = free.popleft()
            run.under_way += 1
            opened[number].post(publishers[number].body(due.popleft()))

    def answered(number: int, status: int) -> None:
        run.under_way -= 1
        run.events += run.measuring
        free.append(number)
        if status != 200:
            run.problem(f"a publisher was answered {status}")
        send()

    for number, poster in enumerate(opened):
        poster.answered = lambda status, number=number: answered(number, status)  # type: ignore[misc]  # a default binds

    async def pace() -> None:
        step, began, number = 1e9 / run.spec["rate"], time.monotonic_ns(), 0
        while not run.stopping:
            while (at := began + int(number * step)) <= time.monotonic_ns() and len(due) < run.spec["rate"]:
                due.append(at)
                number += 1
            send()
            await asyncio.sleep(0.0005)
        due.clear()

    pacing = asyncio.create_task(pace())
    await run.measure()
    await pacing
    run.figures["offered_per_s"] = run.spec["rate"]
    await settle(run, crowd, publishers)


async def idle(run: Run) -> None:
    """Clients that wait, and events that are addressed to one of them each."""
    pid, count = run.spec["pid"], run.spec["clients"]
    before, began = resident_kb(pid), time.monotonic()
    tokens, checkers = await identify(run, [{} for _ in range(count)], timed=True)
    run.figures["connects_per_s"] = count / (time.monotonic() - began)
    await asyncio.sleep(0.5)
    run.figures["kb_per_client"] = (resident_kb(pid) - before) / count
    opened = await posters(run, run.spec["publishers"])
    publishers = [Addressing(run, number, poster, tokens) for number, poster in enumerate(opened)]
    for publisher in publishers:
        publisher.go()
    await run.measure()
    await run.arrived(
        lambda: sum(checker.received for checker in checkers), sum(publisher.sent for publisher in publishers)
    )
    for to, checker in enumerate(checkers):
        checker.finish({(b"event", number): publisher.owed[to] for number, publisher in enumerate(publishers)})
