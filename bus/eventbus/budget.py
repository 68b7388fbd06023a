"""How much of what comes in may be held at a time, so that requests cannot fill the memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from .problems import Unavailable

MAX_HELD = 64 * 1024 * 1024
"""Bytes of requests that services may have under way together, and as many that all others may."""


class Budget:
    """Counts the bytes of requests from their heads on, until they are answered.

    Args:
        limit: Bytes that may be held at a time.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._held = 0

    @contextmanager
    def hold(self, size: int) -> Iterator[None]:
        """Count so many bytes until the block is left. What is larger than the limit passes alone.

        Raises:
            Unavailable: They are too many beside those that are held already.
        """
        if self._held and self._held + size > self._limit:
            raise Unavailable("more is being published than the bus can hold; send it again later, with the same id")
        self._held += size
        try:
            yield
        finally:
            self._held -= size
