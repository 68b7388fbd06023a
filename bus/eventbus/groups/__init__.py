"""Groups: the instances of a service share its events (a consumer group). What the edges need of them.

`LocalGroups` in `local` keeps them on this bus.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from contextlib import AbstractContextManager
from typing import Protocol

from ..log import GroupKey
from ..outlet import Outlet
from ..patterns import Patterns


class Member(Protocol):
    """One connection that takes part in a group, and what it may say."""

    def ack(self, seqs: Iterable[int]) -> None:
        """These are done."""

    def nack(self, seq: int, *, delay: float) -> None:
        """This could not be done; it is delivered again after `delay`, in seconds."""

    def working(self, seqs: Collection[int]) -> None:
        """These are still in hand, or in the member's queue."""


class Group(Protocol):
    """The instances of one service that share its events under one name."""

    @property
    def cursor(self) -> int:
        """Everything up to this ``seq`` was handed out or passed over."""

    def pass_over_what_is_gone(self) -> bool:
        """Go on after what was trimmed; tell whether any of it was still to be done."""

    def joined(
        self, outlet: Outlet, *, names: Patterns, prefetch: int, working: Iterable[int] = ()
    ) -> AbstractContextManager[Member]:
        """Deliver to one more member until the block is left; its `names` become the group's.

        Args:
            outlet: Where its events go.
            names: What it wants.
            prefetch: How many events it may hold unacked.
            working: What it still has in hand from an earlier connection.
        """


class Groups(Protocol):
    """All groups. One that was found or created is joined at once: after an `await` in between it may be forgotten."""

    async def find(self, key: GroupKey) -> Group | None:
        """Return a group that exists, once its place is durable.

        Raises:
            LogUnavailable: The log cannot be read or written.
        """

    async def create(self, key: GroupKey, *, after: int) -> Group:
        """Make a group that begins after a ``seq``, unless it exists by now; return once its place is durable.

        Raises:
            LogUnavailable: The log cannot be read or written.
        """
