"""The log: keeps events in the order they were accepted. Everything that is delivered is read from it.

`Log` says what every implementation offers; `follow` reads on for ever. `by_url` makes the one that a setting names.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from itertools import islice
from typing import Protocol

import msgspec

from ..event import Draft, Event
from ..patterns import Patterns

READ_LIMIT = 256
"""Events that one step of following or catching up reads at most."""

READ_BYTES = 256 * 1024
"""Bytes of events after which a read ends: bounds what a reader holds in memory."""

TRIM_STEP = 500
"""Events that go in one step of trimming."""

TRIM_BYTES = 4 * 1024 * 1024
"""Bytes of events after which such a step ends."""


MOST_IDENTITIES = 1_000_000
"""Identities that are known at once: above that, those that expire first go."""


class Publisher(msgspec.Struct, frozen=True, kw_only=True):
    """Who an event is from.

    Attributes:
        source: As the event says it: ``"client"``, or the service's name.
        scope: Where its ids are unique: one client's address, or one service.
    """

    source: str
    scope: str


class Appended(msgspec.Struct, frozen=True, kw_only=True, gc=False, omit_defaults=True):
    """Where a draft stands in the log; also the receipt that its publisher gets.

    Attributes:
        id: The event's id.
        seq: Its position.
        duplicate: True if the publisher had used this id before; then nothing was added.
    """

    id: str
    seq: int
    duplicate: bool = False


Entry = tuple[Draft, Publisher]
"""What is appended: an event, and who it is from. The events of one batch may be from different clients."""


GroupKey = tuple[str, str]
"""A service's name, and what it calls the group."""


class Log(Protocol):
    """Keeps events in the order they were accepted; ``seq`` is an event's place, a positive integer.

    Every asynchronous method but `wait_beyond` raises `eventbus.problems.LogUnavailable` when the log cannot serve.
    """

    @property
    def epoch(self) -> str:
        """A random name of this log since its creation: tells a wiped log from one that went on."""

    @property
    def head(self) -> int:
        """The newest durable event's ``seq``; 0 for a new log."""

    @property
    def trimmed(self) -> int:
        """The newest ``seq`` that retention took, and with it all older ones; 0 if none. It may be about to go."""

    most_bytes: int
    """Bytes of events that it keeps at most, whatever retention says; 0 if there is no such bound."""

    async def append(self, entries: Sequence[Entry]) -> list[Appended]:
        """Store all or none; return once they are durable.

        An id that its publisher has used for an event that is still kept is a duplicate and no error, unless
        `forget_ids` let it go.
        """

    async def read(
        self, *, after: int, limit: int, names: Patterns | None = None, address: str | None = None
    ) -> list[Event]:
        """Return the first events with ``seq`` above `after`, with `names` or `address` those for a service or client.

        At most `limit`, fewer after `READ_BYTES`, and none beyond the `head` as it is now: what lies between
        the two is told to nobody, so whoever begins at the head misses nothing.
        """

    async def wait_beyond(self, seq: int) -> None:
        """Return once `head` is above `seq`."""

    async def has_lost(self, *, after: int, address: str | None = None) -> bool:
        """May events above `after` have been trimmed, with `address` some for that client?"""

    def forget_ids(self, *, upto: int) -> None:
        """From now on, ids of the events up to a position may be used again: the de-duplication window has passed."""

    async def trim(self, *, upto: int = 0, keep: int | None = None, keep_bytes: int | None = None) -> bool:
        """Let a few of the oldest events go, at most `TRIM_STEP`, fewer after `TRIM_BYTES`: commits wait meanwhile.

        Args:
            upto: A position; it and what is older goes.
            keep: How many of the newest may stay; None if all.
            keep_bytes: How many bytes of the newest may stay; None if all.

        Returns:
            Whether there may be more to let go.
        """

    async def group_place(self, group: GroupKey) -> bytes | None:
        """Return what was kept for a group; None for one that is not known."""

    async def keep_group_places(self, places: Mapping[GroupKey, bytes]) -> None:
        """Keep each group's place in the log until it is kept anew."""

    async def identity_expiry(self, address: str) -> float:
        """Return the time at which an address expires; 0 for one that is not known."""

    async def keep_identities(self, expiries: Mapping[str, float], *, now: float) -> bool:
        """Keep each address until its expiry; forget a few of those that expired before `now`.

        At most `TRIM_STEP`, as any commit that waits meanwhile waits for that. Where there are more than
        `MOST_IDENTITIES`, those go that expire first: they were not used for longest.

        Returns:
            Whether there may be more to forget.
        """

    async def check(self) -> None:
        """Write, and change nothing: returns if an append would succeed."""

    async def close(self) -> None:
        """Finish what is under way, then let go of the files."""


def wanted(events: Iterable[Event], names: Patterns | None, address: str | None = None) -> Iterable[Event]:
    """Give those of the events that have one of these names, and are for this client."""
    if names is not None:
        events = (event for event in events if event.name in names)
    if address is not None:
        events = (event for event in events if event.identifier == address)
    return events


def take(events: Iterable[Event], limit: int) -> list[Event]:
    """Take events until there are `limit`, or `READ_BYTES`."""
    taken: list[Event] = []
    size = 0
    for event in islice(events, limit):
        taken.append(event)
        size += len(event.json)
        if size >= READ_BYTES:
            break
    return taken


def oldest(sizes: Iterable[tuple[int, int]], *, upto: int, surplus: int) -> tuple[int, int]:
    """Choose the events that go in one step of trimming.

    Args:
        sizes: Position and bytes of the oldest events, in their order.
        upto: These go.
        surplus: And these bytes at least.

    Returns:
        The newest position that goes, 0 if none, and how many bytes go.
    """
    last = going = 0
    for seq, size in sizes:
        if (seq > upto and going >= surplus) or going >= TRIM_BYTES:
            break
        last, going = seq, going + size
    return last, going


async def follow(log: Log, *, after: int) -> AsyncIterator[list[Event]]:
    """Read on from a position: first what the log holds, then each event as it comes, without gap or repeat.

    Nothing is read, an empty list, where all that there was has been trimmed.
    """
    while True:
        head = log.head
        events = await log.read(after=after, limit=READ_LIMIT)
        if events or after < log.trimmed:
            yield events
        if events:
            after = events[-1].seq
        else:
            after = max(after, head)  # positions can be empty: numbers may be skipped
            await log.wait_beyond(after)
