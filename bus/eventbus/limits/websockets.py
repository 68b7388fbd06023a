"""How many connections there may be, in all and from each host: no single program can take them all."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from ..problems import Overloaded
from .hosts import places_of

SHARE_OF_A_HOST = 0.1  # ten programs that are greedy and not ours would have to come together
AT_LEAST = 100
"""So many may a host have, however small its share is."""

SHARE_OF_A_SITE = 0.5
"""More may all hosts of a site not have, however many they are."""

SHARE_OF_SERVICES = 0.1
"""Kept for those who show at the handshake already that they are services."""


def share_of_a_host(total: int) -> int:
    """Tell how many of so many connections one host may have."""
    return max(AT_LEAST, int(total * SHARE_OF_A_HOST))


def share_of_a_place(of_a_host: int, hosts: int, total: int) -> int:
    """Tell how many of so many connections a host may have, or a site with the share of some hosts."""
    return of_a_host if hosts == 1 else max(of_a_host, min(hosts * of_a_host, int(total * SHARE_OF_A_SITE)))


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
        total: All seats. Services may exceed it while strangers hold seats: services are trusted.
    """

    def __init__(self, total: int) -> None:
        self._total = total
        self._of_a_host = share_of_a_host(total)
        self._kept = int(total * SHARE_OF_SERVICES)
        self._services = 0
        self._strangers = 0
        self._of_places: Counter[str] = Counter()  # strangers, of each host and each site

    def take(self, host: str, *, service: bool) -> Seat:
        """Take a seat; whoever does has to leave it, which may be long after the request.

        Raises:
            Overloaded: There is none.
        """
        others = self._services if service else self._strangers + max(self._services, self._kept)
        if others >= self._total:
            raise Overloaded(f"all of {self._total} connections are taken or kept for services; connect again later")
        if not service:
            self._check_places(host)
        seat = Seat(host, service)
        self._count(seat, 1)
        return seat

    def _check_places(self, host: str) -> None:
        for place, hosts in places_of(host):
            most = share_of_a_place(self._of_a_host, hosts, self._total)
            if self._of_places[place] >= most:
                whose = "your host has" if hosts == 1 else f"the hosts of {place} have"
                raise Overloaded(f"{whose} {most} connections, as many as it may; close some")

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
        self._strangers += change
        for place, _ in places_of(seat.host):
            self._of_places[place] += change
            if not self._of_places[place]:
                del self._of_places[place]
