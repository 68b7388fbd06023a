"""What each lever gives: the bus with it and without it, in turn. Writes `levers.md` into a folder.

`make levers` runs it. A factor says how much better the bus is with the lever, in the median of the rounds.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

from .figures import Spread, ratios
from .machine import facts, open_many_files
from .measures import SHORT, measures
from .rounds import Round, generate
from .servers import KINDS, running
from .stored_logs import gone
from .tables import FOLDER, Table, aligned, markdown, named
from .without import LEVERS

PLAN = replace(SHORT, rounds=5, seconds=1.0, returning=5000)


def once(server: str, what: str, without: str | None) -> Round:
    """Put a load on a bus of its own."""
    if what == "return":
        with gone(server, PLAN, without=without) as clients:
            return generate(clients.server, clients.load, PLAN)
    with running(server, without=without) as bus:
        return generate(bus, measures(PLAN.idle, ())[what].spec, PLAN)


def compare(lever: str, what: str) -> list[str]:
    """Measure the bus with a lever and without it, in turn; return how much better it is with it."""
    server = LEVERS[lever].server
    pairs = [(once(server, what, None), once(server, what, lever)) for _ in range(PLAN.rounds)]
    found, lacking = zip(*pairs, strict=True)

    def better(figure: str, *, more: bool = False) -> str:
        one, other = (found, lacking) if more else (lacking, found)
        return factor(ratios([each.get(figure) for each in one], [each.get(figure) for each in other]))

    if what == "return":
        title, factors = f"{PLAN.returning:,} clients come back", [better("seconds"), "", better("p99_ms"), "", ""]
    else:
        measure = measures(PLAN.idle, ())[what]
        title = measure.title
        less = [better(figure) for figure in (measure.cost, "p99_ms", "disk_per_event", "kb_per_client")]
        factors = [better(measure.rate, more=True), *less]
    return [f"{title}; {KINDS[server].title}", *factors]


def factor(found: Spread | None) -> str:
    """Write a factor, and the spread of its rounds."""
    return f"{found.middle:.2g} ({found.least:.2g}..{found.most:.2g})" if found else ""


def page(rows: Table) -> str:
    """Write levers.md."""
    return f"""# Levers

Written by `make levers`. A factor says how much better the bus is with the lever than without it: more in a second,
less CPU time for each event, a lower 99th percentile of latency, fewer bytes to the disk for each event, less memory
for each client that waits. It is the median of {PLAN.rounds} rounds in turn, with the smallest and the largest behind
it; what is nearly 1 is noise.

{named(facts())}
{markdown(rows)}"""


def main(folder: Path) -> None:
    """Measure all."""
    open_many_files()
    rows = [["lever", "load", "throughput ×", "CPU ×", "p99 ×", "disk ×", "memory ×"]]
    for name, lever in LEVERS.items():
        for what in lever.measures:
            rows.append([lever.title, *compare(name, what)])
            sys.stdout.write(aligned(rows[-1:]))
            sys.stdout.flush()
    (folder / "levers.md").write_text(page(rows))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m bench.levers", description="See what each lever gives.")
    parser.add_argument("folder", type=Path, nargs="?", default=FOLDER, help="where levers.md goes")
    main(parser.parse_args().folder)
