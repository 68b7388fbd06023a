"""The loads of a log that holds events: filling it, replaying it, and clients that come back to it."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any

from .checker import Checker
from .crowd import Crowd
from .events import event
from .publishers import Publisher, posters
from .run import Run
from .subscribers import crowd_of, identify


async def fill(run: Run) -> None:
    """So many events in batches, as fast as they are taken."""
    share = run.spec["stored"] // run.spec["publishers"]
    opened = await posters(run, run.spec["publishers"])
    publishers = [Publisher(run, n, poster, batch=run.spec["batch"], most=share) for n, poster in enumerate(opened)]
    for publisher in publishers:
        publisher.go()
    await run.measure_while(run.until(lambda: run.events == run.spec["stored"], "not all events were taken"))


async def replay(run: Run) -> None:
    """One service that reads what `fill` stored."""
    stored, publishers = run.spec["stored"], run.spec["publishers"]
    crowds: list[Crowd] = []

    async def read() -> None:
        crowds.append(await crowd_of(run, 1, after=0))
        await run.until(lambda: crowds[0].received >= stored, "not all events came")

    await run.measure_while(read())
    await asyncio.sleep(0.05)
    crowds[0].finish({(b"event", number): stored // publishers for number in range(publishers)})


async def leave(run: Run) -> None:
    """Clients that identify themselves and go; then events for each of them. A file keeps what they know."""
    known: list[dict[str, Any]] = [{} for _ in range(run.spec["clients"])]
    await identify(run, known)
    run.stopping = True
    Path(run.spec["file"]).write_text(json.dumps(known))  # noqa: ASYNC240 - nothing else goes on
    poster = (await posters(run, 1))[0]
    answer: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    poster.answered = lambda status: answer.set_result(status)
    for number in range(run.spec["waiting"]):
        for first in range(0, len(known), 100):
            batch = range(first, min(first + 100, len(known)))
            now = time.monotonic_ns()
            poster.post(
                b"[%b]" % b",".join([event(b"event", 0, to, number, now, known[to]["token"].encode()) for to in batch])
            )
            if (status := await answer) != 200:
                run.problem(f"the publisher was answered {status}")
            answer = asyncio.get_running_loop().create_future()


async def come_back(run: Run) -> None:
    """The clients of `leave` come back all at once, while somebody publishes."""
    known = json.loads(Path(run.spec["file"]).read_text())  # noqa: ASYNC240 - nothing else goes on
    waiting: int = run.spec["waiting"]
    publisher = Publisher(run, 1, (await posters(run, 1))[0])
    checkers: list[Checker] = []

    async def back() -> None:
        publisher.go()
        _, found = await identify(run, known)
        checkers.extend(found)
        await run.until(lambda: all(one.received >= waiting for one in checkers), "not all events came")

    run.spec["opening"] = len(known)
    await run.measure_while(back())
    for checker in checkers:
        checker.finish({(b"event", 0): waiting})
