"""Rates: the generic cell rate algorithm (ITU-T I.371), for any number of keys.

Of each key only one time is kept: when what came so far would have come if it had kept to the rate. It may be ahead of
the clock by the burst, and no further.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from ..problems import TooFast

BURST = 4.0
"""Seconds of its rate that a publisher may be ahead of the clock."""

ROUNDING = 1e-6
"""Seconds: sums of fractions are not exact."""

REMEMBERED = 10_000
"""Keys that may be kept before those that are not ahead of the clock are forgotten: it makes no difference to them."""


class Arrivals:
    """Of each key the time, in seconds, at which what it has published would have come if it had kept to its rate.

    Args:
        rate: What may come in a second; 0 for no limit.
        burst: What may come at once after a pause.
        what: What is counted, for messages.
    """

    def __init__(self, rate: float, burst: float, what: str) -> None:
        self._second = 1 / rate if rate else 0.0
        self._burst = burst * self._second
        self.limit = f"{rate:.3g} {what}" if rate < 1000 else f"{rate:.0f} {what}"
        self._times: dict[str, float] = {}
        self._sweep_at = REMEMBERED

    def wait(self, key: str, amount: float, now: float) -> float:
        """Tell how long an amount must wait; 0 or less if not at all."""
        ahead = max(self._times.get(key, now) - now, 0.0)
        return ahead + min(amount * self._second, self._burst) - self._burst

    def add(self, key: str, amount: float, now: float) -> None:
        """Count an amount."""
        if len(self._times) >= self._sweep_at:
            self._times = {each: time for each, time in self._times.items() if time > now}
            self._sweep_at = max(REMEMBERED, 2 * len(self._times))
        self._times[key] = max(self._times.get(key, now), now) + amount * self._second

    def take_away(self, key: str, amount: float) -> None:
        """Count so much less; a time that is past means the same, however long."""
        if key in self._times:
            self._times[key] -= amount * self._second


Wanted = tuple[Arrivals, str, float]
"""What is to be counted: where, of whom, and how much."""


def take(wanted: Sequence[Wanted], *, now: float, advice: str) -> None:
    """Count amounts, all or none.

    Args:
        wanted: The amounts.
        now: The time on the clock of all of them, in seconds.
        advice: What to do, where one comes too fast; ``{}`` stands for seconds.

    Raises:
        TooFast: At least one comes too fast; then nothing is counted.
    """
    waits = [(arrivals.wait(key, amount, now), arrivals.limit) for arrivals, key, amount in wanted]
    wait, limit = max(waits, default=(0.0, ""))
    if wait > ROUNDING:
        seconds = math.ceil(wait)
        raise TooFast(f"more than {limit}; {advice.format(seconds)}", retry_after=seconds)
    for arrivals, key, amount in wanted:
        arrivals.add(key, amount, now)
