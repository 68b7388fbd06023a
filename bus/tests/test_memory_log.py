"""What is special about the log in memory."""

from __future__ import annotations

from eventbus.event import Draft
from eventbus.log import Publisher
from eventbus.log.memory import MemoryLog
from msgspec import Raw

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


async def test_it_is_bounded_in_bytes_whatever_the_events_are_like() -> None:
    log = MemoryLog(max_bytes=100_000)

    for size in [10] * 300 + [20_000] * 20 + [10] * 20 + [90_000] * 2 + [10]:
        await log.append([(Draft(name="hi", data=Raw(b'"%b"' % (b"x" * size))), ANNA)])

        kept = await log.read(after=0, limit=1000)
        assert 0 < sum(len(event.json) for event in kept) <= 100_000
        assert [event.seq for event in kept] == [*range(log.trimmed + 1, log.head + 1)]
