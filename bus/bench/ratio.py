"""For CI: does an event still cost as little as it should, beside the yardstick in the same run?

A ratio of two CPU times, not a time: a slower machine or a busy one moves both. Run as `python -m bench.ratio`; the
exit status is 1 if the bus (in memory) needs more than a limit times naive's CPU time. `python -m bench.ratio LEVER`
shows what happens without a lever; `without` has their names.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace

from .measures import SHORT, measures
from .rounds import Wrong, run_measure

LIMITS = {"publish-32": 0.7, "deliver-100": 0.2}
"""By the measure. Medians on two cores, Python 3.11: 0.47 to 0.49 and 0.10 to 0.11, single rounds up to 0.62 and 0.12.
Without the short cut 1.64 and 0.19, without one write a socket 0.57 and 0.89, with an encoding for each 0.52 and 0.27.
"""


def main(arguments: Sequence[str]) -> int:
    """Measure three rounds of each in turn, and compare the medians with the limits."""
    without = arguments[0] if arguments else None
    return max([above(name, limit, without) for name, limit in LIMITS.items()])


def above(name: str, limit: float, without: str | None) -> int:
    """Tell whether a ratio is above its limit."""
    measure = replace(measures(0, ())[name], servers=("memory", "naive"))
    try:
        found = run_measure(measure, SHORT, without=without).ratio("memory", measure.cost)
    except Wrong as wrong:
        sys.stderr.write(f"WRONG: {wrong}\n")
        return 1
    if found is None:
        return 1
    spread = f"{found.middle:.2f} ({found.least:.2f}..{found.most:.2f})"
    sys.stdout.write(f"{measure.title}: CPU of the bus / naive {spread}, may be {limit}\n")
    return int(found.middle > limit)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
