"""How much of what comes in may be held at a time, so that requests cannot fill the memory."""

from __future__ import annotations

from contextlib import AbstractContextManager

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
        self._held = 0
        self._held_for: dict[str, int] = {}  # each host

    def hold(self, size: int, *, host: str) -> AbstractContextManager[None]:
        """Count so many bytes until the block is left. What is larger than the limit passes alone.

        Raises:
            Unavailable: They are too many beside those that are held already, in all or for this host.
        """
        return _Hold(self, size, host)

    def take(self, size: int, host: str) -> None:
        """Count bytes; see `hold`."""
        held, of_the_host = self._held, self._held_for.get(host, 0)
        if (held and held + size > self._limit) or (of_the_host and of_the_host + size > self._limit_of_a_host):
            raise Unavailable("more is being published than the bus can hold; send it again later, with the same id")
        self._held += size
        self._held_for[host] = of_the_host + size

    def give_back(self, size: int, host: str) -> None:
        """Count them no more."""
        self._held -= size
        self._held_for[host] -= size
        if not self._held_for[host]:
            del self._held_for[host]


class _Hold(AbstractContextManager[None]):
    """By hand, as every request makes one: a generator takes three times as long."""

    __slots__ = ("_budget", "_host", "_size")

    def __init__(self, budget: Budget, size: int, host: str) -> None:
        self._budget = budget
        self._size = size
        self._host = host

    def __enter__(self) -> None:
        self._budget.take(self._size, self._host)

    def __exit__(self, *_: object) -> None:
        self._budget.give_back(self._size, self._host)
