"""Numbers of runs, and of rounds: percentiles, medians, spreads and ratios."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from math import ceil
from statistics import median

PERCENTILES = {"p50_ms": 0.5, "p99_ms": 0.99, "p999_ms": 0.999}


def percentile(ordered: Sequence[float], share: float) -> float:
    """Return the smallest value that at least this share of them do not exceed."""
    return ordered[max(0, ceil(len(ordered) * share) - 1)]


def latencies(nanoseconds: Collection[int]) -> dict[str, float]:
    """Return the percentiles in milliseconds; nothing if there were none."""
    ordered = sorted(nanoseconds)
    return {name: percentile(ordered, share) / 1e6 for name, share in PERCENTILES.items()} if ordered else {}


@dataclass(frozen=True, slots=True)
class Spread:
    """What several rounds say about one figure."""

    middle: float
    least: float
    most: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Take the median and both ends."""
        return cls(median(values), min(values), max(values))


def ratios(ours: Sequence[float | None], theirs: Sequence[float | None]) -> Spread | None:
    """Divide round by round; None if there is nothing to divide."""
    pairs = [(one, other) for one, other in zip(ours, theirs, strict=False) if one is not None and other]
    return Spread.of([one / other for one, other in pairs if other]) if pairs else None
