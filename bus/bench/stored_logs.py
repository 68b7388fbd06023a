"""What a log that holds events costs: to start with it, to replay it; and clients that all come back at once."""

from __future__ import annotations

import tempfile
from pathlib import Path

from .measures import Plan
from .rounds import Round, generate
from .servers import KINDS, running
from .tables import Table

PUBLISHERS = 10
PAUSE = 0.5
"""Seconds within which clients come back: the protocol asks for that."""
WAITING = 3
"""Events that wait for each client that comes back."""


def replays(plan: Plan) -> Table:
    """Fill a log, start with it, and replay it to one service."""
    head = ["server", "events", "stored/s", "start, empty, s", "start, full, s", "replayed/s"]
    rows = [[*head, "CPU µs/event", "MiB", ""]]
    for name in ("normal", "full"):
        with tempfile.TemporaryDirectory() as folder:
            spec = {"publishers": PUBLISHERS, "batch": 100, "stored": plan.stored}
            with running(name, folder=Path(folder)) as server:
                empty = server.started_in
                filled = generate(server, {"mode": "fill"} | spec, plan)
            with running(name, folder=Path(folder)) as server:
                full = server.started_in
                replayed = generate(server, {"mode": "replay"} | spec, plan)
        limit = "the generator was the limit here" if replayed["generator_cpu"] > 0.9 else ""
        figures = [f"{plan.stored:,}", f"{filled['events_per_s']:,.0f}", f"{empty:.2f}", f"{full:.2f}"]
        figures += [f"{replayed['deliveries_per_s']:,.0f}", f"{replayed['us_per_delivery']:.1f}"]
        rows.append([KINDS[name].title, *figures, f"{replayed['rss_mb']:.0f}", limit])
    return rows


def storm(plan: Plan) -> Table:
    """Let clients go, send each of them events, start the bus anew, and let all come back in the same moment."""
    rows = [["server", "clients", "all back after, s", "publish meanwhile: p50 ms", "p99 ms", "p99.9 ms"]]
    for name in ("normal", "full"):
        found = storm_of(name, plan)
        figures = [f"{found['seconds']:.2f}", *[f"{found[key]:.1f}" for key in ("p50_ms", "p99_ms", "p999_ms")]]
        rows.append([KINDS[name].title, f"{plan.returning:,}", *figures])
    return rows


def storm_of(name: str, plan: Plan) -> Round:
    """Do it with one kind of log."""
    with tempfile.TemporaryDirectory() as folder:
        spec = {"clients": plan.returning, "waiting": WAITING, "file": f"{folder}/clients.json"}
        with running(name, folder=Path(folder)) as server:
            generate(server, {"mode": "leave"} | spec, plan)
        with running(name, folder=Path(folder)) as server:
            return generate(server, {"mode": "return", "pause": PAUSE} | spec, plan)
