"""The outlets of a group's members: which of them can be written to now."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import suppress

from ..outlet import Outlet
from .attempts import MemberState

LOOK_AGAIN = 1.0
"""Seconds until an outlet that drained and is full all the same is looked at again."""


class MemberOutlets:
    """Where the events of each member go.

    Args:
        wake: Called when an outlet has drained.
    """

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._outlets: dict[MemberState, Outlet] = {}
        self._draining: dict[
            MemberState, asyncio.Task[None]
        ] = {}  # whose outlet was full: gets nothing until it drained

    def __bool__(self) -> bool:
        return bool(self._outlets)

    def __getitem__(self, member: MemberState) -> Outlet:
        return self._outlets[member]

    def __iter__(self) -> Iterator[Outlet]:
        return iter(self._outlets.values())

    def add(self, member: MemberState, outlet: Outlet) -> None:
        """Let a member be written to."""
        self._outlets[member] = outlet

    def remove(self, member: MemberState) -> None:
        """Write no more to a member, and wait for its outlet no longer."""
        del self._outlets[member]
        if draining := self._draining.pop(member, None):
            draining.cancel()

    def ready(self) -> list[MemberState]:
        """Tell whose outlet can take something."""
        outlets = self._outlets.items()
        return [member for member, outlet in outlets if member not in self._draining and not outlet.full]

    def wait_for_full_ones(self) -> None:
        """See to it that `wake` is called when an outlet drains that is full, and whose member has room."""
        for member, outlet in self._outlets.items():
            # The task stays until it is done: a wait that is cancelled may spoil later ones for the same socket.
            if member.room > 0 and outlet.full and member not in self._draining:
                self._draining[member] = asyncio.create_task(self._wake_when_drained(member, outlet))

    async def _wake_when_drained(self, member: MemberState, outlet: Outlet) -> None:
        try:
            with suppress(ConnectionError):
                await outlet.drained()
            if outlet.full:  # for ever, say, as it is saying goodbye
                await asyncio.sleep(LOOK_AGAIN)
            self._wake()
        finally:
            self._draining.pop(member, None)
