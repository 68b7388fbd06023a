"""What a log that holds events costs: to start with it, to replay it; and clients that all come back at once."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from .measures import Plan
from .rounds import LIMIT, Round, generate
from .run import Spec
from .servers import KINDS, Server, running
from .tables import Table

PUBLISHERS = 10
GROWN_CLIENTS = 500
"""Clients whose events are the oldest of a log that grows."""
STEP = 1_000_000
"""Events that it grows by at a time."""
PAUSE = 0.5
"""Seconds within which clients come back: the protocol asks for that."""
WAITING = 3
"""Events that wait for each client that comes back."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """A bus that has started on a log that holds something, and the load for it.

    Attributes:
        empty: Seconds that it took to start with no log.
        filled: What the generator said of filling it.
    """

    server: Server
    load: Spec
    empty: float
    filled: Round


@contextmanager
def stored(name: str, plan: Plan, *, events: int) -> Iterator[Loaded]:
    """A log that is filled, to be replayed."""
    spec = {"publishers": PUBLISHERS, "batch": 100, "stored": events}
    with _restarted(name, {"mode": "fill"} | spec, {"mode": "replay"} | spec, plan) as loaded:
        yield loaded


@contextmanager
def gone(name: str, plan: Plan, *, without: str | None = None) -> Iterator[Loaded]:
    """Clients that are gone while events wait for each, to come back to a bus `without` a lever, perhaps."""
    with tempfile.TemporaryDirectory() as folder:
        crowd = {"clients": plan.returning, "waiting": WAITING, "file": f"{folder}/clients.json"}
        comes = {"mode": "return", "pause": PAUSE} | crowd
        with _restarted(name, {"mode": "leave"} | crowd, comes, plan, without) as loaded:
            yield loaded


@contextmanager
def _restarted(name: str, before: Spec, load: Spec, plan: Plan, without: str | None = None) -> Iterator[Loaded]:
    with tempfile.TemporaryDirectory() as folder:
        with running(name, folder=Path(folder)) as first:
            filled = generate(first, before, plan)
        with running(name, folder=Path(folder), without=without) as server:
            yield Loaded(server, load, first.started_in, filled)


def replays(plan: Plan) -> Table:
    """Fill a log, start with it, and replay it to one service."""
    head = ["server", "events", "stored/s", "start, empty, s", "start, full, s", "replayed/s"]
    rows = [[*head, "CPU µs/event", "MiB", ""]]
    for name in ("normal", "full"):
        with stored(name, plan, events=plan.stored) as log:
            replayed = generate(log.server, log.load, plan)
        limit = "the generator was the limit here" if replayed["generator_cpu"] > LIMIT else ""
        figures = [f"{plan.stored:,}", f"{log.filled['events_per_s']:,.0f}"]
        figures += [f"{log.empty:.2f}", f"{log.server.started_in:.2f}"]
        figures += [f"{replayed['deliveries_per_s']:,.0f}", f"{replayed['us_per_delivery']:.1f}"]
        rows.append([KINDS[name].title, *figures, f"{replayed['rss_mb']:.0f}", limit])
    return rows


def storm(plan: Plan) -> Table:
    """Let clients go, send each of them events, start the bus anew, and let all come back in the same moment."""
    rows = [["server", "clients", "all back after, s", "publish meanwhile: p50 ms", "p99 ms", "p99.9 ms"]]
    for name in ("normal", "full"):
        with gone(name, plan) as clients:
            found = generate(clients.server, clients.load, plan)
        figures = [f"{found['seconds']:.2f}", *[f"{found[key]:.1f}" for key in ("p50_ms", "p99_ms", "p999_ms")]]
        rows.append([KINDS[name].title, f"{plan.returning:,}", *figures])
    return rows


def growth(plan: Plan) -> Table:
    """Measure one log again and again while it grows: to publish, and to come back for the oldest events."""
    rows = [["events", "published/s", "CPU µs/event", "all back after, s", "CPU µs/client"]]
    with tempfile.TemporaryDirectory() as folder, running("normal", folder=Path(folder)) as server:
        crowd = {"clients": GROWN_CLIENTS, "waiting": WAITING, "file": f"{folder}/clients.json", "pause": PAUSE}
        generate(server, {"mode": "leave"} | crowd, plan)
        there = 0  # what they wait for, and what is published while one measures, is little beside that
        for events in plan.growing:
            while there < events:
                some = min(events - there, STEP)
                generate(server, {"mode": "fill", "publishers": PUBLISHERS, "batch": 100, "stored": some}, plan)
                there += some
            published = generate(server, {"mode": "publish", "publishers": 32}, plan)
            back = generate(server, {"mode": "return"} | crowd, plan)
            a_client = back["server_cpu"] * back["seconds"] * 1e6 / GROWN_CLIENTS
            figures = [f"{published['events_per_s']:,.0f}", f"{published['us_per_event']:.1f}"]
            figures += [f"{back['seconds']:.2f}", f"{a_client:,.0f}"]
            rows.append([f"{events:,}", *figures])
    return rows
