"""Measure the bus beside its yardsticks, print tables, and write them and charts into a folder.

`python -m bench` takes about three minutes, `--full` about 25. The exit status is 1 if any delivery was wrong.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from . import servers
from .machine import facts, open_many_files
from .measures import LONG, PEERS, SHORT, Plan, measures, open_loop
from .rounds import Results, Wrong, run_measure
from .stored_logs import GROWN_CLIENTS, PUBLISHERS, WAITING, growth, replays, storm
from .tables import FOLDER, Table, aligned, named, open_table, table, titled

OPEN, STORED, GROWTH = "open-loop", "stored", "growth"


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line asks for; return the exit status."""
    options = parse(arguments)
    open_many_files()
    plan = LONG if options.full else SHORT
    plan = replace(plan, rounds=options.rounds or plan.rounds, seconds=options.seconds or plan.seconds)
    began = time.monotonic()
    page = Page(options.output, full=options.full)
    try:
        closed, opened = measure(plan, options.only, options.nothing, options.peer, page)
    except Wrong as wrong:
        sys.stderr.write(f"WRONG: {wrong}\n")
        return 1
    page.write(time.monotonic() - began, plan, options.peer)
    if not options.no_charts:
        from . import charts  # matplotlib is needed for drawing only

        charts.draw(closed, opened, options.output)
    return 0


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m bench", description="How fast is the bus?")
    names = [*measures(0, ()), OPEN, STORED, GROWTH]
    parser.add_argument("--full", action="store_true", help="longer, with more clients, and with stored events")
    parser.add_argument("--only", action="append", choices=names, help="one measure; may be repeated")
    parser.add_argument("--rounds", type=int, help="rounds of each measure")
    parser.add_argument("--seconds", type=float, help="seconds that each round measures")
    parser.add_argument("--nothing", choices=("aiohttp", "nginx"), default="aiohttp", help="what answers 200 only")
    parser.add_argument("--peer", action="append", choices=PEERS, default=[], help="another server; may be repeated")
    parser.add_argument("--output", type=Path, default=FOLDER, help="where results.md and the charts go")
    parser.add_argument("--no-charts", action="store_true", help="draw nothing; needs no matplotlib")
    options = parser.parse_args(arguments)
    options.nothing = "nothing" if options.nothing == "aiohttp" else "nginx"
    options.peer = [*dict.fromkeys(options.peer)]
    for name in (options.nothing, *options.peer):
        if lacking := servers.missing(name):
            parser.exit(2, f"{parser.prog}: {lacking}\n")
    return options


class Page:
    """The page with the results: each table is also printed, as soon as it is there."""

    def __init__(self, folder: Path, *, full: bool) -> None:
        self._folder = folder
        self._full = full
        self._sections: list[str] = []

    def add(self, title: str, rows: Table, about: str) -> None:
        """Print a table, and keep it for the page."""
        sys.stdout.write(f"\n{title} ({about})\n{aligned(rows)}")
        sys.stdout.flush()
        self._sections.append(titled(title, rows, [f"{about[0].upper()}{about[1:]}."]))

    def write(self, seconds: float, plan: Plan, peers: Sequence[str]) -> None:
        """Write results.md, or results-full.md."""
        command, name = ("bench-full", "results-full.md") if self._full else ("bench", "results.md")
        if peers:
            command += ' OPTIONS="' + " ".join(f"--peer {peer}" for peer in peers) + '"'
        head = f"""# Results

Written by `make {command}`: {seconds / 60:.0f} minutes, {plan.rounds} rounds of {plan.seconds} seconds each. [What is \
measured, and what these figures cannot tell](../performance.md). Figures are medians of the rounds; a ratio is to
`naive` in the same round, and has its smallest and largest round behind it.

{named(facts() | servers.versions(peers))}
"""
        self._folder.mkdir(parents=True, exist_ok=True)
        (self._folder / name).write_text(head + "\n".join(self._sections))


def measure(
    plan: Plan, only: Sequence[str] | None, nothing: str, peers: Sequence[str], page: Page
) -> tuple[dict[str, Results], dict[int, Results]]:
    """Do all measures, or only some."""
    closed: dict[str, Results] = {}
    for name, one in measures(plan.idle, (nothing,), peers).items():
        if not only or name in only:
            closed[name] = run_measure(one, plan)
            page.add(one.title, table(closed[name]), f"latency: {one.timed}")
    opened: dict[int, Results] = {}
    if not only or OPEN in only:
        for rate in plan.rates:
            opened[rate] = run_measure(open_loop(rate), plan, rounds=max(1, plan.rounds // 3))
        about = "latency: from when an event should have been sent to each delivery; where less came than was offered"
        page.add("Open loop: events at a fixed rate to 4 services", open_table(opened), f"{about}, what came")
    if plan.stored and (not only or STORED in only):
        page.add("A log that holds events", replays(plan), f"stored in batches of 100 on {PUBLISHERS} connections")
        page.add(
            "Clients that come back all at once, after a restart of the bus",
            storm(plan),
            f"{WAITING} events wait for each; one publisher goes on meanwhile",
        )
    if plan.growing and (not only or GROWTH in only):
        about = f"32 publishers; then {GROWN_CLIENTS} clients come back for {WAITING} of the oldest events each"
        page.add("A log that grows; bus, SQLite NORMAL", growth(plan), about)
    return closed, opened


if __name__ == "__main__":
    sys.exit(main())
