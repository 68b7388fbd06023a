"""How fast the programs of a host may get new identities: each identity is kept for a day."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable

from .arrivals import BURST, Arrivals, Wanted, take
from .hosts import places_of
from .publish_rate import CLIENTS_OF_A_HOST, HOSTS_OF_A_SITE

SECONDS_AT_ONCE = 200
"""Seconds of the full rate whose identities pass before the long run counts: a room behind one address is honest."""


class IdentityRate:
    """Counts the identities that are new.

    Args:
        rate: Identities that a host may get in a second; 0 for no limit.
        clock: Seconds; only goes forward.
    """

    def __init__(self, rate: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = rate
        self._clock = clock
        self._hosts = Arrivals(rate, BURST * rate, "new identities a second from your host")
        in_the_long_run = "new identities a second from your host in the long run"
        self._shares = Arrivals(rate / CLIENTS_OF_A_HOST, SECONDS_AT_ONCE * rate, in_the_long_run)

    def take(self, *, host: str) -> None:
        """Count one more, for a host.

        Raises:
            TooFast: The host gets them too fast; then this one is not counted.
        """
        if self._rate:
            wanted: list[Wanted] = []
            for place, hosts in places_of(host):
                wanted.append((self._hosts, place, 1 / hosts))
                wanted.append((self._shares, place, 1 / min(hosts, HOSTS_OF_A_SITE)))
            take(wanted, now=self._clock(), advice="identify again in {} s, or with the token that you have")


class PacedIssue:
    """Issues identities, no faster than a host may get them: wraps `Identities.issue`.

    Args:
        issue: Makes an identity, and returns its token.
        rate: How fast.
    """

    def __init__(self, issue: Callable[[], Awaitable[str]], rate: IdentityRate) -> None:
        self._issue = issue
        self._rate = rate

    async def __call__(self, host: str) -> str:
        """Issue an identity to a client at this host.

        Raises:
            TooFast: The host gets them too fast.
            LogUnavailable: It cannot be stored now.
        """
        self._rate.take(host=host)
        return await self._issue()
