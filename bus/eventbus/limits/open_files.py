"""How many connections may be open in all: fewer than the system's files, and some of them are kept for services."""

from __future__ import annotations

from itertools import islice
from typing import Protocol

from ..problems import Overloaded

SHARE_OF_SERVICES = 0.1
"""Kept for connections whose first request has a service's token."""

OTHER_FILES = 128
"""Files that the log needs, and connections that are being accepted or refused: three times 32 may be on their way."""


LOOKED_AT = 32
"""Connections that are asked whether they are idle when a new one comes and all places are taken."""


def capacity_of(files: int) -> int:
    """Tell how many connections there may be in a process that may have so many files open."""
    return max(files - OTHER_FILES, files // 2)


class Refusable(Protocol):
    """A connection, which may have to go."""

    def refuse(self, problem: Overloaded) -> None:
        """Say why, and hang up."""

    @property
    def is_idle(self) -> bool:
        """Has all been answered that it asked for?"""

    def part(self) -> None:
        """Hang up."""


class Capacity:
    """Counts connections; those that have not asked for anything yet go first, the oldest before the others.

    Then those go that have all their answers: whoever has is told nothing new by keeping a connection open.

    Args:
        total: Connections that there may be.
    """

    def __init__(self, total: int) -> None:
        self._total = total
        self._kept = max(1, int(total * SHARE_OF_SERVICES))
        self._heard: dict[Refusable, None] = {}  # those that have asked for something lately come last
        self._unheard: dict[Refusable, None] = {}  # in the order they came
        self._asked: dict[Refusable, None] = {}  # who they are; in the part that is kept, like services
        self._services: set[Refusable] = set()

    def enter(self, connection: Refusable) -> bool:
        """Count a connection, perhaps in another one's stead. If this returns False, it may stay only as a service.

        Raises:
            Overloaded: There are services in all the places that are kept for them.
        """
        if len(self._heard) + len(self._unheard) >= self._total - self._kept and self._unheard:
            self._refuse_oldest(self._unheard)
        if len(self._heard) + len(self._unheard) >= self._total - self._kept:
            self._part_from_idle()
        if len(self._heard) + len(self._unheard) < self._total - self._kept:
            self._unheard[connection] = None
            return True
        if len(self._services) + len(self._asked) >= self._kept:
            if not self._asked:
                raise self.problem()
            self._refuse_oldest(self._asked)
        self._asked[connection] = None
        return False

    def problem(self) -> Overloaded:
        """Make the refusal."""
        return Overloaded(f"all of {self._total} connections are taken or kept for services; connect again later")

    def heard(self, connection: Refusable) -> None:
        """Count a connection that has asked for something as one that stays, longer than those that ask no more."""
        if connection in self._unheard:
            del self._unheard[connection]
            self._heard[connection] = None
        elif connection in self._heard:
            del self._heard[connection]
            self._heard[connection] = None

    def is_a_service_s(self, connection: Refusable) -> None:
        """Let a connection stay in the part that is kept for services."""
        del self._asked[connection]
        self._services.add(connection)

    def leave(self, connection: Refusable) -> None:
        """Count a connection no more; it may have been refused already."""
        self._heard.pop(connection, None)
        self._services.discard(connection)
        self._unheard.pop(connection, None)
        self._asked.pop(connection, None)

    def _part_from_idle(self) -> None:
        """Part from one that has all its answers; of those that have not, a few are asked again later."""
        for connection in list(islice(self._heard, LOOKED_AT)):
            del self._heard[connection]
            if connection.is_idle:
                connection.part()
                return
            self._heard[connection] = None

    def _refuse_oldest(self, connections: dict[Refusable, None]) -> None:
        oldest = next(iter(connections))
        del connections[oldest]
        oldest.refuse(self.problem())
