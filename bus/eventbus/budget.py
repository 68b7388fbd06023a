"""How much of what comes in may be held at a time, so that requests cannot fill the memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from .problems import Unavailable

MAX_HELD = 64 * 1024 * 1024
"""Bytes of requests that services may have under way together, and as many that all others may."""


class Budget:
    """Counts the bytes of requests from their heads on, until they are answered.

    Args:
        limit: Bytes that may be held at a time.
        share: The part of them that one host may have.
    """

    def __init__(self, limit: int, *, share: float = 1.0) -> None:
        self._limit = limit
        self._limit_of_a_host = limit * share
        self._held: Counter[str] = Counter()

    @contextmanager
    def hold(self, size: int, *, host: str) -> Iterator[None]:
        """Count so many bytes until the block is left. What is larger than the limit passes alone.

        Raises:
            Unavailable: They are too many beside those that are held already, in all or for this host.
        """
        held, of_the_host = self._held.total(), self._held[host]
        if (held and held + size > self._limit) or (of_the_host and of_the_host + size > self._limit_of_a_host):
            raise Unavailable("more is being published than the bus can hold; send it again later, with the same id")
        self._held[host] += size
        try:
            yield
        finally:
            self._held[host] -= size
            if not self._held[host]:
                del self._held[host]
