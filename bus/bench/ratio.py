"""For CI: does publishing still cost as little as it should, beside the yardstick in the same run?

A ratio of two CPU times, not a time: a slower machine or a busy one moves both. Run as `python -m bench.ratio`; the
exit status is 1 if the bus (in memory, 32 connections) needs more than LIMIT times naive's CPU time for an event.
"""

from __future__ import annotations

import sys
from dataclasses import replace

from .measures import SHORT, measures
from .rounds import Wrong, run_measure

LIMIT = 0.8
"""Medians on two cores, Python 3.11: 0.54 to 0.61 in ten quiet runs, 0.51 to 0.57 in ten beside a busy program; single
rounds 0.47 to 0.70. Without the short cut (EVENTBUS_FAST_PATH=off): 1.7 to 1.8. So noise would have to be five times
what was seen, and what makes an event cost half as much again is caught.
"""


def main() -> int:
    """Measure three rounds in turn, and compare the median with the limit."""
    measure = replace(measures(0, ())["publish-32"], servers=("memory", "naive"))
    try:
        found = run_measure(measure, SHORT).ratio("memory", "us_per_event")
    except Wrong as wrong:
        sys.stderr.write(f"WRONG: {wrong}\n")
        return 1
    if found is None:
        return 1
    spread = f"{found.middle:.2f} ({found.least:.2f}..{found.most:.2f})"
    sys.stdout.write(f"CPU an event published, bus / naive: {spread}, may be {LIMIT}\n")
    return int(found.middle > LIMIT)


if __name__ == "__main__":
    sys.exit(main())
