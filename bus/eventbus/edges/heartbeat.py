"""Whether the other side of a connection still lives: decided at each beat, from what came and went since the last."""

from __future__ import annotations

MISSED_BEATS = 3
"""After so many beats without a sign of life, the other side counts as gone."""


class Pulse:
    """One connection's signs of life: what it sends, and what it takes of what waits for it."""

    __slots__ = ("_heard", "_sent", "_silent", "_stuck", "_waited")

    def __init__(self) -> None:
        self._heard = True
        self._silent = 0  # beats in a row
        self._stuck = 0
        self._sent = 0
        self._waited = False

    def hear(self) -> None:
        """Something came from the other side."""
        self._heard = True

    def beat(self, *, written: int, waiting: int) -> bool:
        """Does the other side still live? Who speaks but takes nothing of what waits does not: it cannot hear.

        Args:
            written: Bytes written to the connection since it was opened.
            waiting: How many of them have not left this program yet.
        """
        sent = written - waiting
        # If nothing was waiting this tells nothing: the system takes a little even for a peer that vanished.
        has_drained = self._waited and sent > self._sent
        self._silent = 0 if self._heard or has_drained else self._silent + 1
        self._stuck = self._stuck + 1 if self._waited and not has_drained else 0
        self._heard, self._sent, self._waited = False, sent, waiting > 0
        return max(self._silent, self._stuck) < MISSED_BEATS
