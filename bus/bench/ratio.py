"""For CI: does an event still cost as little as it should, beside the yardstick in the same run?

A ratio of two CPU times, not a time: a slower machine or a busy one moves both. Run as `python -m bench.ratio`; the
exit status is 1 if the bus (in memory) needs more than a limit times naive's CPU time, twice in a row.
`python -m bench.ratio LEVER` shows what happens without a lever; `without` has their names.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace

from .measures import SHORT, measures
from .rounds import Wrong, run_measure
from .without import LEVERS

LIMITS = {"publish-32": 0.7, "deliver-100": 0.2}
"""By the measure. Medians on two cores, Python 3.11: 0.47 to 0.49 and 0.10 to 0.11, single rounds up to 0.62 and 0.12.
Without the short cut 1.64 and 0.19, without one write a socket 0.57 and 0.89, with an encoding for each 0.52 and 0.27.
"""

TRIES = 2
"""A ratio above its limit is measured again: something else may have run on the machine."""


def main(arguments: Sequence[str]) -> int:
    """Measure three rounds of each in turn, and compare the medians with the limits."""
    parser = argparse.ArgumentParser(prog="python -m bench.ratio", description="Does an event cost what it should?")
    parser.add_argument("without", metavar="LEVER", nargs="?", choices=LEVERS, help="one to take out")
    without = parser.parse_args(arguments).without
    try:
        return max([all(is_above(name, limit, without) for _ in range(TRIES)) for name, limit in LIMITS.items()])
    except Wrong as wrong:
        sys.stderr.write(f"WRONG: {wrong}\n")
        return 1


def is_above(name: str, limit: float, without: str | None) -> bool:
    """Measure a ratio; true if it is above its limit, or is not known."""
    measure = replace(measures(0, ())[name], servers=("memory", "naive"))
    found = run_measure(measure, SHORT, without=without).ratio("memory", measure.cost)
    if found is None:
        return True
    spread = f"{found.middle:.2f} ({found.least:.2f}..{found.most:.2f})"
    sys.stdout.write(f"{measure.title}: CPU of the bus / naive {spread}, may be {limit}\n")
    return found.middle > limit


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
