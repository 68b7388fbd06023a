"""How many connections may be open in all: fewer than the system's files, and some of them are kept for services."""

from __future__ import annotations

from typing import Protocol

from ..problems import Overloaded

SHARE_OF_SERVICES = 0.1
"""Kept for connections whose first request has a service's token."""

OTHER_FILES = 128
"""Files that the log needs, and connections that are being accepted or refused: three times 32 may be on their way."""


def capacity_of(files: int) -> int:
    """Tell how many connections there may be in a process that may have so many files open."""
    return max(files - OTHER_FILES, files // 2)


class Refusable(Protocol):
    """A connection, which may have to go."""

    def refuse(self, problem: Overloaded) -> None:
        """Say why, and hang up."""


class Capacity:
    """Counts connections; those that have not asked for anything yet go first, the oldest before the others.

    Args:
        total: Connections that there may be.
    """

    def __init__(self, total: int) -> None:
        self._total = total
        self._kept = max(1, int(total * SHARE_OF_SERVICES))
        self._heard: set[Refusable] = set()
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
        """Count a connection that has asked for something as one that stays."""
        if connection in self._unheard:
            del self._unheard[connection]
            self._heard.add(connection)

    def is_a_service_s(self, connection: Refusable) -> None:
        """Let a connection stay in the part that is kept for services."""
        del self._asked[connection]
        self._services.add(connection)

    def leave(self, connection: Refusable) -> None:
        """Count a connection no more; it may have been refused already."""
        self._heard.discard(connection)
        self._services.discard(connection)
        self._unheard.pop(connection, None)
        self._asked.pop(connection, None)

    def _refuse_oldest(self, connections: dict[Refusable, None]) -> None:
        oldest = next(iter(connections))
        del connections[oldest]
        oldest.refuse(self.problem())
