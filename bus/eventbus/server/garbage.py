"""When Python's collector looks for what connections leave behind: asyncio's and aiohttp's parts point at each other.

By itself it would look through all that lives whenever that has grown by a quarter. When thousands of clients come back
at once, a sixth of the time goes to that, and nothing is found.
"""

from __future__ import annotations

import gc

AT_LEAST = 250
"""Connections that end before it is worth a look: each leaves 2 KiB, and perhaps what it had begun to send."""


def look_rarely() -> None:
    """Leave what lives long to `Garbage`. What is young is still looked at now and then, and costs little."""
    gc.freeze()  # the program itself
    gc.set_threshold(10_000, 10, 1_000)


class Garbage:
    """Has everything looked through once a quarter as many connections have ended as there are."""

    def __init__(self) -> None:
        self._ended = 0

    def connection_ended(self, living: int) -> None:
        """Count one that has ended; so many are `living`."""
        self._ended += 1
        if self._ended >= max(AT_LEAST, living // 4):
            self._ended = 0
            gc.collect()
