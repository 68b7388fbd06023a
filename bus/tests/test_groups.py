"""The rules of groups: the real ones against a model that only keeps lists, through whatever may happen to members."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import msgspec
import pytest
from eventbus.groups.attempts import SUSPECT_AFTER, MemberState
from eventbus.groups.place import Place
from eventbus.groups.rules import MAX_PENDING, GroupState
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

ACK_WAIT = 30.0
VOID = 1


@pytest.fixture(autouse=True, scope="module")
def the_queue_is_made_anew_often() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("eventbus.groups.waiting.MAX_VOID", VOID)
        yield


@dataclass
class Pending:
    """What the model knows of an event that was handed out and is not done."""

    deliveries: int
    holder: MemberState | None
    until: float  # when the ack wait ends; without a holder, when it is due
    attempts: int = 0
    losses: int = 0
    named: bool = False
    failed_by: MemberState | None = None
    turn: int = 0  # when it was held last, as many may be at one time
    before_loss: tuple[int, int] | None = None  # attempts and losses, while nobody has had it since

    @property
    def is_suspect(self) -> bool:
        return self.losses >= SUSPECT_AFTER

    def wait(self, until: float) -> None:
        self.holder, self.until = None, until

    def fail(self, until: float) -> None:
        self.attempts, self.losses, self.failed_by = self.attempts + 1, 0, self.holder
        self.wait(until)

    def lose(self, until: float, *, alone: bool) -> None:
        self.before_loss = (self.attempts, self.losses)
        self.attempts, self.losses, self.failed_by = self.attempts + alone, self.losses + 1, None
        self.wait(until)


@dataclass
class ModelMember:
    prefetch: int
    late: bool = False
    spoke: float | None = None
    apart: bool = False


class GroupAgainstModel(RuleBasedStateMachine):
    """Publishes, hands out, acks, nacks, waits, kills members, restarts; both must always say the same."""

    @initialize(
        after=st.integers(0, 3), published=st.integers(0, 9), prefetches=st.lists(st.integers(1, 3), max_size=3)
    )
    def begin(self, after: int, published: int, prefetches: list[int]) -> None:
        self.now, self.turns = 0.0, itertools.count()
        self.head = after + published
        self.first = after + 1
        self.group = GroupState(Place(cursor=after), ack_wait=ACK_WAIT)
        self.cursor = after
        self.pending: dict[int, Pending] = {}
        self.members: dict[MemberState, ModelMember] = {}
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

    @rule(prefetch=st.integers(1, 3), working=st.lists(st.integers(-1, 30), max_size=2))
    def join(self, prefetch: int, working: list[int] = []) -> None:  # noqa: B006 - not changed
        """It may have events in hand from another connection, whoever has them now."""
        member = self.group.join(prefetch, working=working, now=self.now)
        self.members[member] = ModelMember(prefetch)
        for seq in working:
            self.find(seq, member)

    @precondition(lambda self: self.members)
    @rule(which=st.integers(0), lost=st.booleans())
    def leave(self, which: int, lost: bool = True) -> None:
        member = self.pick(which)
        self.group.leave(member, now=self.now, lost=lost)
        del self.members[member]
        held = self.held_by(member)
        for pending in held:
            if lost:
                pending.lose(self.now, alone=len(held) == 1)
            else:
                pending.before_loss = (pending.attempts, pending.losses)
                pending.wait(self.now)

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
            pending.fail(self.now + delay)

    @precondition(lambda self: self.members)
    @rule(which=st.integers(0), seqs=st.lists(st.integers(-1, 30), max_size=4))
    def working(self, which: int, seqs: list[int]) -> None:
        self.say_working(self.pick(which), seqs)

    @precondition(lambda self: self.members)
    @rule(which=st.integers(0), left_out=st.integers(0, 2))
    def working_on_what_it_holds(self, which: int, left_out: int) -> None:
        member = self.pick(which)
        self.say_working(member, list(member.held)[left_out:])

    def say_working(self, member: MemberState, seqs: list[int]) -> None:
        self.group.working(member, seqs, now=self.now)
        self.members[member].late, self.members[member].spoke = False, self.now
        for seq in seqs:
            pending = self.pending.get(seq)
            if pending and pending.holder is member:
                pending.named, pending.until, pending.turn = True, self.now + ACK_WAIT, next(self.turns)
            elif pending and pending.before_loss:
                self.find(seq, member)

    @rule(seconds=st.floats(0, 2 * ACK_WAIT))
    def wait(self, seconds: float) -> None:
        """What is overdue is the fault of a member that lives; one that says nothing any more lost what it held."""
        self.now += seconds
        self.group.take_back(now=self.now)
        for member, model in self.members.items():
            held = self.held_by(member)
            overdue = [pending for pending in held if pending.until <= self.now]
            silent = model.spoke is None or model.spoke + ACK_WAIT <= self.now
            model.late = model.late or bool(overdue and silent)
            if overdue and silent and model.spoke is not None:
                for pending in held:
                    pending.lose(self.now, alone=len(held) == 1)
                continue
            for pending in overdue:
                if model.spoke is None or pending.named:
                    pending.fail(self.now)
                else:
                    pending.lose(self.now, alone=len(self.held_by(member)) == 1)

    @rule(absent=st.integers(0, 2))
    def hand_out(self, absent: int) -> None:
        """Whatever can be handed out now is, as delivery does it; the sockets of some members may be full."""
        ready = list(self.members)[absent:]
        while self.hand_out_one(ready):
            pass

    def hand_out_one(self, ready: list[MemberState]) -> bool:
        for seq in self.what_is_next():
            again = seq in self.pending
            member = self.group.choose(ready, seq if again else None, now=self.now)
            self.check_choice(member, ready, self.pending.get(seq))
            if member is None:
                continue
            deliveries = self.group.deliver(seq, member, now=self.now)
            pending = self.pending.setdefault(seq, Pending(0, None, 0.0))
            pending.deliveries += 1
            pending.holder, pending.until, pending.turn = member, self.now + ACK_WAIT, next(self.turns)
            pending.named, pending.before_loss = False, None
            self.members[member].apart = pending.is_suspect
            self.cursor = max(self.cursor, seq)
            assert deliveries == pending.deliveries
            return True
        return False

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
        self.group = GroupState(msgspec.json.decode(self.kept, type=Place), ack_wait=ACK_WAIT)
        self.members.clear()
        self.cursor, pending = self.kept_model
        self.pending = {
            seq: Pending(each.deliveries, None, 0.0, each.attempts, each.losses) for seq, each in pending.items()
        }
        for each in self.pending.values():
            each.before_loss = (each.attempts, each.losses)

    # What must hold.

    @invariant()
    def the_place_is_the_same(self) -> None:
        place = self.group.place
        assert place.cursor == self.cursor
        assert place.pending == {seq: each.deliveries for seq, each in self.pending.items()}
        assert (place.attempts or {}) == {seq: each.attempts for seq, each in self.pending.items() if each.attempts}
        assert (place.losses or {}) == {seq: each.losses for seq, each in self.pending.items() if each.losses}
        assert self.group.room == max(0, MAX_PENDING - len(self.pending))

    @invariant()
    def each_event_has_one_holder_at_most(self) -> None:
        for member, model in self.members.items():
            held = {seq: each.until for seq, each in self.pending.items() if each.holder is member}
            assert member.held == held
            assert member.room == (0 if model.apart and held else model.prefetch - len(held))
            assert member.late == model.late

    @invariant()
    def no_event_is_forgotten(self) -> None:
        handed_out = set(range(self.first, self.cursor + 1))
        assert handed_out <= self.done | self.pending.keys() | set(range(self.gone + 1))

    @invariant()
    def it_knows_when_something_is_to_do(self) -> None:
        held = [each.until for each in self.pending.values() if each.holder]
        # Suspects and others wait apart. Of each kind, what is due already waits for a member, not for a time.
        free = [
            [each for each in self.pending.values() if not each.holder and each.is_suspect is kind]
            for kind in (True, False)
        ]
        firsts = [min((each.until for each in kind), default=self.now) for kind in free]
        later = [first for first in firsts if first > self.now]
        assert self.group.next_time(now=self.now) == min(held + later, default=None)
        due = [seq for seq, each in self.pending.items() if not each.holder]
        assert len(self.group._due._heap) + len(self.group._suspects._heap) <= 2 * (len(due) + VOID)

    def teardown(self) -> None:
        """Whatever happened, one member that does its work gets everything done."""
        if not hasattr(self, "group"):
            return
        for _ in list(self.members):
            self.leave(0)
        self.wait(2 * ACK_WAIT)
        self.join(1)
        while any(True for _ in self.what_is_next()):
            self.hand_out(0)
            self.ack_one_that_is_held(0)
        assert self.group.place == Place(cursor=self.head)

    # Helpers.

    def pick(self, which: int) -> MemberState:
        return list(self.members)[which % len(self.members)]

    def held_by(self, member: MemberState) -> list[Pending]:
        """In the order they were delivered in."""
        held = [self.pending[seq] for seq in self.held_seqs(member)]
        return sorted(held, key=lambda pending: (pending.until, pending.turn))

    def held_seqs(self, member: MemberState) -> list[int]:
        return [seq for seq, each in self.pending.items() if each.holder is member]

    def find(self, seq: int, member: MemberState) -> None:
        if pending := self.pending.get(seq):
            if pending.before_loss:
                pending.attempts, pending.losses = pending.before_loss
            pending.holder, pending.until, pending.turn = member, self.now + ACK_WAIT, next(self.turns)
            pending.named, pending.before_loss = True, None
            self.members[member].apart = self.members[member].apart or pending.is_suspect

    def what_is_next(self) -> list[int]:
        """What has been due longest, of the suspects and of the others, and what is new."""
        due = [(each.until, seq) for seq, each in self.pending.items() if not each.holder and each.until <= self.now]
        suspects = sorted(each for each in due if self.pending[each[1]].is_suspect)
        others = sorted(each for each in due if not self.pending[each[1]].is_suspect)
        again = [seq for _, seq in suspects[:1] + others]
        assert list(self.group.next_due(now=self.now)) == again
        return again + ([self.cursor + 1] if self.cursor < self.head else [])

    def check_choice(self, member: MemberState | None, ready: list[MemberState], event: Pending | None) -> None:
        """One with room that keeps its word, the least busy; a suspect goes to one that holds nothing else.

        While a suspect waits, one member gets nothing else, unless a suspect is being tried.
        """
        trusted = [each for each, model in self.members.items() if not model.late]
        trusted = trusted or [each for each, model in self.members.items() if model.spoke is None]
        able = {each for each in ready if each in trusted and each.room > 0}
        if event and event.is_suspect:
            able = {each for each in able if not self.held_seqs(each)}
        else:
            if event and len(trusted) > 1:
                able.discard(event.failed_by)
            trying = [each for each in trusted if self.members[each].apart and self.held_seqs(each)]
            if self.a_suspect_waits() and trusted and not trying:
                able.discard(min(trusted, key=lambda each: len(self.held_seqs(each))))
        assert (member in able) if able else member is None
        if member:
            assert member.room == max(each.room for each in able)

    def a_suspect_waits(self) -> bool:
        return any(each.is_suspect and not each.holder and each.until <= self.now for each in self.pending.values())


GroupAgainstModel.TestCase.settings = settings(max_examples=1_000, stateful_step_count=40, deadline=None)
TestGroups: Any = GroupAgainstModel.TestCase


def test_a_group_with_too_much_open_takes_nothing_new_until_some_is_done() -> None:
    place = Place(cursor=MAX_PENDING, pending=dict.fromkeys(range(1, MAX_PENDING + 1), 1))
    group = GroupState(place, ack_wait=ACK_WAIT)
    member = group.join(1, now=0.0)
    assert group.room == 0

    group.ack(member, [7])

    assert group.room > 0


def test_what_was_given_back_for_long_and_is_done_all_the_same_takes_no_memory() -> None:
    group = GroupState(Place(cursor=0), ack_wait=ACK_WAIT)
    member = group.join(100, now=0.0)
    for seq in range(1, 101):
        group.deliver(seq, member, now=0.0)
        group.nack(member, seq, due=86400.0 + seq)
    group.ack(member, range(2, 101))

    assert group.next_time(now=0.0) == 86401.0
    assert len(group._due._heap) == 1


@given(
    events=st.integers(1, 60),
    poison=st.integers(0, 59),
    prefetches=st.lists(st.integers(1, 70), min_size=1, max_size=3),
    done_before=st.integers(0, 5),
)
@settings(max_examples=200, deadline=None)
def test_one_event_that_kills_its_member_each_time_is_the_only_one_that_is_tried_in_vain(
    events: int, poison: int, prefetches: list[int], done_before: int
) -> None:
    """Each member does some of what it holds, then comes upon the poison, perhaps; a new one takes its place."""
    poison = poison % events + 1
    group = GroupState(Place(cursor=0), ack_wait=ACK_WAIT)
    members = [group.join(prefetch, now=0.0) for prefetch in prefetches]
    kills = 0
    while group.attempts(poison) < 5:
        hand_out_all(group, events)
        for number, member in enumerate(members):
            group.ack(member, [seq for seq in list(member.held)[:done_before] if seq != poison])
            if poison in member.held:
                group.leave(member, now=0.0)
                members[number] = group.join(prefetches[number], now=0.0)
                kills += 1
            else:
                group.ack(member, list(member.held)[:1])

    assert kills <= SUSPECT_AFTER + 5
    place = group.place
    assert place.attempts == {poison: 5}


def hand_out_all(group: GroupState, head: int) -> None:
    while True:
        again = [seq for seq in group.next_due(now=0.0) if group.choose(group.members, seq, now=0.0)]
        new = [group.cursor + 1] if group.cursor < head and group.choose(group.members, now=0.0) else []
        for seq in (again + new)[:1]:
            member = group.choose(group.members, seq if again else None, now=0.0)
            assert member
            group.deliver(seq, member, now=0.0)
        if not again + new:
            return


def joined(count: int, *, prefetch: int = 100) -> tuple[GroupState, MemberState]:
    """A group whose only member holds so many events."""
    group = GroupState(Place(cursor=0), ack_wait=ACK_WAIT)
    member = group.join(prefetch, now=0.0)
    for seq in range(1, count + 1):
        group.deliver(seq, member, now=0.0)
    return group, member


def attempts(group: GroupState) -> dict[int, int]:
    return group.place.attempts or {}


def test_what_a_member_left_out_while_it_says_working_for_others_is_an_attempt_at_that_alone() -> None:
    group, member = joined(3)
    group.working(member, [1, 2, 3], now=10.0)
    group.working(member, [1, 3], now=35.0)

    group.take_back(now=40.0)

    assert attempts(group) == {2: 1}
    assert list(group.next_due(now=40.0)) == [2]


def test_what_hangs_in_one_member_goes_to_another_one_even_if_that_has_no_room_yet() -> None:
    group, hanging = joined(2)
    group.working(hanging, [1, 2], now=10.0)
    other = group.join(1, now=10.0)
    group.deliver(3, other, now=39.0)
    group.working(hanging, [2], now=39.0)
    group.take_back(now=40.0)

    assert group.choose([hanging, other], 1, now=40.0) is None
    group.ack(other, [3])
    assert group.choose([hanging, other], 1, now=40.0) is other


def test_a_member_that_freezes_fails_at_nothing_and_goes_on_when_it_thaws() -> None:
    group, member = joined(3)
    group.working(member, [1, 2, 3], now=10.0)

    group.take_back(now=40.0)

    assert attempts(group) == {}
    assert group.choose([member], 1, now=40.0) is None  # it has them
    group.working(member, [1, 2, 3], now=41.0)
    assert list(group.next_due(now=41.0)) == []
    assert group.place == Place(cursor=3, pending={1: 1, 2: 1, 3: 1})


def test_what_had_not_reached_a_member_that_lives_is_no_attempt() -> None:
    group, member = joined(2)
    group.working(member, [1], now=10.0)
    group.working(member, [1], now=25.0)

    group.take_back(now=30.0)

    assert attempts(group) == {}
    assert list(group.next_due(now=30.0)) == [2]


def test_a_member_that_comes_back_with_its_work_in_hand_holds_it_again_and_nothing_is_counted() -> None:
    group, member = joined(1)
    group.leave(member, now=1.0)
    assert attempts(group) == {1: 1}

    back = group.join(5, working=[1, 7, 10**30, -1], now=2.0)

    assert group.place == Place(cursor=1, pending={1: 1})
    assert list(back.held) == [1]
    group.ack(back, [1])
    assert group.place == Place(cursor=1)


def test_a_member_that_comes_back_before_its_old_connection_is_known_to_be_lost_holds_its_work() -> None:
    group, old = joined(2)

    back = group.join(5, working=[1, 2], now=1.0)
    group.leave(old, now=2.0)

    assert list(back.held) == [1, 2]
    assert group.place == Place(cursor=2, pending={1: 1, 2: 1})


def test_working_is_no_way_to_take_what_others_hold() -> None:
    group, member = joined(1)
    other = group.join(5, now=0.0)

    group.working(other, [1, 2, -1, 10**30], now=1.0)

    assert list(member.held) == [1]
    assert other.held == {}


def test_a_place_that_an_older_bus_has_kept_is_read_and_an_older_bus_can_read_one() -> None:
    kept = b'{"cursor":9,"pending":{"3":4,"7":1}}'

    group = GroupState(msgspec.json.decode(kept, type=Place), ack_wait=ACK_WAIT)

    assert attempts(group) == {}
    assert group.deliveries(3) == 4
    assert msgspec.json.encode(group.place) == kept


def test_attempts_and_losses_survive_a_restart_that_counts_as_neither() -> None:
    group, member = joined(3)
    group.nack(member, 2, due=0.0)
    group.leave(member, now=0.0)

    again = GroupState(msgspec.json.decode(msgspec.json.encode(group.place), type=Place), ack_wait=ACK_WAIT)

    assert (
        again.place == group.place == Place(cursor=3, pending={1: 1, 2: 1, 3: 1}, attempts={2: 1}, losses={1: 1, 3: 1})
    )


def test_an_event_that_waits_for_one_member_holds_up_no_other() -> None:
    group = GroupState(Place(cursor=0), ack_wait=ACK_WAIT)
    able, busy, lost = group.join(64, now=0.0), group.join(1, now=0.0), group.join(64, now=0.0)
    group.deliver(1, busy, now=0.0)
    group.deliver(2, able, now=0.0)
    for seq in range(3, 10):
        group.deliver(seq, lost, now=0.0)
    group.nack(able, 2, due=0.0)  # another member is to get it, and the other one has no room
    group.leave(lost, now=0.0)

    can_be_taken = [seq for seq in group.next_due(now=0.0) if group.choose([able, busy], seq, now=0.0)]

    assert can_be_taken == [*range(3, 10)]
