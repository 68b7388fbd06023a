"""What is special about the log in memory."""

from __future__ import annotations

from eventbus.event import Draft
from eventbus.log import Publisher
from eventbus.log.memory import MemoryLog

ANNA = Publisher(source="client", scope="client-anna")


async def test_it_keeps_only_the_newest_events() -> None:
    log = MemoryLog(capacity=100)

    for number in range(1000):
        await log.append([(Draft(name="hi", id=str(number)), ANNA)])

    events = await log.read(after=0, limit=1000)
    assert 90 <= len(events) <= 100
    assert [event.seq for event in events] == list(range(1001 - len(events), 1001))
    assert [event.seq for event in await log.read(after=998, limit=10)] == [999, 1000]


async def test_it_forgets_the_ids_of_the_events_that_went() -> None:
    log = MemoryLog(capacity=10)
    await log.append([(Draft(name="hi", id=str(number)), ANNA) for number in range(100)])

    newest, oldest = await log.append([(Draft(name="hi", id="99"), ANNA), (Draft(name="hi", id="0"), ANNA)])

    assert newest.duplicate
    assert not oldest.duplicate
