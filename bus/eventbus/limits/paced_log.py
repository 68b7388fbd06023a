"""The way into the log, no faster than clients may publish: wraps `Log.append`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from ..authorization import CLIENT
from ..log import Appended, Entry, Log
from ..problems import LogUnavailable
from .publish_rate import PublishRate


class PacedLog:
    """Appends what clients publish only as fast as they may; services have no rate.

    Args:
        log: Where events go.
        rate: How fast clients may publish.
    """

    def __init__(self, log: Log, rate: PublishRate) -> None:
        self._log = log
        self._rate = rate

    async def append(self, entries: Sequence[Entry], *, host: str, size: int) -> list[Appended]:
        """Append, unless clients are too fast; see `eventbus.publishing.Append`.

        Raises:
            TooFast: A client, or all of a host.
            LogUnavailable: The log cannot take it now; then it does not count.
        """
        counted = _clients_of(entries)
        if counted:
            self._rate.take(counted, host=host, size=size)
        try:
            return await self._log.append(entries)
        except LogUnavailable:
            self._rate.give_back(counted, host=host, size=size)
            raise


def _clients_of(entries: Sequence[Entry]) -> Mapping[str, int]:
    """Count the events of each client; most requests are of services, and a `Counter` takes as long as all the rest."""
    scopes = [publisher.scope for _, publisher in entries if publisher.source == CLIENT]
    return Counter(scopes) if scopes else {}
