"""How fast clients may publish, so that no program fills the log, nor turns it over.

What is retained is bounded, so whoever publishes pushes out what others have published. For a while a host may be fast;
in the long run it has a share of the log, in events and in bytes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ..config import Settings
from ..log import Log
from .arrivals import BURST, Arrivals, Wanted, take
from .hosts import places_of

CLIENTS_OF_A_HOST = 10
"""All clients of one host together may be as fast as so many: a program can identify itself as often as it likes."""

EVENT_SIZE = 1024
"""Bytes of an event, on average: a client may publish one that is as large as events may be, but not all."""

TURNOVER = 5 * 60 * 60.0
"""Seconds that a host needs at least, in the long run, to publish as much as the log keeps."""

HOSTS_OF_A_SITE = 2
"""All hosts of a network together have as many hosts' share of the log: with more, hours would be minutes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """What the log keeps at most; 0 for no limit.

    Attributes:
        events: Events.
        size: Bytes of them.
    """

    events: int = 1_000_000
    size: int = 1024 * 1024 * 1024

    @classmethod
    def of(cls, settings: Settings, log: Log) -> Kept:
        """Take the smaller of what retention leaves and of what the log itself can keep."""
        bounds = [size for size in (settings.retention_bytes, log.most_bytes) if size]
        return cls(events=settings.retention_events, size=min(bounds, default=0))


class PublishRate:
    """Counts what clients publish.

    Args:
        rate: Events that a client may publish in a second; 0 for no limit.
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
        self._clients = Arrivals(rate, BURST * rate, "events a second")
        self._hosts = Arrivals(of_host, BURST * of_host, "events a second from all clients of your host")
        self._client_bytes = Arrivals(bytes_a_second, 4 * most_at_once, "bytes a second")
        self._shares = _share(kept.events, rate, BURST * of_host, "events a second from your host in the long run")
        self._byte_shares = _share(kept.size, bytes_a_second, most_at_once, "bytes a second from your host")

    def take(self, events: Mapping[str, int], *, host: str, size: int = 0) -> None:
        """Count events: of each client so many, all from one host, and so many bytes in all.

        A batch that is larger than a burst passes once all of the burst is there, and is waited off after that.

        Raises:
            TooFast: At least one of these is too fast; then nothing is counted.
        """
        take(self._wanted(events, host, size), now=self._clock(), advice="send it again in {} s, with the same id")

    def give_back(self, events: Mapping[str, int], *, host: str, size: int = 0) -> None:
        """Count no more what was taken but could not be stored."""
        for arrivals, key, amount in self._wanted(events, host, size):
            arrivals.take_away(key, amount)

    def _wanted(self, events: Mapping[str, int], host: str, size: int) -> list[Wanted]:
        """Tell what to count, of whom, and how much of it."""
        if not self._rate or not events:
            return []
        count = sum(events.values())
        wanted: list[Wanted] = []
        for client, of_client in events.items():
            wanted += (self._clients, client, of_client), (self._client_bytes, client, size * of_client / count)
        for place, hosts in places_of(host):
            wanted.append((self._hosts, place, count / hosts))
            in_the_long_run = min(hosts, HOSTS_OF_A_SITE)
            wanted.append((self._shares, place, count / in_the_long_run))
            wanted.append((self._byte_shares, place, size / in_the_long_run))
        return wanted


def _share(kept: int, rate: float, least_burst: float, what: str) -> Arrivals:
    """Make what bounds a host in the long run.

    Where little is kept, hosts have more than their share: a room behind one address is honest, and publishes as well.
    """
    if not kept:
        return Arrivals(0, 0, what)
    return Arrivals(min(rate, max(kept / TURNOVER, rate / 4)), max(kept / 16, least_burst), what)
