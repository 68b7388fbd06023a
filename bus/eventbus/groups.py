"""A group: the instances of one service that share the work (a consumer group). Its rules, without sockets or log.

Every event goes to one member, which must ack it. One that is not acked in time, or whose member left, is due again.
Times are seconds on any clock that only goes forward.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator

import msgspec

MAX_PENDING = 10_000
"""Events of a group that may be open at once: bounds its memory; until some are acked, no new ones are handed out."""

MAX_VOID = 64
"""Entries of a group's queue that may be void beyond as many as are not: void ones may lie there for long."""


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """What of a group survives a restart.

    Attributes:
        cursor: Everything up to this ``seq`` was handed out or passed over.
        pending: Of that, what is not done: its ``seq``, and how often it was delivered.
    """

    cursor: int
    pending: dict[int, int] = msgspec.field(default_factory=dict)


class Member:
    """One connection that takes part.

    Args:
        prefetch: How many events it may hold unacked.
    """

    def __init__(self, prefetch: int) -> None:
        self._prefetch = prefetch
        self.held: dict[int, float] = {}  # seq: when its ack wait ends; that is the order they were delivered in
        self.late = False  # let an ack wait pass, and has done nothing since

    @property
    def room(self) -> int:
        """How many more events it may hold."""
        return self._prefetch - len(self.held)


class Group:
    """Who holds what, what is due again, and how far the group has come.

    Args:
        place: Where it goes on; what was pending there is due at once.
        ack_wait: Seconds a member has to ack an event.

    Attributes:
        cursor: Everything up to this ``seq`` was handed out or passed over.
        members: Who takes part now.
    """

    def __init__(self, place: Place, *, ack_wait: float) -> None:
        self._ack_wait = ack_wait
        self.cursor = place.cursor
        self.members: set[Member] = set()
        self._deliveries = dict(place.pending)  # of what is not done
        self._holders: dict[int, Member] = {}
        self._due: dict[int, float] = {}  # of what nobody holds
        self._queue: list[tuple[float, int]] = []  # the same as a heap; entries that `_due` contradicts are void
        for seq in place.pending:
            self._return(seq, due=0.0)

    @property
    def place(self) -> Place:
        """What to keep, so that the group can go on after a restart."""
        return Place(cursor=self.cursor, pending=dict(self._deliveries))

    @property
    def room(self) -> int:
        """How many new events may be handed out; those that come again have their room already."""
        return max(0, MAX_PENDING - len(self._deliveries))

    def join(self, prefetch: int) -> Member:
        """Add a member."""
        member = Member(prefetch)
        self.members.add(member)
        return member

    def leave(self, member: Member, *, now: float) -> None:
        """Remove a member; what it held is due at once."""
        self.members.discard(member)
        for seq in list(member.held):
            self._return(seq, due=now)

    def choose(self, ready: Iterable[Member]) -> Member | None:
        """Tell which of the members that are `ready` gets the next event: the one with most room, if any has.

        One that was late gets something only while all members were: it may be frozen.
        """
        prompt = [member for member in self.members if not member.late]
        able = [member for member in ready if member.room > 0 and (not prompt or not member.late)]
        return max(able, key=lambda member: member.room, default=None)

    def deliver(self, seq: int, member: Member, *, now: float) -> int:
        """Hand an event to a member; return how often it was delivered by now."""
        self.cursor = max(self.cursor, seq)
        self._due.pop(seq, None)
        self._deliveries[seq] = self._deliveries.get(seq, 0) + 1
        self._holders[seq] = member
        member.held[seq] = now + self._ack_wait
        return self._deliveries[seq]

    def pass_over(self, seq: int) -> None:
        """Go on after `seq`: nothing up to there is for this group."""
        self.cursor = max(self.cursor, seq)

    def lose(self, upto: int) -> bool:
        """Go on after `upto`, as everything up to there is gone; tell whether any of it was not done."""
        lost = [seq for seq in self._deliveries if seq <= upto]
        for seq in lost:
            self.drop(seq)
        is_new = self.cursor < upto
        self.pass_over(upto)
        return is_new or bool(lost)

    def deliveries(self, seq: int) -> int:
        """Tell how often an event was delivered; 0 for one that is done or not begun."""
        return self._deliveries.get(seq, 0)

    def ack(self, member: Member, seqs: Iterable[int]) -> None:
        """Count events as done, whoever holds them; those that are not pending are ignored."""
        member.late = False
        for seq in seqs:
            self.drop(seq)

    def nack(self, member: Member, seq: int, *, due: float) -> None:
        """Give an event back, to be delivered again from `due` on; ignored if the member does not hold it."""
        member.late = False
        if seq in member.held:
            self._return(seq, due=due)

    def drop(self, seq: int) -> None:
        """Have done with an event."""
        if self._deliveries.pop(seq, None) is None:
            return
        self._due.pop(seq, None)
        if seq in self._holders:
            del self._holders.pop(seq).held[seq]

    def take_back(self, *, now: float) -> None:
        """Make due whatever was held longer than the ack wait."""
        for member in self.members:
            for seq in list(_overdue(member, now)):
                member.late = True
                self._return(seq, due=now)

    def next_due(self, *, now: float) -> int | None:
        """Tell which event is to be delivered again now, the one that has been due longest; None if none is."""
        self._forget_void()
        return self._queue[0][1] if self._queue and self._queue[0][0] <= now else None

    def next_time(self, *, now: float) -> float | None:
        """Tell when `take_back` or `next_due` will have more to do than now; None if never."""
        self._forget_void()
        times = [next(iter(member.held.values())) for member in self.members if member.held]
        return min(times + [due for due, _ in self._queue[:1] if due > now], default=None)

    def delays(self, *, now: float) -> bool:
        """Was anything given back with a delay that is not over? A place does not tell."""
        return any(due > now for due in self._due.values())

    def _return(self, seq: int, *, due: float) -> None:
        if seq in self._holders:
            del self._holders.pop(seq).held[seq]
        self._due[seq] = due
        heapq.heappush(self._queue, (due, seq))

    def _forget_void(self) -> None:
        if len(self._queue) > 2 * len(self._due) + MAX_VOID:
            self._queue = [(due, seq) for seq, due in self._due.items()]
            heapq.heapify(self._queue)
        while self._queue and self._due.get(self._queue[0][1]) != self._queue[0][0]:
            heapq.heappop(self._queue)


def _overdue(member: Member, now: float) -> Iterator[int]:
    for seq, until in member.held.items():
        if until > now:
            return
        yield seq
