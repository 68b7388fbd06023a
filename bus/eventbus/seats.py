"""How many connections there may be, in all and from each host: no single program can take them all."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from .problems import Unavailable

SHARE_OF_A_HOST = 0.1  # ten programs that are greedy and not ours would have to come together
AT_LEAST = 100
"""So many may a host have, however small its share is."""

SHARE_OF_SERVICES = 0.1
"""Kept for those who show at the handshake already that they are services."""


def share_of_a_host(total: int) -> int:
    """Tell how many of so many connections one host may have."""
    return max(AT_LEAST, int(total * SHARE_OF_A_HOST))


@dataclass(slots=True, eq=False)
class Seat:
    """One that is taken.

    Attributes:
        host: Who sits there.
        service: Is it known to be a service's? Then it counts no more for its host, nor among the strangers.
    """

    host: str
    service: bool


class Seats:
    """Where connections sit. Strangers, from however many hosts, cannot keep a service out that says what it is.

    Args:
        total: So many there are. Only services may exceed that, as long as strangers are there: they are trusted.
    """

    def __init__(self, total: int) -> None:
        self._total = total
        self._of_a_host = share_of_a_host(total)
        self._kept = int(total * SHARE_OF_SERVICES)
        self._services = 0
        self._strangers: Counter[str] = Counter()  # of each host

    def take(self, host: str, *, service: bool) -> Seat:
        """Take a seat; whoever does has to leave it, which may be long after the request.

        Raises:
            Unavailable: There is none.
        """
        others = self._services if service else self._strangers.total() + max(self._services, self._kept)
        if others >= self._total:
            raise Unavailable(f"all of {self._total} connections are taken or kept for services; connect again later")
        if self._strangers[host] >= self._of_a_host and not service:
            raise Unavailable(f"your host has {self._of_a_host} connections, as many as it may; close some")
        seat = Seat(host, service)
        self._count(seat, 1)
        return seat

    def leave(self, seat: Seat) -> None:
        """Give it back."""
        self._count(seat, -1)

    def give_to_service(self, seat: Seat) -> None:
        """Whoever sits there has shown that it is a service."""
        self._count(seat, -1)
        seat.service = True
        self._count(seat, 1)

    def _count(self, seat: Seat, change: int) -> None:
        if seat.service:
            self._services += change
            return
        self._strangers[seat.host] += change
        if not self._strangers[seat.host]:
            del self._strangers[seat.host]
