"""Groups over the wire: each event is done once, whoever dies."""

from __future__ import annotations

import asyncio
import itertools
import json
import signal
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from bus_under_test import PATIENCE, Bus, Socket, StartBus, StartProcess
from eventbus.config import Settings
from eventbus.event import Draft, Event
from eventbus.groups.delivery import LocalGroup
from eventbus.groups.local import LocalGroups
from eventbus.groups.rules import GroupState
from eventbus.log import GroupKey, Log, Publisher
from eventbus.log.memory import MemoryLog
from eventbus.outlet import Piece
from eventbus.patterns import EVERYTHING
from eventbus.problems import LogUnavailable

SERVICE = {"action": "authenticate", "credentials": "the-service"}
QUICK = Settings(ack_wait=0.2)
A_LOOK = 1e-6  # seconds that pass when somebody looks at the clock


@pytest.fixture
async def bus(start: StartBus, log: Log) -> Bus:
    return await start(log)


@asynccontextmanager
async def member(
    bus: Bus, group: str = "g", *, credentials: str = "the-service", autoclose: bool = True, **fields: Any
) -> AsyncIterator[Socket]:
    async with bus.socket(autoclose=autoclose) as socket:
        command = {"action": "authenticate", "credentials": credentials, "group": group, "names": ["job-*"], **fields}
        answer = await socket.ask(command)
        assert answer["authenticated"], answer
        yield socket


async def publish_jobs(bus: Bus, count: int, prefix: str = "job") -> list[int]:
    return [(await bus.publish(f"{prefix}-{n}", service="the-service"))["seq"] for n in range(count)]


async def hear_jobs(socket: Socket, count: int) -> list[tuple[str, int]]:
    """Wait for so many events; return their names and how often each was delivered."""
    events = [await socket.hear() for _ in range(count)]
    return [(event["name"], event.get("delivery", 1)) for event in events]


async def ack(socket: Socket, *seqs: int) -> None:
    await socket.say({"action": "ack", "seq": seqs[0] if len(seqs) == 1 else list(seqs)})


async def work(socket: Socket, done: list[int], until: int) -> None:
    """Do and ack whatever comes, until all members together have done so many."""
    while len(done) < until:
        seq = (await socket.hear())["seq"]
        done.append(seq)
        await ack(socket, seq)


async def test_each_event_goes_to_one_member(bus: Bus) -> None:
    done: list[int] = []

    async with member(bus) as one, member(bus) as two:
        workers = [asyncio.create_task(work(socket, done, 200)) for socket in (one, two)]
        jobs = await publish_jobs(bus, 200)
        await asyncio.wait(workers, return_when=asyncio.FIRST_COMPLETED)
        for worker in workers:
            worker.cancel()

    assert sorted(done) == jobs


async def test_a_new_group_begins_where_its_first_member_says(bus: Bus) -> None:
    await publish_jobs(bus, 2, "job-old")

    async with member(bus, "from-the-head") as head, member(bus, "from-the-start", after=0) as start:
        await publish_jobs(bus, 1)

        assert await hear_jobs(head, 1) == [("job-0", 1)]
        assert await hear_jobs(start, 3) == [("job-old-0", 1), ("job-old-1", 1), ("job-0", 1)]


async def test_a_group_goes_on_where_it_was_whatever_a_member_says(bus: Bus) -> None:
    async with member(bus, after=0) as first:
        [done, *_] = await publish_jobs(bus, 3)
        await hear_jobs(first, 3)
        await ack(first, done, done + 2)
        await first.ask({"action": "dance"})  # so that the ack has been heard

    async with member(bus, after=0) as second:
        assert await hear_jobs(second, 1) == [("job-1", 2)]


async def test_what_waited_while_nobody_was_there_is_delivered(bus: Bus) -> None:
    async with member(bus):
        pass
    await publish_jobs(bus, 3)

    async with member(bus) as late:
        assert await hear_jobs(late, 3) == [("job-0", 1), ("job-1", 1), ("job-2", 1)]


async def test_a_member_holds_no_more_than_its_prefetch(bus: Bus) -> None:
    async with member(bus, prefetch=2) as slow, member(bus, "other") as other:
        jobs = await publish_jobs(bus, 5)
        assert await hear_jobs(slow, 2) == [("job-0", 1), ("job-1", 1)]
        await hear_jobs(other, 5)  # by now the third would have come
        assert (await slow.ask({"action": "dance"}))["action"] == "dance"

        await ack(slow, jobs[0])

        assert await hear_jobs(slow, 1) == [("job-2", 1)]


async def test_what_a_member_held_that_left_goes_to_another_one(bus: Bus) -> None:
    async with member(bus, prefetch=2) as dying:
        await publish_jobs(bus, 2)
        await hear_jobs(dying, 2)
        async with member(bus) as other:
            await dying.ws.close()

            assert await hear_jobs(other, 2) == [("job-0", 2), ("job-1", 2)]


async def test_what_is_not_acked_in_time_goes_to_another_member(start: StartBus, log: Log) -> None:
    bus = await start(log, settings=QUICK)

    async with member(bus, prefetch=1) as idle:
        await publish_jobs(bus, 1)
        assert await hear_jobs(idle, 1) == [("job-0", 1)]
        async with member(bus) as other:
            assert await hear_jobs(other, 1) == [("job-0", 2)]


async def test_a_lone_member_gets_again_what_it_did_not_ack(start: StartBus, log: Log) -> None:
    bus = await start(log, settings=QUICK)

    async with member(bus) as lone:
        await publish_jobs(bus, 1)

        assert await hear_jobs(lone, 2) == [("job-0", 1), ("job-0", 2)]


async def test_what_is_given_back_comes_again_after_the_delay(bus: Bus) -> None:
    loop = asyncio.get_running_loop()

    async with member(bus) as lone:
        jobs = await publish_jobs(bus, 2)
        await hear_jobs(lone, 2)
        given_back = loop.time()
        await lone.say({"action": "nack", "seq": jobs[0], "delay": 0.3})
        await lone.say({"action": "nack", "seq": jobs[1]})

        assert await hear_jobs(lone, 2) == [("job-1", 2), ("job-0", 2)]
        assert loop.time() - given_back >= 0.3


async def test_acks_of_what_is_not_open_are_ignored(bus: Bus) -> None:
    async with member(bus) as lone:
        await ack(lone, 0, -5, 10**18, 1)
        await lone.say({"action": "nack", "seq": 7})
        await publish_jobs(bus, 1)

        assert await hear_jobs(lone, 1) == [("job-0", 1)]


class FullOutlet:
    """An outlet that is full until it is drained; one that parts is so for ever, and has nothing to wait for."""

    excused = False

    def __init__(self, *, parts: bool = False) -> None:
        self.full = True
        self.asked = 0  # how often somebody waited for it
        self.written: list[bytes] = []
        self._wrote = asyncio.Event()
        self._drained: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if parts:
            self._drained.set_result(None)

    def write(self, piece: Piece) -> None:
        self.written += [event.json for event in piece.events]
        self._wrote.set()

    async def has_written(self, count: int) -> None:
        """Wait until it was given so many events."""
        async with asyncio.timeout(PATIENCE):
            while len(self.written) < count:
                self._wrote.clear()
                await self._wrote.wait()

    async def drained(self) -> None:
        self.asked += 1
        await self._drained  # as aiohttp does: who cancels one wait spoils all later ones

    def drain(self) -> None:
        self.full = False
        self._drained.set_result(None)

    def break_down(self) -> None:
        self._drained.set_exception(ConnectionResetError())

    def failed(self) -> None:
        raise AssertionError

    def overtaken(self) -> None:
        raise AssertionError("nothing is gone")


class TestFullOutlets:
    @pytest.fixture
    async def group(self) -> LocalGroup:
        """With one event to deliver."""
        log = MemoryLog()
        await log.append([(Draft(name="job"), Publisher(source="s", scope="s"))])
        return await LocalGroups(log, ack_wait=30, max_deliveries=5).create(("s", "g"), after=0)

    async def test_a_member_that_acks_nothing_until_it_has_all_gets_all(self, bus: Bus) -> None:
        async with member(bus, prefetch=64, names=["big"]) as lone:
            for _ in range(64):
                await bus.publish("big", service="the-service", data="x" * 250_000)

            assert await hear_jobs(lone, 64) == [("big", 1)] * 64

    async def test_one_that_drains_is_waited_for_once_whatever_happens_meanwhile(self, group: LocalGroup) -> None:
        outlet = FullOutlet()
        with group.joined(outlet, names=EVERYTHING, prefetch=64):
            for _ in range(10):
                group.wake()
                await turns()
            assert (outlet.asked, outlet.written) == (1, [])

            outlet.drain()
            await turns()

            assert len(outlet.written) == 1

    async def test_one_that_parts_does_not_keep_the_bus_busy(self, group: LocalGroup) -> None:
        outlet = FullOutlet(parts=True)
        with group.joined(outlet, names=EVERYTHING, prefetch=64):
            await turns()

            assert outlet.asked == 1

    async def test_one_that_breaks_down_is_no_defect(self, group: LocalGroup) -> None:
        outlet = FullOutlet()
        with group.joined(outlet, names=EVERYTHING, prefetch=64):
            await turns()
            outlet.break_down()
            await turns()

            assert outlet.asked == 1

    @pytest.mark.parametrize("parts", [False, True])
    async def test_who_leaves_is_not_waited_for(self, group: LocalGroup, parts: bool) -> None:
        before = asyncio.all_tasks()
        with group.joined(FullOutlet(parts=parts), names=EVERYTHING, prefetch=64):
            await turns()
        await turns()

        assert asyncio.all_tasks() == before


async def turns() -> None:
    """Let every task do what it can do now."""
    for _ in range(50):
        await asyncio.sleep(0)


@pytest.mark.parametrize("looks", range(12))
async def test_what_becomes_due_while_the_group_looks_for_something_to_do_comes_again(looks: int) -> None:
    log = MemoryLog()
    await log.append([(Draft(name="job"), Publisher(source="s", scope="s"))])
    times = itertools.count(step=A_LOOK)  # goes on with each look at the clock
    groups = LocalGroups(log, ack_wait=30, max_deliveries=5, clock=lambda: next(times))
    outlet = FullOutlet()
    outlet.drain()
    with (await groups.create(("s", "g"), after=0)).joined(outlet, names=EVERYTHING, prefetch=1) as membership:
        await turns()
        membership.nack(1, delay=looks * A_LOOK)

        await outlet.has_written(2)


class SlowLog(MemoryLog):
    """Who asks for a place while `asking` is set, or keeps some while `keeping` is, waits until that happens."""

    asking: asyncio.Event | None = None
    keeping: asyncio.Event | None = None

    async def group_place(self, group: GroupKey) -> bytes | None:
        place = await super().group_place(group)
        if self.asking:
            await self.asking.wait()
        return place

    async def keep_group_places(self, places: Mapping[GroupKey, bytes]) -> None:
        await super().keep_group_places(places)
        if self.keeping:
            await self.keeping.wait()


class TestGroupsWithoutMembers:
    KEY = ("s", "g")

    @pytest.fixture
    async def log(self) -> SlowLog:
        log = SlowLog()
        for _ in range(3):
            await log.append([(Draft(name="job"), Publisher(source="s", scope="s"))])
        return log

    @pytest.fixture
    def groups(self, log: SlowLog) -> LocalGroups:
        return LocalGroups(log, ack_wait=30, max_deliveries=5, clock=lambda: 1000.0)

    @staticmethod
    async def do_one(group: LocalGroup) -> list[bytes]:
        """Ack 1 as the only member; return what was delivered."""
        outlet = FullOutlet()
        outlet.drain()
        with group.joined(outlet, names=EVERYTHING, prefetch=1) as membership:
            await turns()
            membership.ack([1])
        return outlet.written

    async def test_what_was_read_ahead_is_forgotten(self, groups: LocalGroups) -> None:
        group = await groups.create(self.KEY, after=0)
        outlet = FullOutlet()
        outlet.drain()
        with group.joined(outlet, names=EVERYTHING, prefetch=1):
            await turns()
            assert len(group._ahead) == 2

        await turns()

        assert group._ahead == []

    async def test_once_its_place_is_kept_the_group_itself_is_forgotten(self, groups: LocalGroups) -> None:
        group = await groups.create(self.KEY, after=0)
        with group.joined(FullOutlet(), names=EVERYTHING, prefetch=1):
            await groups.keep_places()
            assert await groups.find(self.KEY) is group
        await self.do_one(group)

        await groups.keep_places()

        assert groups._known == {}
        again = await groups.find(self.KEY)
        assert again is not group
        assert again is not None
        assert again.place == group.place == b'{"cursor":1,"pending":{}}'

    async def test_it_is_not_while_a_delay_runs(self, groups: LocalGroups) -> None:
        group = await groups.create(self.KEY, after=0)
        outlet = FullOutlet()
        outlet.drain()
        with group.joined(outlet, names=EVERYTHING, prefetch=1) as membership:
            await turns()
            membership.nack(1, delay=60.0)

        await groups.keep_places()

        assert await groups.find(self.KEY) is group

    async def test_it_is_not_while_its_place_cannot_be_kept(
        self, groups: LocalGroups, log: SlowLog, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def fail(places: object) -> None:
            raise LogUnavailable("the disk is full")

        group = await groups.create(self.KEY, after=0)
        await self.do_one(group)
        monkeypatch.setattr(log, "keep_group_places", fail)

        with pytest.raises(LogUnavailable):
            await groups.keep_places()

        assert await groups.find(self.KEY) is group

    async def test_it_is_not_when_it_went_on_while_its_place_was_kept(self, groups: LocalGroups, log: SlowLog) -> None:
        group = await groups.create(self.KEY, after=0)
        other = await groups.create(("s", "other"), after=1)
        await self.do_one(other)
        log.keeping = kept = asyncio.Event()
        keeping = asyncio.create_task(groups.keep_places())
        await turns()
        await self.do_one(group)

        kept.set()
        await keeping

        assert await groups.find(self.KEY) is group

    async def test_who_asked_for_it_before_it_was_forgotten_finds_what_was_done_since(
        self, groups: LocalGroups, log: SlowLog
    ) -> None:
        await groups.create(self.KEY, after=0)
        await groups.keep_places()
        log.asking = answer = asyncio.Event()
        finding = asyncio.create_task(groups.find(self.KEY))
        await turns()
        log.asking = None
        quicker = await groups.find(self.KEY)
        assert quicker is not None
        await self.do_one(quicker)
        await groups.keep_places()

        answer.set()

        found = await finding
        assert found is not None
        assert found.place == quicker.place == b'{"cursor":1,"pending":{}}'

    async def test_a_group_that_is_made_again_after_it_was_forgotten_goes_on_there(self, groups: LocalGroups) -> None:
        assert await groups.find(self.KEY) is None
        await self.do_one(await groups.create(self.KEY, after=0))
        await groups.keep_places()

        group = await groups.create(self.KEY, after=0)

        assert group.cursor == 1

    async def test_one_that_is_being_made_is_not_forgotten(self, groups: LocalGroups, log: SlowLog) -> None:
        log.keeping = answer = asyncio.Event()
        creating = asyncio.create_task(groups.create(self.KEY, after=0))
        await turns()
        log.keeping = None
        await groups.keep_places()

        answer.set()

        assert await creating is await groups.find(self.KEY)


async def test_as_many_open_events_as_there_may_be_come_again_when_their_member_dies(
    bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("eventbus.groups.rules.MAX_PENDING", 5)
    async with member(bus, prefetch=20) as first:
        await publish_jobs(bus, 7)
        assert len(await hear_jobs(first, 5)) == 5

    async with member(bus, prefetch=20) as second:
        events = [await second.hear() for _ in range(5)]
        await ack(second, *[event["seq"] for event in events])

        assert [event["delivery"] for event in events] == [2] * 5
        assert await hear_jobs(second, 2) == [("job-5", 1), ("job-6", 1)]


async def test_while_nobody_has_room_for_what_is_due_the_bus_is_idle(bus: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    async with member(bus, prefetch=1) as one:
        async with member(bus, prefetch=1) as two:
            await publish_jobs(bus, 2)
            await asyncio.gather(one.hear(), two.hear())
        looked = 0
        look = GroupState.take_back

        def count(self: GroupState, *, now: float) -> None:
            nonlocal looked
            looked += 1
            look(self, now=now)

        monkeypatch.setattr(GroupState, "take_back", count)
        for _ in range(20):
            await bus.request("GET", "/healthz")

        assert looked < 10


async def test_an_ack_that_comes_while_its_event_is_read_again_counts() -> None:
    log = AckingLog()
    [one] = await log.append([(Draft(name="job"), Publisher(source="s", scope="s"))])
    group = await LocalGroups(log, ack_wait=30, max_deliveries=5).create(("s", "g"), after=0)
    first, second = FullOutlet(), FullOutlet()
    first.full = second.full = False
    with group.joined(first, names=EVERYTHING, prefetch=1) as late:
        await turns()
        with group.joined(second, names=EVERYTHING, prefetch=1):
            log.ack = lambda: late.ack([one.seq])
            late.nack(one.seq, delay=0)
            await turns()

    assert len(first.written + second.written) == 1
    assert json.loads(group.place)["pending"] == {}


class AckingLog(MemoryLog):
    """While it is read once, an ack comes, if there is one to come."""

    ack: Callable[[], None] | None = None

    async def read(self, **options: Any) -> list[Event]:  # type: ignore[override]
        events = await super().read(**options)
        if ack := self.ack:
            self.ack = None
            ack()
        return events


@pytest.mark.parametrize("command", [{"action": "ack", "seq": 1}, {"action": "nack", "seq": 1}])
async def test_only_members_can_ack(bus: Bus, command: dict[str, Any]) -> None:
    async with bus.service() as service, bus.socket() as nobody:
        for socket in (service, nobody):
            answer = await socket.ask(command)

            assert answer["action"] == command["action"]
            assert "only a member of a group" in answer["error"]


async def test_a_second_command_to_join_is_an_error(bus: Bus) -> None:
    async with member(bus) as joined:
        assert "has said who it is" in (await joined.ask(SERVICE | {"group": "h"}))["error"]


async def test_groups_of_two_services_never_meet(bus: Bus) -> None:
    async with (
        member(bus, "g", names=["check-*"]) as one,
        member(bus, "g", credentials="the-answerer", names=["check-*"]) as two,
    ):
        await bus.publish("check-domain", service="the-service")

        assert await one.hear_names(1) == await two.hear_names(1) == ["check-domain"]


async def test_the_last_member_s_names_are_the_group_s(bus: Bus) -> None:
    async with member(bus, names=["task-*"]) as one:
        async with member(bus, names=["job-*"]):
            pass
        await publish_jobs(bus, 1, "task")
        await publish_jobs(bus, 1)

        assert await hear_jobs(one, 1) == [("job-0", 1)]


async def test_what_waits_for_another_try_is_done_when_the_group_does_not_want_its_name_any_more(bus: Bus) -> None:
    async with member(bus, names=["task-*"]) as one:
        await publish_jobs(bus, 1, "task")
        assert await hear_jobs(one, 1) == [("task-0", 1)]
    async with member(bus) as two:
        await publish_jobs(bus, 1)

        assert await hear_jobs(two, 1) == [("job-0", 1)]

    async with member(bus, names=["task-*", "job-*"]) as three:
        assert await hear_jobs(three, 1) == [("job-0", 2)]


class TestDeadLetters:
    @pytest.fixture
    async def bus(self, start: StartBus, log: Log) -> Bus:
        return await start(log, settings=Settings(ack_wait=0.1, max_deliveries=3))

    async def test_what_nobody_can_do_becomes_a_dead_letter_and_the_group_goes_on(self, bus: Bus) -> None:
        async with bus.socket() as watcher, member(bus) as lone:
            await watcher.ask(SERVICE | {"names": ["eventbus.*"]})
            [bad, good] = await publish_jobs(bus, 2)
            await hear_jobs(lone, 2)
            await ack(lone, good)
            for delivery in (2, 3):
                await lone.say({"action": "nack", "seq": bad})
                assert await hear_jobs(lone, 1) == [("job-0", delivery)]
            await lone.say({"action": "nack", "seq": bad})

            letter = await watcher.hear()
            stored = (await bus.events("?limit=1"))[0]
            expected = {"seq": bad, "id": stored["id"], "name": "job-0", "source": "everything"}
            assert letter["data"] == {**expected, "deliveries": 3, "attempts": 3, "group": "g"}
            assert (letter["name"], letter["source"], letter["context"]) == ("eventbus.dead-letter", "eventbus", {})
            await publish_jobs(bus, 1, "job-next")
            assert await hear_jobs(lone, 1) == [("job-next-0", 1)]

    async def test_a_dead_letter_that_nobody_can_do_is_not_followed_by_another(self, bus: Bus) -> None:
        names = {"names": ["eventbus.*", "job-*"]}
        async with bus.socket() as watcher, member(bus, **names) as lone:
            await watcher.ask(SERVICE | {"names": ["eventbus.*"]})
            [bad] = await publish_jobs(bus, 1)
            assert await hear_jobs(lone, 3) == [("job-0", 1), ("job-0", 2), ("job-0", 3)]

            dead = "eventbus.dead-letter"
            assert await hear_jobs(lone, 3) == [(dead, 1), (dead, 2), (dead, 3)]

            await publish_jobs(bus, 1, "job-next")
            assert await hear_jobs(lone, 1) == [("job-next-0", 1)]
            assert (await watcher.hear())["data"]["seq"] == bad
            assert len(await bus.events("?name=eventbus.*")) == 1

    async def test_nobody_gets_a_dead_letter_unasked(self, bus: Bus) -> None:
        async with bus.service() as service, bus.socket() as watcher, member(bus) as lone:
            await watcher.ask(SERVICE | {"names": ["*", "eventbus.*"]})
            await publish_jobs(bus, 1)
            await hear_jobs(lone, 3)
            assert await watcher.hear_names(2) == ["job-0", "eventbus.dead-letter"]
            await bus.publish("last", service="the-service")

            assert await service.hear_names(2) == ["job-0", "last"]
            assert [event["name"] for event in await bus.events()] == ["job-0", "last"]


class TestAttempts:
    """An event is given up for its own failures, not for those of its neighbours or of its members' connections."""

    @pytest.fixture
    async def bus(self, start: StartBus) -> Bus:
        return await start(MemoryLog(), settings=Settings(max_deliveries=3))

    async def test_members_that_join_and_hang_up_give_nothing_up(self, bus: Bus) -> None:
        async with member(bus, after=0):
            pass
        jobs = await publish_jobs(bus, 211)
        for _ in range(5):
            async with member(bus, prefetch=500) as passing:
                await passing.hear()

        async with member(bus, prefetch=500) as lone:
            done: list[int] = []
            await work(lone, done, 211)
            await lone.ask({"action": "dance"})

        assert sorted(done) == jobs
        assert await bus.events("?name=eventbus.*") == []

    async def test_what_kills_its_member_is_given_up_alone(self, bus: Bus) -> None:
        async with member(bus, after=0):
            pass
        jobs = await publish_jobs(bus, 200)
        poison, done = jobs[57], []
        async with bus.socket() as watcher:
            await watcher.ask(SERVICE | {"names": ["eventbus.*"]})
            for _ in range(5):
                await work_until_poisoned(bus, poison, done)
            async with member(bus) as last:
                await work(last, done, 199)
                letter = await watcher.hear()

        assert sorted(done) == [job for job in jobs if job != poison]
        assert letter["data"]["seq"] == poison
        assert (letter["data"]["attempts"], letter["data"]["deliveries"]) == (3, 5)
        assert len(await bus.events("?name=eventbus.*")) == 1

    async def test_what_a_lost_connection_held_comes_again_at_once_and_all_together(self, bus: Bus) -> None:
        async with member(bus, prefetch=500, after=0) as dying:
            await publish_jobs(bus, 500)
            await hear_jobs(dying, 500)

        async with member(bus, prefetch=500) as other:
            assert await hear_jobs(other, 500) == [(f"job-{n}", 2) for n in range(500)]

    async def test_what_a_member_held_alone_when_its_connection_was_lost_is_an_attempt(self, bus: Bus) -> None:
        async with bus.socket() as watcher:
            await watcher.ask(SERVICE | {"names": ["eventbus.*"]})
            [bad] = await publish_jobs(bus, 1)
            for _ in range(3):
                async with member(bus, after=0) as dying:
                    await dying.hear()
            async with member(bus):
                assert (await watcher.hear())["data"]["seq"] == bad

    async def test_what_a_member_held_that_goes_away_on_purpose_is_no_attempt(self, bus: Bus) -> None:
        await publish_jobs(bus, 1)
        for delivery in range(1, 6):
            async with member(bus, after=0) as leaving:
                assert await hear_jobs(leaving, 1) == [("job-0", delivery)]
                await leaving.ws.close(code=1001)

    async def test_what_a_member_held_when_the_bus_ended_the_connection_is_no_attempt(self, run: StartProcess) -> None:
        bus = await run(EVENTBUS_MAX_DELIVERIES="1")
        await publish_jobs(bus, 1)
        for how in ("SIGTERM", "SIGTERM", "SIGKILL", "SIGKILL"):
            async with member(bus, after=0) as cut_off:
                assert await cut_off.hear_names(1) == ["job-0"]
                await (bus.stop() if how == "SIGTERM" else bus.kill())
            bus = await run(EVENTBUS_MAX_DELIVERIES="1")

        async with member(bus) as last:
            assert (await last.hear())["name"] == "job-0"

    async def test_what_a_member_says_it_is_working_on_stays_with_it(self, start: StartBus) -> None:
        bus = await start(MemoryLog(), settings=Settings(ack_wait=1.0))
        async with member(bus, prefetch=1) as busy, member(bus, "other", prefetch=1) as clock:
            [job] = await publish_jobs(bus, 1)
            await busy.hear()
            async with member(bus) as idle:
                waits = asyncio.create_task(hear_jobs(clock, 4))  # three ack waits pass in the other group
                while not waits.done():
                    await busy.say({"action": "working", "seq": [job]})
                    await asyncio.wait([waits], timeout=0.1)
                await ack(busy, job)
                await publish_jobs(bus, 1, "job-next")

                assert await hear_jobs(idle, 1) == [("job-next-0", 1)]

    async def test_a_member_that_comes_back_with_its_work_in_hand_gets_it_no_second_time(self, bus: Bus) -> None:
        async with bus.socket() as first:
            answer = await first.ask(SERVICE | {"group": "g", "after": 0, "prefetch": 2})
            jobs = await publish_jobs(bus, 2)
            await hear_jobs(first, 2)
        hello = SERVICE | {"group": "g", "working": jobs[:1]}

        async with bus.socket() as again:
            await again.ask(hello | {"epoch": answer["epoch"]})
            assert await hear_jobs(again, 1) == [("job-1", 2)]
            await ack(again, jobs[1])
        async with bus.socket() as elsewhere:
            await elsewhere.ask(hello | {"epoch": "of another log"})
            assert await hear_jobs(elsewhere, 1) == [("job-0", 2)]


async def work_until_poisoned(bus: Bus, poison: int, done: list[int]) -> None:
    """Do what comes as a new member, and hang up without a word at the event that kills."""
    async with member(bus, prefetch=500) as doomed:
        while (seq := (await doomed.hear())["seq"]) != poison:
            done.append(seq)
            await ack(doomed, seq)


class TestWhatRetentionTakes:
    async def test_a_group_is_told_and_goes_on_with_the_oldest(self, bus: Bus, log: Log) -> None:
        async with member(bus, after=0):
            pass
        jobs = await publish_jobs(bus, 5)
        await log.trim(keep=2)

        async with bus.socket() as late, bus.socket() as later:
            answer = await late.ask(SERVICE | {"group": "g"})
            assert (answer["gap"], answer["oldest"]) == (True, jobs[3])
            assert await hear_jobs(late, 2) == [("job-3", 1), ("job-4", 1)]
            assert "gap" not in await later.ask(SERVICE | {"group": "g"})

    async def test_a_member_is_closed_when_what_it_held_is_gone_and_due_again(self, bus: Bus, log: Log) -> None:
        async with member(bus, prefetch=1) as lone:
            jobs = await publish_jobs(bus, 2)
            await hear_jobs(lone, 1)
            await log.trim(keep=0)
            await lone.say({"action": "nack", "seq": jobs[0]})

            assert await lone.close_code() == 4408

        async with bus.socket() as again:
            answer = await again.ask(SERVICE | {"group": "g"})
            assert (answer["gap"], answer["oldest"]) == (True, jobs[1] + 1)


async def test_the_place_of_a_group_survives_a_restart(run: StartProcess) -> None:
    bus = await run()
    async with member(bus, after=0) as first:
        jobs = await publish_jobs(bus, 4)
        await hear_jobs(first, 4)
        await ack(first, jobs[0], jobs[2])
        await first.ask({"action": "dance"})  # so that the ack has been heard
    assert await bus.stop() == 0

    bus = await run()

    async with member(bus) as second:
        await publish_jobs(bus, 1, "job-next")
        assert await hear_jobs(second, 3) == [("job-1", 2), ("job-3", 2), ("job-next-0", 1)]


async def test_an_ack_that_was_under_way_when_the_bus_said_goodbye_counts(run: StartProcess) -> None:
    bus = await run()
    async with member(bus, after=0, autoclose=False) as first:
        jobs = await publish_jobs(bus, 4)
        await hear_jobs(first, 4)
        bus.process.send_signal(signal.SIGTERM)
        assert await first.close_code() == 1012
        await ack(first, jobs[0])
        await first.say({"action": "ack"})  # a mistake changes nothing
        await ack(first, jobs[1], jobs[2])
    assert await bus.exit_status() == 0

    bus = await run()

    async with member(bus) as second:
        await publish_jobs(bus, 1, "job-next")
        assert await hear_jobs(second, 2) == [("job-3", 2), ("job-next-0", 1)]


async def test_a_group_gets_nothing_that_its_service_may_not_see_since_a_restart(
    run: StartProcess, services_file: Path
) -> None:
    names = {"names": ["job-*", "task-*"]}
    bus = await run()
    async with member(bus, **names) as first:
        await publish_jobs(bus, 1, "task")
        await publish_jobs(bus, 1)
        await hear_jobs(first, 2)
    assert await bus.stop() == 0
    service = {"name": "everything", "token": "the-service", "subscribe": ["job-*"]}
    services_file.write_text(json.dumps([service]))

    bus = await run()

    async with member(bus, **names) as second:
        await publish_jobs(bus, 1, "job-next")
        assert await hear_jobs(second, 2) == [("job-0", 2), ("job-next-0", 1)]


async def test_nothing_is_lost_for_a_group_when_the_bus_is_killed(run: StartProcess) -> None:
    bus = await run()
    async with member(bus, after=0) as first:
        jobs = await publish_jobs(bus, 4)
        await hear_jobs(first, 2)
        await ack(first, jobs[0])
        await bus.kill()

    bus = await run()

    async with member(bus) as second:
        counts: Counter[str] = Counter()
        while set(counts) < {"job-1", "job-2", "job-3"}:
            [(name, _)] = await hear_jobs(second, 1)
            counts[name] += 1
