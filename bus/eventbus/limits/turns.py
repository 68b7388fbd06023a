"""Work that is done by turns: each host has its turn, however much others bring."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict, deque
from collections.abc import Callable

AT_ONCE = 0.002
"""Seconds of such work, after which everything else in the loop has its turn."""


class Turns:
    """Does pieces of work, one of each host after the other."""

    def __init__(self) -> None:
        self._waiting: OrderedDict[str, deque[Callable[[], None]]] = OrderedDict()
        self._is_planned = False

    def wait(self, host: str, piece: Callable[[], None]) -> None:
        """Have a piece of a host's work done soon, after those of this host that wait already."""
        self._waiting.setdefault(host, deque()).append(piece)
        self._plan()

    def _plan(self) -> None:
        if not self._is_planned:
            self._is_planned = True
            asyncio.get_running_loop().call_soon(self._work)

    def _work(self) -> None:
        end = time.perf_counter() + AT_ONCE
        try:
            self._next()()
            while self._waiting and time.perf_counter() < end:
                self._next()()
        finally:  # a defect in one piece holds up no other
            self._is_planned = False
            if self._waiting:
                self._plan()

    def _next(self) -> Callable[[], None]:
        """Take the first piece of the host whose turn it is; the host goes to the end."""
        host, pieces = self._waiting.popitem(last=False)
        piece = pieces.popleft()
        if pieces:
            self._waiting[host] = pieces
        return piece
