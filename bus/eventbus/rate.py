"""How fast clients may publish and hosts may get identities, so that one program cannot fill the log.

The generic cell rate algorithm (ITU-T I.371): of each publisher only one time is kept, the one at which what it has
published so far would have come if it had kept to the rate. It may be that far ahead of its time, and no further.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping

from .problems import TooFast

BURST = 4.0
"""Seconds of its rate that a publisher may be ahead of its time."""

CLIENTS_OF_A_HOST = 10
"""All clients of one host together may be as fast as so many: a program can identify itself as often as it likes."""

_ROUNDING = 1e-6  # seconds: sums of fractions are not exact
_REMEMBERED = 10_000
"""So many may be kept before those that are not ahead of their time are forgotten: it makes no difference to them."""


class ClientRate:
    """Counts what clients publish, and the identities that are new.

    Args:
        rate: Events that a client may publish in a second, and identities that a host may get; 0 for no limit.
        clock: Seconds; only goes forward.
    """

    def __init__(self, rate: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = rate
        self._clock = clock
        self._clients = _Arrivals()
        self._hosts = _Arrivals()
        self._identities = _Arrivals()  # of each host

    def take(self, events: Mapping[str, int], *, host: str) -> None:
        """Count events: of each client so many, all from one host.

        A batch that is larger than a burst passes once all of the burst is there, and is waited off after that.

        Raises:
            TooFast: At least one of these is too fast; then nothing is counted.
        """
        now, wanted = self._clock(), self._wanted(events, host)
        wait = max((arrivals.wait(key, seconds, now) for arrivals, key, seconds in wanted), default=0.0)
        if wait > _ROUNDING:
            raise TooFast(
                f"more than {self._rate} events a second, or {self._rate * CLIENTS_OF_A_HOST} from all clients of your "
                f"host; send it again in {math.ceil(wait)} s, with the same id",
                retry_after=math.ceil(wait),
            )
        for arrivals, key, seconds in wanted:
            arrivals.add(key, seconds, now)

    def take_identity(self, *, host: str) -> None:
        """Count an identity that is new, for a host.

        Raises:
            TooFast: The host gets them too fast; then this one is not counted.
        """
        if not self._rate:
            return
        now, seconds = self._clock(), 1 / self._rate
        wait = self._identities.wait(host, seconds, now)
        if wait > _ROUNDING:
            raise TooFast(
                f"more than {self._rate} new identities a second from your host; "
                f"identify again in {math.ceil(wait)} s, or with the token that you have",
                retry_after=math.ceil(wait),
            )
        self._identities.add(host, seconds, now)

    def give_back(self, events: Mapping[str, int], *, host: str) -> None:
        """Count no more what was taken but could not be stored."""
        for arrivals, key, seconds in self._wanted(events, host):
            arrivals.take_away(key, seconds)

    def _wanted(self, events: Mapping[str, int], host: str) -> list[tuple[_Arrivals, str, float]]:
        """Tell what to count, of whom, and for how many seconds at its rate."""
        if not self._rate or not events:
            return []
        each = 1 / self._rate
        wanted = [(self._clients, client, count * each) for client, count in events.items()]
        return [*wanted, (self._hosts, host, sum(events.values()) * each / CLIENTS_OF_A_HOST)]


class _Arrivals:
    """Of each key the time, in seconds, at which what it has published would have come if it had kept to its rate."""

    def __init__(self) -> None:
        self._times: dict[str, float] = {}
        self._sweep_at = _REMEMBERED

    def wait(self, key: str, seconds: float, now: float) -> float:
        """Tell how long what takes so many seconds at the key's rate must wait; 0 or less if not at all."""
        ahead = max(self._times.get(key, now) - now, 0.0)
        return ahead + min(seconds, BURST) - BURST

    def add(self, key: str, seconds: float, now: float) -> None:
        """Count what takes so many seconds at the key's rate."""
        if len(self._times) >= self._sweep_at:
            self._times = {each: time for each, time in self._times.items() if time > now}
            self._sweep_at = max(_REMEMBERED, 2 * len(self._times))
        self._times[key] = max(self._times.get(key, now), now) + seconds

    def take_away(self, key: str, seconds: float) -> None:
        """Count so many seconds less; a time that is past means the same, however long."""
        if key in self._times:
            self._times[key] -= seconds
