"""How fast clients may publish and hosts may get identities, so that no program fills the log, nor turns it over.

The generic cell rate algorithm (ITU-T I.371): of each publisher only one time is kept, the one at which what it has
published so far would have come if it had kept to the rate. It may be that far ahead of its time, and no further.

What is retained is bounded, so whoever publishes pushes out what others have published. For a while a host may be fast;
in the long run it has a share of the log, in events and in bytes.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ..config import Settings
from ..problems import TooFast
from .hosts import places_of

BURST = 4.0
"""Seconds of its rate that a publisher may be ahead of its time."""

CLIENTS_OF_A_HOST = 10
"""All clients of one host together may be as fast as so many: a program can identify itself as often as it likes."""

EVENT_SIZE = 1024
"""Bytes of an event, on average: a client may publish one that is as large as events may be, but not all."""

TURNOVER = 5 * 60 * 60.0
"""Seconds that a host needs at least, in the long run, to publish as much as the log keeps."""

HOSTS_OF_A_SITE = 2
"""All hosts of a network together have as many hosts' share of the log: with more, hours would be minutes."""

_ROUNDING = 1e-6  # seconds: sums of fractions are not exact
_REMEMBERED = 10_000
"""So many may be kept before those that are not ahead of their time are forgotten: it makes no difference to them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """What the log keeps at most; 0 for no limit.

    Attributes:
        events: Events.
        size: Bytes of them.
    """

    events: int = 1_000_000
    size: int = 1024 * 1024 * 1024


class ClientRate:
    """Counts what clients publish, and the identities that are new.

    Args:
        rate: Events that a client may publish in a second, and identities that a host may get; 0 for no limit.
        kept: What can be pushed out.
        most_at_once: Bytes that always pass after a pause.
        clock: Seconds; only goes forward.
    """

    def __init__(
        self,
        rate: int,
        *,
        kept: Kept = Kept(),
        most_at_once: int = 1024 * 1024,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._rate = rate
        self._clock = clock
        of_host, bytes_a_second = rate * CLIENTS_OF_A_HOST, rate * EVENT_SIZE
        self._clients = _Arrivals(rate, BURST * rate, "events a second")
        self._hosts = _Arrivals(of_host, BURST * of_host, "events a second from all clients of your host")
        self._client_bytes = _Arrivals(bytes_a_second, 4 * most_at_once, "bytes a second")
        self._shares = _share(kept.events, rate, BURST * of_host, "events a second from your host in the long run")
        self._byte_shares = _share(kept.size, bytes_a_second, most_at_once, "bytes a second from your host")
        self._identities = _Arrivals(rate, BURST * rate, "new identities a second from your host")
        self._identity_shares = _Arrivals(
            rate / CLIENTS_OF_A_HOST, 200 * rate, "new identities a second from your host in the long run"
        )

    @classmethod
    def by(cls, settings: Settings) -> ClientRate:
        """Make what the settings say."""
        kept = Kept(events=settings.retention_events, size=settings.retention_bytes)
        return cls(settings.client_rate, kept=kept, most_at_once=settings.max_body)

    def take(self, events: Mapping[str, int], *, host: str, size: int = 0) -> None:
        """Count events: of each client so many, all from one host, and so many bytes in all.

        A batch that is larger than a burst passes once all of the burst is there, and is waited off after that.

        Raises:
            TooFast: At least one of these is too fast; then nothing is counted.
        """
        self._take(self._wanted(events, host, size), "send it again in {} s, with the same id")

    def take_identity(self, *, host: str) -> None:
        """Count an identity that is new, for a host.

        Raises:
            TooFast: The host gets them too fast; then this one is not counted.
        """
        if self._rate:
            wanted: list[_Wanted] = []
            for place, hosts in places_of(host):
                wanted.append((self._identities, place, 1 / hosts))
                wanted.append((self._identity_shares, place, 1 / min(hosts, HOSTS_OF_A_SITE)))
            self._take(wanted, "identify again in {} s, or with the token that you have")

    def give_back(self, events: Mapping[str, int], *, host: str, size: int = 0) -> None:
        """Count no more what was taken but could not be stored."""
        for arrivals, key, amount in self._wanted(events, host, size):
            arrivals.take_away(key, amount)

    def _take(self, wanted: list[_Wanted], advice: str) -> None:
        now = self._clock()
        waits = [(arrivals.wait(key, amount, now), arrivals.limit) for arrivals, key, amount in wanted]
        wait, limit = max(waits, default=(0.0, ""))
        if wait > _ROUNDING:
            seconds = math.ceil(wait)
            raise TooFast(f"more than {limit}; {advice.format(seconds)}", retry_after=seconds)
        for arrivals, key, amount in wanted:
            arrivals.add(key, amount, now)

    def _wanted(self, events: Mapping[str, int], host: str, size: int) -> list[_Wanted]:
        """Tell what to count, of whom, and how much of it."""
        if not self._rate or not events:
            return []
        count = sum(events.values())
        wanted: list[_Wanted] = []
        for client, of_client in events.items():
            wanted += (self._clients, client, of_client), (self._client_bytes, client, size * of_client / count)
        for place, hosts in places_of(host):
            wanted.append((self._hosts, place, count / hosts))
            in_the_long_run = min(hosts, HOSTS_OF_A_SITE)
            wanted.append((self._shares, place, count / in_the_long_run))
            wanted.append((self._byte_shares, place, size / in_the_long_run))
        return wanted


class _Arrivals:
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
        self._sweep_at = _REMEMBERED

    def wait(self, key: str, amount: float, now: float) -> float:
        """Tell how long an amount must wait; 0 or less if not at all."""
        ahead = max(self._times.get(key, now) - now, 0.0)
        return ahead + min(amount * self._second, self._burst) - self._burst

    def add(self, key: str, amount: float, now: float) -> None:
        """Count an amount."""
        if len(self._times) >= self._sweep_at:
            self._times = {each: time for each, time in self._times.items() if time > now}
            self._sweep_at = max(_REMEMBERED, 2 * len(self._times))
        self._times[key] = max(self._times.get(key, now), now) + amount * self._second

    def take_away(self, key: str, amount: float) -> None:
        """Count so much less; a time that is past means the same, however long."""
        if key in self._times:
            self._times[key] -= amount * self._second


_Wanted = tuple[_Arrivals, str, float]


def _share(kept: int, rate: float, least_burst: float, what: str) -> _Arrivals:
    """Make what bounds a host in the long run.

    Where little is kept, hosts have more than their share: a room behind one address is honest, and publishes as well.
    """
    if not kept:
        return _Arrivals(0, 0, what)
    return _Arrivals(min(rate, max(kept / TURNOVER, rate / 4)), max(kept / 16, least_burst), what)
