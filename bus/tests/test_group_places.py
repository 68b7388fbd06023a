"""What the bus remembers of groups when the log fails, and when the bus is killed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

import msgspec
import pytest
from bus_under_test import PATIENCE
from eventbus.event import Draft
from eventbus.groups.dead_letters import DEAD_LETTER
from eventbus.groups.local import LocalGroups
from eventbus.groups.place import Place
from eventbus.log import GroupKey, Log, Publisher
from eventbus.outlet import Piece
from eventbus.patterns import Patterns
from eventbus.problems import LogUnavailable

KEY = ("everything", "g")
JOBS = Patterns(["job-*"])


class TroubledLog:
    """A log that keeps no places while it is `full`."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self.full = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log, name)

    async def keep_group_places(self, places: Mapping[GroupKey, bytes]) -> None:
        if self.full:
            raise LogUnavailable("the log cannot be written: database or disk is full")
        await self._log.keep_group_places(places)


class Outlet:
    """A member's socket: collects what it is sent."""

    full = False
    excused = False

    def __init__(self) -> None:
        self.heard: asyncio.Queue[Any] = asyncio.Queue()
        self.parted = asyncio.Event()

    def write(self, piece: Piece) -> None:
        for event in piece.events:
            self.heard.put_nowait(json.loads(event.json))

    async def drained(self) -> None:
        pass

    def failed(self) -> None:
        raise AssertionError

    def overtaken(self) -> None:
        self.full = True  # as a connection that says goodbye is
        self.parted.set()

    async def hear(self) -> str:
        """Wait for an event; return its name."""
        async with asyncio.timeout(PATIENCE):
            return str((await self.heard.get())["name"])


@pytest.fixture
async def troubled(log: Log) -> AsyncIterator[Any]:
    yield TroubledLog(log)
    await log.close()


def groups_of(log: Log) -> LocalGroups:
    """The groups of a bus that has just been started on this log."""
    return LocalGroups(log, ack_wait=30.0, max_deliveries=3)


async def append(log: Log, *names: str) -> None:
    await log.append([(Draft(name=name), Publisher(source="client", scope="client-anna")) for name in names])


async def kept_cursor(log: Log) -> int | None:
    """How far the group had come, as a bus that is started now would find it."""
    place = await log.group_place(KEY)
    return msgspec.json.decode(place, type=Place).cursor if place else None


async def test_a_place_that_could_not_be_kept_is_kept_in_the_next_turn(troubled: Any) -> None:
    groups = groups_of(troubled)
    delivery = await groups.create(KEY, after=0)
    await append(troubled, "job-1")
    member = Outlet()
    with delivery.joined(member, names=JOBS, prefetch=1):
        await member.hear()
    troubled.full = True
    with pytest.raises(LogUnavailable):
        await groups.keep_places()
    troubled.full = False

    await groups.keep_places()

    assert await kept_cursor(troubled) == 1


async def test_a_group_that_could_not_be_kept_when_it_was_made_is_kept_in_the_next_turn(troubled: Any) -> None:
    groups = groups_of(troubled)
    troubled.full = True
    with pytest.raises(LogUnavailable):
        await groups.create(KEY, after=7)
    troubled.full = False

    await groups.keep_places()

    assert await kept_cursor(troubled) == 7


async def test_nobody_joins_a_group_whose_place_is_nowhere_but_in_memory(troubled: Any) -> None:
    groups = groups_of(troubled)
    troubled.full = True
    with pytest.raises(LogUnavailable):
        await groups.create(KEY, after=7)

    with pytest.raises(LogUnavailable):  # if the bus died now, the group would begin anew wherever the log ends then
        await groups.find(KEY)
    troubled.full = False

    assert await groups.find(KEY)
    assert await kept_cursor(troubled) == 7


async def test_a_bus_killed_between_a_dead_letter_and_the_keeping_of_the_place_makes_no_second_one(
    troubled: Any,
) -> None:
    await append(troubled, "job-bad", "job-good")
    await troubled.keep_group_places({KEY: msgspec.json.encode(Place(cursor=1, pending={1: 3}, attempts={1: 3}))})

    for _ in range(2):  # the second bus knows what the first one had kept, which is nothing
        delivery = await groups_of(troubled).find(KEY)
        assert delivery
        member = Outlet()
        with delivery.joined(member, names=JOBS, prefetch=1):
            assert await member.hear() == "job-good"  # the other was given up before

    [letter] = await troubled.read(after=0, limit=100, names=Patterns([DEAD_LETTER]))
    assert json.loads(bytes(letter.content.data))["name"] == "job-bad"


async def test_an_event_at_the_same_position_of_another_log_has_a_dead_letter_of_its_own(troubled: Any) -> None:
    await append(troubled, "job-bad", "job-good")

    for epoch in ("one", "another"):
        troubled.epoch = epoch
        await troubled.keep_group_places({KEY: msgspec.json.encode(Place(cursor=1, pending={1: 3}, attempts={1: 3}))})
        delivery = await groups_of(troubled).find(KEY)
        assert delivery
        member = Outlet()
        with delivery.joined(member, names=JOBS, prefetch=1):
            assert await member.hear() == "job-good"

    assert len(await troubled.read(after=0, limit=100, names=Patterns([DEAD_LETTER]))) == 2
