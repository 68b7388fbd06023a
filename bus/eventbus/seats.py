"""How many connections there may be, in all and from each host: no single program can take them all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from .problems import Unavailable

SHARE_OF_A_HOST = 0.1  # ten programs that are greedy and not ours would have to come together
AT_LEAST = 100
"""So many may a host have, however small its share is."""


SHARE_OF_SERVICES = 0.1
"""Kept for those who show at the handshake already that they are services."""


def share_of_a_host(total: int) -> int:
    """Tell how many of so many connections one host may have."""
    return max(AT_LEAST, int(total * SHARE_OF_A_HOST))


class Seats:
    """Where connections sit. Some are kept for services: strangers, from however many hosts, cannot keep one out.

    Args:
        total: So many there are.
    """

    def __init__(self, total: int) -> None:
        self._total = total
        self._of_a_host = share_of_a_host(total)
        self._of_strangers = total - int(total * SHARE_OF_SERVICES)
        self._services = 0
        self._strangers: Counter[str] = Counter()  # of each host

    @contextmanager
    def taken(self, host: str, *, service: bool) -> Iterator[Seat]:
        """Keep a seat until the block is left.

        Args:
            host: Who sits there.
            service: Is it known to be a service already?

        Raises:
            Unavailable: There is none.
        """
        strangers = self._strangers.total()
        if self._services + strangers >= self._total or (strangers >= self._of_strangers and not service):
            raise Unavailable(f"all of {self._total} connections are taken or kept for services; connect again later")
        if self._strangers[host] >= self._of_a_host and not service:
            raise Unavailable(f"your host has {self._of_a_host} connections, as many as it may; close some")
        self._strangers[host] += 1
        seat = Seat(self, host)
        if service:
            seat.be_a_service_s()
        try:
            yield seat
        finally:
            self._let_go(seat)

    def _let_go(self, seat: Seat) -> None:
        if seat.is_a_service_s:
            self._services -= 1
        else:
            self._stranger_left(seat.host)

    def _stranger_left(self, host: str) -> None:
        self._strangers[host] -= 1
        if not self._strangers[host]:
            del self._strangers[host]

    def give_to_service(self, seat: Seat) -> None:
        """Count a stranger's seat as a service's; see `Seat`."""
        self._stranger_left(seat.host)
        self._services += 1


class Seat:
    """One that is taken.

    Args:
        seats: Where it is.
        host: Who sits there.

    Attributes:
        is_a_service_s: It counts no more for its host, and leaves its place among the strangers to another.
    """

    def __init__(self, seats: Seats, host: str) -> None:
        self._seats = seats
        self.host = host
        self.is_a_service_s = False

    def be_a_service_s(self) -> None:
        """Whoever sits here has shown that it is a service."""
        if not self.is_a_service_s:
            self._seats.give_to_service(self)
            self.is_a_service_s = True
