"""The rules of groups: the real ones against a model that only keeps lists, through whatever may happen to members."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import msgspec
import pytest
from eventbus.groups import MAX_PENDING, Group, Member, Place
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

ACK_WAIT = 30.0
VOID = 1


@pytest.fixture(autouse=True, scope="module")
def the_queue_is_made_anew_often() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("eventbus.groups.MAX_VOID", VOID)
        yield


@dataclass
class Pending:
    """What the model knows of an event that was handed out and is not done."""

    deliveries: int
    holder: Member | None
    until: float  # when the ack wait ends; without a holder, when it is due


@dataclass
class ModelMember:
    prefetch: int
    late: bool = False


class GroupAgainstModel(RuleBasedStateMachine):
    """Publishes, hands out, acks, nacks, waits, kills members, restarts; both must always say the same."""

    @initialize(
        after=st.integers(0, 3), published=st.integers(0, 9), prefetches=st.lists(st.integers(1, 3), max_size=3)
    )
    def begin(self, after: int, published: int, prefetches: list[int]) -> None:
        self.now = 0.0
        self.head = after + published
        self.first = after + 1
        self.group = Group(Place(cursor=after), ack_wait=ACK_WAIT)
        self.cursor = after
        self.pending: dict[int, Pending] = {}
        self.members: dict[Member, ModelMember] = {}
        self.done: set[int] = set()
        self.gone = after
        self.keep()
        for prefetch in prefetches:
            self.join(prefetch)
        self.hand_out(0)

    # What happens.

    @rule(count=st.integers(1, 4))
    def publish(self, count: int) -> None:
        self.head += count

    @rule(prefetch=st.integers(1, 3))
    def join(self, prefetch: int) -> None:
        self.members[self.group.join(prefetch)] = ModelMember(prefetch)

    @precondition(lambda self: self.members)
    @rule(which=st.integers(0))
    def leave(self, which: int) -> None:
        member = self.pick(which)
        self.group.leave(member, now=self.now)
        del self.members[member]
        for pending in self.pending.values():
            if pending.holder is member:
                pending.holder, pending.until = None, self.now

    @precondition(lambda self: self.members)
    @rule(which=st.integers(0), seqs=st.lists(st.integers(-1, 30), max_size=4))
    def ack(self, which: int, seqs: list[int]) -> None:
        member = self.pick(which)
        self.group.ack(member, seqs)
        self.members[member].late = False
        for seq in seqs:
            if self.pending.pop(seq, None):
                self.done.add(seq)

    @precondition(lambda self: any(pending.holder for pending in self.pending.values()))
    @rule(which=st.integers(0))
    def ack_one_that_is_held(self, which: int) -> None:
        held = [(seq, pending.holder) for seq, pending in sorted(self.pending.items()) if pending.holder]
        seq, holder = held[which % len(held)]
        self.group.ack(holder, [seq])
        self.members[holder].late = False
        del self.pending[seq]
        self.done.add(seq)

    @precondition(lambda self: self.members)
    @rule(which=st.integers(0), seq=st.integers(0, 30), delay=st.floats(0, 2 * ACK_WAIT))
    def nack(self, which: int, seq: int, delay: float) -> None:
        member = self.pick(which)
        self.group.nack(member, seq, due=self.now + delay)
        self.members[member].late = False
        pending = self.pending.get(seq)
        if pending and pending.holder is member:
            pending.holder, pending.until = None, self.now + delay

    @rule(seconds=st.floats(0, 2 * ACK_WAIT))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.group.take_back(now=self.now)
        for pending in self.pending.values():
            if pending.holder and pending.until <= self.now:
                self.members[pending.holder].late = True
                pending.holder, pending.until = None, self.now

    @rule(absent=st.integers(0, 2))
    def hand_out(self, absent: int) -> None:
        """Whatever can be handed out now is, as delivery does it; the sockets of some members may be full."""
        ready = list(self.members)[absent:]
        while (seq := self.what_is_next()) is not None:
            member = self.group.choose(ready)
            self.check_choice(member, ready)
            if member is None:
                return
            deliveries = self.group.deliver(seq, member, now=self.now)
            before = self.pending.get(seq)
            self.pending[seq] = Pending((before.deliveries if before else 0) + 1, member, self.now + ACK_WAIT)
            self.cursor = max(self.cursor, seq)
            assert deliveries == self.pending[seq].deliveries

    @precondition(lambda self: self.cursor < self.head)
    @rule()
    def pass_over(self) -> None:
        """The next event has a name that the group does not want."""
        self.cursor += 1
        self.done.add(self.cursor)
        self.group.pass_over(self.cursor)

    @rule(count=st.integers(0, 3))
    def trim(self, count: int) -> None:
        """Retention takes the oldest events of the log, done or not."""
        self.gone = min(self.gone + count, self.head)
        lost = [seq for seq in self.pending if seq <= self.gone]
        for seq in lost:
            del self.pending[seq]
        assert self.group.lose(self.gone) == (self.cursor < self.gone or bool(lost))
        self.cursor = max(self.cursor, self.gone)

    @rule()
    def keep(self) -> None:
        """The place is written to the disk."""
        self.kept = msgspec.json.encode(self.group.place)
        self.kept_model = (self.cursor, {seq: replace(pending) for seq, pending in self.pending.items()})

    @rule()
    def restart(self) -> None:
        """`kill -9`: all members are gone, and so is what happened since the place was kept last."""
        self.group = Group(msgspec.json.decode(self.kept, type=Place), ack_wait=ACK_WAIT)
        self.members.clear()
        self.cursor, pending = self.kept_model
        self.pending = {seq: Pending(each.deliveries, None, 0.0) for seq, each in pending.items()}

    # What must hold.

    @invariant()
    def the_place_is_the_same(self) -> None:
        pending = {seq: each.deliveries for seq, each in self.pending.items()}
        assert self.group.place == Place(cursor=self.cursor, pending=pending)
        assert self.group.room == max(0, MAX_PENDING - len(self.pending))

    @invariant()
    def each_event_has_one_holder_at_most(self) -> None:
        for member, model in self.members.items():
            held = {seq: each.until for seq, each in self.pending.items() if each.holder is member}
            assert member.held == held
            assert member.room == model.prefetch - len(held) >= 0
            assert member.late == model.late

    @invariant()
    def no_event_is_forgotten(self) -> None:
        handed_out = set(range(self.first, self.cursor + 1))
        assert handed_out <= self.done | self.pending.keys() | set(range(self.gone + 1))

    @invariant()
    def it_knows_when_something_is_to_do(self) -> None:
        held = [each.until for each in self.pending.values() if each.holder]
        free = min((each.until for each in self.pending.values() if not each.holder), default=self.now)
        later = [free] if free > self.now else []  # what is due already waits for a member, not for a time
        assert self.group.next_time(now=self.now) == min(held + later, default=None)
        due = [seq for seq, each in self.pending.items() if not each.holder]
        assert len(self.group._queue) <= 2 * len(due) + VOID

    def teardown(self) -> None:
        """Whatever happened, one member that does its work gets everything done."""
        if not hasattr(self, "group"):
            return
        for _ in list(self.members):
            self.leave(0)
        self.wait(2 * ACK_WAIT)
        self.join(1)
        while self.what_is_next() is not None:
            self.hand_out(0)
            self.ack_one_that_is_held(0)
        assert self.group.place == Place(cursor=self.head)

    # Helpers.

    def pick(self, which: int) -> Member:
        return list(self.members)[which % len(self.members)]

    def what_is_next(self) -> int | None:
        due = [(each.until, seq) for seq, each in self.pending.items() if not each.holder and each.until <= self.now]
        seq = min(due)[1] if due else None
        assert self.group.next_due(now=self.now) == seq
        if seq is None and self.cursor < self.head:
            return self.cursor + 1
        return seq

    def check_choice(self, member: Member | None, ready: list[Member]) -> None:
        """One with room that keeps its word, the least busy; one that was late only if all were."""
        all_late = all(model.late for model in self.members.values())
        able = [each for each in ready if each.room and (all_late or not self.members[each].late)]
        assert (member in able) if able else member is None
        if member:
            assert member.room == max(each.room for each in able)


GroupAgainstModel.TestCase.settings = settings(max_examples=1_000, stateful_step_count=40, deadline=None)
TestGroups: Any = GroupAgainstModel.TestCase


def test_a_group_with_too_much_open_takes_nothing_new_until_some_is_done() -> None:
    group = Group(Place(cursor=MAX_PENDING, pending=dict.fromkeys(range(1, MAX_PENDING + 1), 1)), ack_wait=ACK_WAIT)
    member = group.join(1)
    assert group.room == 0

    group.ack(member, [7])

    assert group.room > 0


def test_what_was_given_back_for_long_and_is_done_all_the_same_takes_no_memory() -> None:
    group = Group(Place(cursor=0), ack_wait=ACK_WAIT)
    member = group.join(100)
    for seq in range(1, 101):
        group.deliver(seq, member, now=0.0)
        group.nack(member, seq, due=86400.0 + seq)
    group.ack(member, range(2, 101))

    assert group.next_time(now=0.0) == 86401.0
    assert len(group._queue) == 1
