"""An outlet: what delivery asks of a connection, and the pieces of events that go to it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from .event import Event


class Piece:
    """Events that are written in one go, to one outlet or to many.

    Args:
        events: One event or more, in the order of the log.

    Attributes:
        events: As above.
    """

    __slots__ = ("_encoded", "events")

    def __init__(self, events: Sequence[Event]) -> None:
        self.events = events
        self._encoded: bytes | None = None

    def encoded(self, encode: Callable[[Sequence[Event]], bytes]) -> bytes:
        """Return the events as they go over the wire: encoded at the first call, the same bytes for all outlets."""
        if self._encoded is None:
            self._encoded = encode(self.events)
        return self._encoded


class Outlet(Protocol):
    """Takes a subscriber's events.

    Attributes:
        excused: Its end tells nothing of what was delivered: it is the bus's doing, or the other side left on purpose.
    """

    excused: bool

    @property
    def full(self) -> bool:
        """Does so much wait to be sent that nothing more should be written?"""

    def write(self, piece: Piece) -> None:
        """Send events; never waits, and does nothing once the other side has gone."""

    async def drained(self) -> None:
        """Return once the outlet is no longer full. Raises ConnectionError when the other side has gone."""

    def overtaken(self) -> None:
        """Part from the other side: retention took what it had not got yet. When it comes back, it is told so."""

    def failed(self) -> None:
        """Part from the other side: a defect of the bus keeps its events from it. When it comes back, it resumes."""
