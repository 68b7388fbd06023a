"""`kill -9` in the middle of a publishing load: what was answered 200 is in the log, once, in order."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import pytest
from aiohttp import ClientError
from bus_under_test import Bus, BusProcess, StartProcess

PUBLISHERS = 8
BEFORE_THE_KILL = 60  # answers, in all


@dataclass
class Publisher:
    """One after the other, each event is published until it is answered 200, over restarts too."""

    name: str
    answered: dict[str, int] = field(default_factory=dict)  # the seq of each id
    next_number: int = 0

    async def publish(self, bus: Bus) -> None:
        """Publish for as long as the bus is there."""
        while True:
            event_id = f"{self.name}-{self.next_number}"
            try:
                answer = await bus.post({"name": "hi", "id": event_id}, authorization="the-service")
            except (ClientError, ConnectionError):
                return
            assert answer.status == 200
            self.answered[event_id] = answer.json["seq"]
            self.next_number += 1


@pytest.mark.parametrize("sync", ["full", "normal"])
async def test_whatever_was_answered_200_is_in_the_log_once_and_in_order(
    run: StartProcess, tmp_path: object, sync: str
) -> None:
    publishers = [Publisher(str(number)) for number in range(PUBLISHERS)]

    for _ in range(3):
        bus = await run(EVENTBUS_LOG=f"sqlite:{tmp_path}/events.db?sync={sync}")
        await _publish_and_kill(bus, publishers)

    bus = await run(EVENTBUS_LOG=f"sqlite:{tmp_path}/events.db?sync={sync}")
    events = await _all_events(bus)
    seqs = {event["id"]: event["seq"] for event in events}
    assert len(seqs) == len(events)
    assert [event["seq"] for event in events] == sorted(seqs.values())
    for publisher in publishers:
        assert publisher.answered.items() <= seqs.items()
        assert list(publisher.answered.values()) == sorted(publisher.answered.values())
    unanswered = len(events) - sum(len(publisher.answered) for publisher in publishers)
    assert 0 <= unanswered <= PUBLISHERS  # at most what each had under way when it was killed the last time


async def _publish_and_kill(bus: BusProcess, publishers: list[Publisher]) -> None:
    publishing = [asyncio.create_task(publisher.publish(bus)) for publisher in publishers]
    async with bus.service() as service:
        await service.hear_names(BEFORE_THE_KILL)
        await bus.kill()
    await asyncio.gather(*publishing)


async def _all_events(bus: Bus) -> list[dict[str, object]]:
    events: list[dict[str, object]] = []
    while page := await bus.events(f"?limit=1000&after={events[-1]['seq'] if events else 0}"):
        events += page
    return events
