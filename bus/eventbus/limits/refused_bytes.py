"""How much a host may send that is refused: to read it costs as much as what is stored, and no other rate counts it."""

from __future__ import annotations

import time
from collections.abc import Callable

from ..log import Appended
from ..problems import Problem, Unavailable
from ..publishing import Publishing, Receipts
from ..routing import Service
from .arrivals import Arrivals, Wanted, take
from .hosts import places_of

REFUSED_BYTES = 1024 * 1024
"""Bytes of refused requests in a second, from all clients of a host."""

REFUSED_AT_ONCE = 16 * 1024 * 1024
"""Bytes of refused requests that a host may send at once, after a pause."""


class RefusedBytes:
    """Publishes, and counts the bytes of what clients send in vain: wraps `Publishing`.

    Args:
        publishing: Decodes, authorizes, appends.
        clock: Seconds; only goes forward.
    """

    def __init__(self, publishing: Publishing, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._publishing = publishing
        self._clock = clock
        self._hosts = Arrivals(REFUSED_BYTES, REFUSED_AT_ONCE, "bytes a second of refused requests from your host")

    async def publish(self, body: bytes, service: Service | None, *, host: str) -> Appended | Receipts:
        """See `Publishing.publish`.

        Raises:
            TooFast: Too much of what came from this host was refused; this body is not even read.
        """
        if service:
            return await self._publishing.publish(body, service, host=host)
        take(self._wanted(host, 1), now=self._clock(), advice="send what is right, {} s from now")
        try:
            return await self._publishing.publish(body, None, host=host)
        except Unavailable:
            raise  # the bus's doing, and worth another try
        except Problem:
            now = self._clock()
            for arrivals, place, size in self._wanted(host, len(body)):
                arrivals.add(place, size, now)
            raise

    def _wanted(self, host: str, size: int) -> list[Wanted]:
        return [(self._hosts, place, size / hosts) for place, hosts in places_of(host)]
