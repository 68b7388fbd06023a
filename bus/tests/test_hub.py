"""Delivery: each subscriber has a cursor in the log, and its own pace."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import pytest
from bus_under_test import PATIENCE
from eventbus import hub as hub_module
from eventbus import subscription
from eventbus.event import Draft, Event
from eventbus.hub import Hub
from eventbus.log import READ_LIMIT, Log, Publisher
from eventbus.outlet import Piece
from eventbus.patterns import Patterns
from eventbus.problems import LogUnavailable
from eventbus.routing import Client, Service

ANNA = Publisher(source="client", scope="client-anna")
EVERYTHING = Service(name="everything")


class Outlet:
    """Takes events; full once a number of them waits to be read. Counts what is written, and what while it was full."""

    excused = False

    def __init__(self, capacity: float = float("inf")) -> None:
        self.capacity = capacity
        self.waiting: list[str] = []
        self.taken: list[str] = []
        self.writes: list[Piece] = []
        self.writes_while_full = 0
        self._changed = asyncio.Condition()
        self._written = asyncio.Event()
        self._gone = False
        self.was_overtaken = False

    def failed(self) -> None:
        raise AssertionError

    def overtaken(self) -> None:
        self.was_overtaken = True
        self._written.set()

    @property
    def full(self) -> bool:
        return len(self.waiting) >= self.capacity

    def write(self, piece: Piece) -> None:
        self.writes.append(piece)
        self.writes_while_full += self.full
        self.waiting += [event.name for event in piece.events]
        self._written.set()

    async def drained(self) -> None:
        async with self._changed:
            await self._changed.wait_for(lambda: self._gone or not self.full)
        if self._gone:
            raise ConnectionResetError("gone")

    async def take(self) -> None:
        """Read all that waits, as the other side."""
        async with self._changed:
            self.taken += self.waiting
            self.waiting.clear()
            self._changed.notify_all()

    async def hang_up(self) -> None:
        async with self._changed:
            self._gone = True
            self._changed.notify_all()

    async def has_something(self) -> None:
        async with asyncio.timeout(PATIENCE):
            await self._written.wait()

    async def has_taken(self, names: list[str]) -> None:
        """Read on until these have come, and nothing else."""
        await self.has_taken_so_many(len(names))
        assert self.taken == names

    async def has_taken_so_many(self, count: int) -> None:
        async with asyncio.timeout(PATIENCE):
            while len(self.taken) < count:
                self._written.clear()
                await self.take()
                if len(self.taken) < count:
                    await self._written.wait()


@pytest.fixture
async def hub(log: Log) -> AsyncIterator[Hub]:
    hub = Hub(log)
    running = asyncio.create_task(hub.run())
    yield hub
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running
    await log.close()


async def append(log: Log, *names: str, to: str | None = None) -> None:
    context = {"identifier": to} if to else {}
    await log.append([(Draft(name=name, context=context), ANNA) for name in names])


def numbered(prefix: str, count: int) -> list[str]:
    return [f"{prefix}-{number}" for number in range(count)]


async def test_events_come_in_the_order_of_the_log(hub: Hub, log: Log) -> None:
    outlet = Outlet()

    with hub.connected(EVERYTHING, outlet, after=log.head):
        await asyncio.gather(*[append(log, name) for name in numbered("a", 100)])

        await outlet.has_taken([event.name for event in await log.read(after=0, limit=1000)])


async def test_what_is_read_at_once_goes_in_one_piece_that_is_shared(hub: Hub, log: Log) -> None:
    one, two, anna, some = Outlet(), Outlet(), Outlet(), Outlet()

    with (
        hub.connected(EVERYTHING, one, after=0),
        hub.connected(EVERYTHING, two, after=0),
        hub.connected(Client("client-anna"), anna, after=0),
        hub.connected(Service(name="some", subscribe=Patterns(["a-1*"])), some, after=0),
    ):
        await log.append(
            [(Draft(name=name, context={"identifier": "client-anna"}), ANNA) for name in numbered("a", 20)]
        )
        for outlet in (one, two, anna):
            await outlet.has_taken(numbered("a", 20))
        await some.has_taken([name for name in numbered("a", 20) if name.startswith("a-1")])

    assert one.writes[0] is two.writes[0]
    assert [len(outlet.writes) for outlet in (one, two, anna, some)] == [1, 1, 1, 1]


async def test_one_that_comes_in_the_middle_of_what_is_read_at_once_gets_the_rest(hub: Hub, log: Log) -> None:
    outlet = Outlet()
    await append(log, *"abcdef")  # the hub has not read these yet

    with hub.connected(EVERYTHING, outlet, after=3):
        await outlet.has_taken(list("def"))


async def test_only_what_comes_after_the_connection_is_delivered(hub: Hub, log: Log) -> None:
    outlet = Outlet()
    await append(log, "before")

    with hub.connected(EVERYTHING, outlet, after=log.head):
        await append(log, "after")

        await outlet.has_taken(["after"])


async def test_a_subscriber_that_left_gets_nothing_more(hub: Hub, log: Log) -> None:
    left, there = Outlet(), Outlet()

    with hub.connected(EVERYTHING, there, after=log.head):
        with hub.connected(EVERYTHING, left, after=log.head):
            pass
        await append(log, "a")
        await there.has_taken(["a"])

    assert left.waiting == []


async def test_each_gets_what_it_should(hub: Hub, log: Log) -> None:
    some, anna, anna_again, bert = Outlet(), Outlet(), Outlet(), Outlet()

    with (
        hub.connected(Service(name="some", subscribe=Patterns(["check-*"])), some, after=0),
        hub.connected(Client("client-anna"), anna, after=0),
        hub.connected(Client("client-anna"), anna_again, after=0),
        hub.connected(Client("client-bert"), bert, after=0),
    ):
        await append(log, "check-1", to="client-anna")
        await append(log, "register-1", to="client-anna")
        await append(log, "check-2", "register-2")
        await append(log, "last", to="client-bert")

        await bert.has_taken(["last"])
        await some.has_taken(["check-1", "check-2"])
        for outlet in (anna, anna_again):
            await outlet.has_taken(["check-1", "register-1"])


async def test_who_is_connected_is_known_until_the_last_socket_of_an_address_leaves(hub: Hub) -> None:
    with hub.connected(Client("client-anna"), Outlet(), after=0):
        with hub.connected(Client("client-anna"), Outlet(), after=0), hub.connected(EVERYTHING, Outlet(), after=0):
            assert hub.addresses == ["client-anna"]
        assert hub.addresses == ["client-anna"]
    assert hub.addresses == []


@pytest.mark.parametrize("subscriber", [EVERYTHING, Client("client-anna")])
async def test_one_that_stops_reading_misses_nothing_and_costs_the_others_nothing(
    hub: Hub, log: Log, subscriber: Client | Service
) -> None:
    slow, quick = Outlet(capacity=5), Outlet()
    names = numbered("a", READ_LIMIT + 50)

    with hub.connected(subscriber, slow, after=0), hub.connected(subscriber, quick, after=0):
        for name in names:
            await append(log, name, to="client-anna")
            await append(log, f"other-{name}", to="client-bert")
        heard = sorted([*names, *([f"other-{n}" for n in names] if subscriber is EVERYTHING else [])])
        await quick.has_taken_so_many(len(heard))

        expected = quick.taken
        assert sorted(expected) == heard
        await slow.has_taken(expected)
        await append(log, "live-again", to="client-anna")
        await slow.has_taken([*expected, "live-again"])
        assert slow.writes_while_full == 0


async def test_one_that_catches_up_while_events_come_has_no_gap_and_no_repeat(hub: Hub, log: Log) -> None:
    slow = Outlet(capacity=2)
    names = numbered("a", 200)

    with hub.connected(EVERYTHING, slow, after=0):
        publishing = asyncio.create_task(_append_all(log, names))
        await slow.has_taken(names)
        await publishing


async def _append_all(log: Log, names: list[str]) -> None:
    for name in names:
        await append(log, name)
        await asyncio.sleep(0)


async def test_one_that_hangs_up_while_it_is_behind_harms_nobody(hub: Hub, log: Log) -> None:
    slow, quick = Outlet(capacity=1), Outlet()

    with hub.connected(EVERYTHING, quick, after=0):
        with hub.connected(EVERYTHING, slow, after=0):
            await append(log, "a")
            await quick.has_taken(["a"])
            await append(log, "b", "c")
            await quick.has_taken(["a", "b", "c"])
            await slow.hang_up()
        await append(log, "d")
        await quick.has_taken(["a", "b", "c", "d"])


async def test_one_that_leaves_while_it_is_behind_is_not_read_for_any_more(hub: Hub, log: Log) -> None:
    slow, quick = Outlet(capacity=1), Outlet()

    with hub.connected(EVERYTHING, quick, after=0):
        with hub.connected(EVERYTHING, slow, after=0):
            await append(log, "a")
            await quick.has_taken(["a"])
            await append(log, "b", "c")
            await quick.has_taken(["a", "b", "c"])
        await slow.take()
        await append(log, "d")
        await quick.has_taken(["a", "b", "c", "d"])

    assert slow.taken == ["a"]
    assert slow.waiting == []


class FailingReads:
    """A log whose reads fail as often as they are told to."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self.failures = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log, name)

    async def read(self, **options: Any) -> list[Event]:
        if self.failures:
            self.failures -= 1
            raise LogUnavailable("the log cannot be read: disk I/O error")
        return await self._log.read(**options)


class TestWhileTheLogCannotBeRead:
    @pytest.fixture
    def log(self, log: Log, monkeypatch: pytest.MonkeyPatch) -> Any:
        for module in (hub_module, subscription):
            monkeypatch.setattr(module, "RETRY_READING", 0.01)
        return FailingReads(log)

    async def test_delivery_waits_and_then_goes_on(self, hub: Hub, log: Any, caplog: pytest.LogCaptureFixture) -> None:
        outlet = Outlet()
        log.failures = 3

        with hub.connected(EVERYTHING, outlet, after=0):
            await append(log, "a", "b")
            await outlet.has_taken(["a", "b"])

        errors = [record.message for record in caplog.records if record.levelno == logging.ERROR]
        assert errors == ["the log cannot be read: disk I/O error; trying again in 0.01 s"] * 3

    async def test_catching_up_waits_and_then_goes_on(
        self, hub: Hub, log: Any, caplog: pytest.LogCaptureFixture
    ) -> None:
        slow, quick = Outlet(capacity=1), Outlet()

        with hub.connected(EVERYTHING, slow, after=0), hub.connected(EVERYTHING, quick, after=0):
            await append(log, "a")
            await quick.has_taken(["a"])
            await append(log, "b", "c")
            await quick.has_taken(["a", "b", "c"])
            log.failures = 2
            await slow.has_taken(["a", "b", "c"])

        assert caplog.text.count("the log cannot be read: disk I/O error; trying again") == 2


async def test_one_that_is_far_behind_is_not_taken_for_live_after_one_read(hub: Hub, log: Log) -> None:
    slow = Outlet(capacity=1)
    names = numbered("a", 2 * READ_LIMIT + 50)

    with hub.connected(EVERYTHING, slow, after=0):
        await log.append([(Draft(name=name), ANNA) for name in names])
        await slow.has_something()  # and so is behind: the rest does not fit
        slow.capacity = float("inf")

        await slow.has_taken(names)


async def test_who_is_live_is_told_if_all_was_trimmed_before_it_could_be_read(log: Log) -> None:
    hub, outlet = Hub(log), Outlet()
    with hub.connected(EVERYTHING, outlet, after=0):
        await append(log, *"abc")
        await log.trim(keep=0)

        running = asyncio.create_task(hub.run())

        await outlet.has_something()
        running.cancel()
    assert outlet.was_overtaken
    await log.close()


class TrimmedJustBeforeARead:
    """A log of which retention takes all but the newest event when it is read next, if it is told so."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self.trim_at_next_read = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log, name)

    async def read(self, **options: Any) -> list[Event]:
        if self.trim_at_next_read:
            self.trim_at_next_read = False
            await self._log.trim(keep=1)
        return await self._log.read(**options)


class TestWhatRetentionTakesInTheMiddle:
    @pytest.fixture
    def log(self, log: Log) -> Any:
        return TrimmedJustBeforeARead(log)

    async def test_one_that_catches_up_is_told_of_what_goes_just_before_it_is_read(self, hub: Hub, log: Any) -> None:
        late, live = Outlet(), Outlet()
        with hub.connected(EVERYTHING, live, after=0):
            await append(log, "a", "b", "c")
            await live.has_taken(["a", "b", "c"])  # by now the hub waits for more, and reads no more itself
            log.trim_at_next_read = True

            with hub.connected(EVERYTHING, late, after=0):
                await late.has_something()

        assert late.was_overtaken
        assert late.waiting == []
        assert not live.was_overtaken

    async def test_those_that_are_live_are_told_of_what_goes_before_the_hub_has_read_it(
        self, hub: Hub, log: Any
    ) -> None:
        live = Outlet()
        with hub.connected(EVERYTHING, live, after=0):
            await append(log, "a")
            await live.has_taken(["a"])
            live._written.clear()
            log.trim_at_next_read = True

            await append(log, "b", "c", "d")
            await live.has_something()

        assert live.was_overtaken
        assert live.waiting == []
