"""How many connections there may be, in all and from each host: no single program can take them all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from .problems import Unavailable

SHARE_OF_A_HOST = 0.1
AT_LEAST = 100
"""So many may a host have, however small its share is."""


def share_of_a_host(total: int) -> int:
    """Tell how many of so many connections one host may have."""
    return max(AT_LEAST, int(total * SHARE_OF_A_HOST))


class Seats:
    """Where connections sit.

    Args:
        total: So many there are.
    """

    def __init__(self, total: int) -> None:
        self._total = total
        self._of_a_host = share_of_a_host(total)
        self._taken: Counter[str] = Counter()

    @contextmanager
    def taken(self, host: str) -> Iterator[None]:
        """Keep a seat until the block is left.

        Raises:
            Unavailable: There is none.
        """
        if self._taken.total() >= self._total:
            raise Unavailable(f"all of {self._total} connections are taken; connect again later")
        if self._taken[host] >= self._of_a_host:
            raise Unavailable(f"your host has {self._of_a_host} connections, as many as it may; close some")
        self._taken[host] += 1
        try:
            yield
        finally:
            self._taken[host] -= 1
            if not self._taken[host]:
                del self._taken[host]
