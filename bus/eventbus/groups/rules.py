"""A group: the instances of one service that share the work (a consumer group). Its rules, without sockets or log.

Every event goes to one member, which must ack it. One that is not acked in time, or whose member left, is due again.
What of that counts as an attempt at the event stands in `attempts`. Times are seconds on any clock that only goes
forward.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

from msgspec import UNSET

from .attempts import MemberState, Pending
from .choosing import choose
from .place import Place
from .waiting import Waiting

MAX_PENDING = 10_000
"""Events of a group that may be open at once: bounds its memory; until some are acked, no new ones are handed out."""


LOOKED_AT = 64
"""Events that are looked at, for one that some member can take, when the first is kept from all that are free."""


class GroupState:
    """Who holds what, what is due again, and how far the group has come.

    Args:
        place: Where it goes on; what was pending there is due at once.
        ack_wait: Seconds a member has to ack an event, or to say that it is working on it.

    Attributes:
        cursor: Everything up to this ``seq`` was handed out or passed over.
        members: Who takes part now.
    """

    def __init__(self, place: Place, *, ack_wait: float) -> None:
        self._ack_wait = ack_wait
        self.cursor = place.cursor
        self.members: dict[MemberState, None] = {}  # in the order they came
        self._pending: dict[int, Pending] = {}
        self._due = Waiting()  # what nobody holds
        self._suspects = Waiting()  # nor these
        for seq, deliveries in place.pending.items():
            self._pending[seq] = pending = Pending(deliveries)
            pending.attempts = (place.attempts or {}).get(seq, 0)
            pending.losses = (place.losses or {}).get(seq, 0)
            pending.put_back()
            self._return(seq, due=0.0)

    @property
    def place(self) -> Place:
        """What to keep, so that the group can go on after a restart."""
        items = self._pending.items()
        return Place(
            cursor=self.cursor,
            pending={seq: each.deliveries for seq, each in items},
            attempts={seq: each.attempts for seq, each in items if each.attempts} or UNSET,
            losses={seq: each.losses for seq, each in items if each.losses} or UNSET,
        )

    @property
    def room(self) -> int:
        """How many new events may be handed out; those that come again have their room already."""
        return max(0, MAX_PENDING - len(self._pending))

    def join(self, prefetch: int, *, working: Iterable[int] = (), now: float) -> MemberState:
        """Add a member; it may still be `working` on what it held on an earlier connection, and holds that again."""
        member = MemberState(prefetch)
        self.members[member] = None
        for seq in working:
            if seq in self._pending:
                self._find(seq, member, now=now)
        return member

    def leave(self, member: MemberState, *, now: float, lost: bool = True) -> None:
        """Remove a member; what it held is due at once.

        Args:
            member: Which one.
            now: The time.
            lost: Its connection was lost; else the bus ended it, or the member left on purpose.
        """
        del self.members[member]
        if lost:
            self._connection_lost(list(member.held), member, now=now)
        for seq in list(member.held):
            self._pending[seq].put_back()
            self._return(seq, due=now)

    def choose(self, ready: Iterable[MemberState], seq: int | None = None, *, now: float) -> MemberState | None:
        """Tell which of the members that are `ready` gets an event that comes again, or a new one if none is named."""
        event = None if seq is None else self._pending.get(seq)
        return choose(self.members, ready, event, suspect_waits=self._suspects.next_due(now=now) is not None)

    def deliver(self, seq: int, member: MemberState, *, now: float) -> int:
        """Hand an event to a member; return how often it was delivered by now."""
        self.cursor = max(self.cursor, seq)
        pending = self._pending.setdefault(seq, Pending())
        pending.deliver(member)
        member.apart = pending.is_suspect
        self._hold(seq, member, now=now)
        return pending.deliveries

    def pass_over(self, seq: int) -> None:
        """Go on after `seq`: nothing up to there is for this group."""
        self.cursor = max(self.cursor, seq)

    def lose(self, upto: int) -> bool:
        """Go on after `upto`, as everything up to there is gone; tell whether any of it was not done."""
        lost = [seq for seq in self._pending if seq <= upto]
        for seq in lost:
            self.drop(seq)
        is_new = self.cursor < upto
        self.pass_over(upto)
        return is_new or bool(lost)

    def deliveries(self, seq: int) -> int:
        """Tell how often an event was delivered; 0 for one that is done or not begun."""
        return self._pending[seq].deliveries if seq in self._pending else 0

    def attempts(self, seq: int) -> int:
        """Tell how often members failed at an event; 0 for one that is done or not begun."""
        return self._pending[seq].attempts if seq in self._pending else 0

    def waits(self, seq: int) -> bool:
        """Is this an event that is not done and that nobody holds?"""
        return seq in self._due or seq in self._suspects

    def ack(self, member: MemberState, seqs: Iterable[int]) -> None:
        """Count events as done, whoever holds them; those that are not pending are ignored."""
        member.late = False
        for seq in seqs:
            self.drop(seq)

    def nack(self, member: MemberState, seq: int, *, due: float) -> None:
        """Give an event back, to be delivered again from `due` on; ignored if the member does not hold it."""
        member.late = False
        if seq in member.held:
            self._pending[seq].fail()
            self._return(seq, due=due)

    def working(self, member: MemberState, seqs: Collection[int], *, now: float) -> None:
        """Let the ack wait begin anew for what the member has in hand; what it does not hold is ignored.

        Unless nobody has had it since it was lost, as with a member that was frozen: then the member holds it again.
        """
        member.late, member.spoke = False, now
        for seq in seqs:
            if seq in member.held:
                self._pending[seq].named = True
                self._hold(seq, member, now=now)
            elif seq in self._pending and self._pending[seq].can_be_found:
                self._find(seq, member, now=now)

    def drop(self, seq: int) -> None:
        """Have done with an event."""
        pending = self._pending.pop(seq, None)
        if pending is None:
            return
        self._due.remove(seq)
        self._suspects.remove(seq)
        if pending.holder:
            del pending.holder.held[seq]

    def take_back(self, *, now: float) -> None:
        """Make due whatever was held longer than the ack wait."""
        for member in self.members:
            overdue = list(_overdue(member, now))
            if not overdue:
                continue
            if member.spoke is None:
                member.late = True
                self._fail(overdue, now=now)
            elif member.spoke + self._ack_wait <= now:
                member.late = True  # and has said of nothing that it is working on it: no event is to blame
                self._connection_lost(list(member.held), member, now=now)
            else:
                self._take_back_what_was_left_out(overdue, member, now=now)

    def next_due(self, *, now: float) -> Iterator[int]:
        """Give the events to be delivered again now, those first that have been due longest: a suspect, and others.

        Whoever can take the first of these others need not look at the rest.
        """
        for waiting in (self._suspects, self._due):
            seq = waiting.next_due(now=now)
            if seq is not None:
                yield seq
        yield from self._due.due_after_first(now=now, most=LOOKED_AT)

    def next_time(self, *, now: float) -> float | None:
        """Tell when `take_back` or `next_due` will have more to do than now; None if never."""
        times = [next(iter(member.held.values())) for member in self.members if member.held]
        firsts = [waiting.first() for waiting in (self._due, self._suspects)]
        return min(times + [first[0] for first in firsts if first and first[0] > now], default=None)

    def delays(self, *, now: float) -> bool:
        """Was anything given back with a delay that is not over? A place does not tell."""
        return self._due.any_after(now) or self._suspects.any_after(now)

    def _take_back_what_was_left_out(self, overdue: Iterable[int], member: MemberState, *, now: float) -> None:
        """The member lives, and says `working` for others: it failed at these, unless they never reached it."""
        for seq in overdue:
            if self._pending[seq].named:
                self._fail([seq], now=now)
            else:
                self._connection_lost([seq], member, now=now)

    def _fail(self, seqs: Iterable[int], *, now: float) -> None:
        for seq in seqs:
            self._pending[seq].fail()
            self._return(seq, due=now)

    def _connection_lost(self, seqs: Iterable[int], member: MemberState, *, now: float) -> None:
        alone = len(member.held) == 1
        for seq in seqs:
            self._pending[seq].lose(alone=alone)
            self._return(seq, due=now)

    def _hold(self, seq: int, member: MemberState, *, now: float) -> None:
        self._due.remove(seq)
        self._suspects.remove(seq)
        member.held.pop(seq, None)  # its turn is by the time when its ack wait ends
        member.held[seq] = now + self._ack_wait

    def _find(self, seq: int, member: MemberState, *, now: float) -> None:
        pending = self._pending[seq]
        if pending.holder:
            del pending.holder.held[seq]
        pending.find(member)
        member.apart = member.apart or pending.is_suspect
        self._hold(seq, member, now=now)

    def _return(self, seq: int, *, due: float) -> None:
        pending = self._pending[seq]
        if pending.holder:
            del pending.holder.held[seq]
            pending.holder = None
        (self._suspects if pending.is_suspect else self._due).add(seq, due=due)


def _overdue(member: MemberState, now: float) -> Iterator[int]:
    for seq, until in member.held.items():
        if until > now:
            return
        yield seq
