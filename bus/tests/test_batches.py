"""Many events in one request: all of them or none, and each is judged by itself."""

from __future__ import annotations

import json
from typing import Any

import pytest
from bus_under_test import Bus, StartBus
from eventbus.config import Settings
from eventbus.log import Log
from eventbus.log.by_url import open_log


@pytest.fixture
async def bus(start: StartBus, log: Log) -> Bus:
    return await start(log)


async def publish(bus: Bus, *events: Any, service: str | None = "the-service") -> Any:
    answer = await bus.post(list(events), authorization=service)
    assert answer.status == 200, answer
    return answer.json


def job(number: int, **fields: Any) -> dict[str, Any]:
    return {"name": f"job-{number}", "id": str(number), **fields}


async def test_a_batch_is_stored_and_delivered_in_its_order(bus: Bus) -> None:
    async with bus.service() as service:
        receipts = await publish(bus, *[job(number) for number in range(1_000)])

        assert receipts == {"events": [{"id": str(number), "seq": number + 1} for number in range(1_000)]}
        assert await service.hear_names(1_000) == [f"job-{number}" for number in range(1_000)]


async def test_space_before_a_batch_changes_nothing(bus: Bus) -> None:
    answer = await bus.post(b' \t\r\n[{"name": "a", "data": [1e400, "\\u0000"]}]', authorization="the-service")

    assert answer.status == 200
    stored = await bus.request("GET", "/events", headers={"Authorization": "the-service"})
    assert b'"data":[1e400, "\\u0000"]' in stored.body


async def test_a_repeated_id_in_a_batch_is_a_duplicate(bus: Bus) -> None:
    before = await publish(bus, job(1))
    receipts = await publish(bus, job(1), job(2), job(2, data="other"))
    again = await publish(bus, job(2))

    first, second = before["events"][0], {"id": "2", "seq": before["events"][0]["seq"] + 1}
    assert receipts == {"events": [first | {"duplicate": True}, second, second | {"duplicate": True}]}
    assert again == {"events": [second | {"duplicate": True}]}
    assert [event["id"] for event in await bus.events()] == ["1", "2"]


async def test_several_clients_may_share_a_batch(bus: Bus) -> None:
    async with bus.client() as anna, bus.client() as ben:
        await publish(
            bus,
            *[job(1, context={"identifier": client.token}) for client in (anna, ben)],
            service=None,
        )

        assert (await anna.hear())["context"]["identifier"] == anna.address
        assert (await ben.hear())["context"]["identifier"] == ben.address
    assert [event["id"] for event in await bus.events()] == ["1", "1"]


@pytest.mark.parametrize(
    ("wrong", "status", "said"),
    [
        ('{"name": ""}', 422, "event 2 of the batch: name: expected"),
        ('["name"]', 422, "event 2 of the batch: Expected `object`"),
        ("7", 422, "event 2 of the batch: Expected `object`"),
        ('{"name": "a", "data": "\\ud800"}', 400, "JSON is malformed"),
        ('{"name": "a", "data": %s}' % ("[" * 65 + "]" * 65), 422, "event 2 of the batch: data: nested"),
        ('{"name": "a", "data": "%s"}' % ("x" * 300_000), 413, "event 2 of the batch: the event has"),
        ('{"name": "eventbus.mine"}', 403, "event 2 of the batch: nobody but the bus may publish"),
    ],
)
async def test_one_wrong_event_and_none_is_stored(bus: Bus, wrong: str, status: int, said: str) -> None:
    body = f'[{json.dumps(job(0))}, {json.dumps(job(1))}, {wrong}, {json.dumps(job(3))}, {{"name": ""}}]'

    answer = await bus.post(body.encode(), authorization="the-service")

    assert (answer.status, answer.json["status"]) == (status, status)
    assert said in answer.json["detail"]
    assert await bus.events() == []


async def test_one_client_s_token_does_not_cover_another_s_event(bus: Bus) -> None:
    token = await bus.new_token()
    events = [job(1, context={"identifier": token}), job(2), job(3, context={"identifier": "client-anna"})]

    answer = await bus.post(events)

    assert answer.status == 401
    assert answer.json["detail"].startswith("event 1 of the batch: context.identifier is not a token")
    assert await bus.events() == []


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        (b"[]", 422, "the batch is empty"),
        (b"[1,", 400, "truncated"),
        (b'[{"name": "a"}', 400, "truncated"),
        (b'[{"name": "a"}] x', 400, "trailing"),
        (b'[{"name": "\xff"}]', 400, "not UTF-8"),
        (b"[" * 100_000, 400, "nested too deep"),
    ],
)
async def test_what_is_no_batch(bus: Bus, body: bytes, status: int, said: str) -> None:
    answer = await bus.post(body, authorization="the-service")

    assert answer.status == status
    assert said in answer.json["detail"]
    assert await bus.events() == []


async def test_the_depth_of_a_batch_is_looked_at_once(bus: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    looked_at: list[bytes] = []
    monkeypatch.setattr("eventbus.event._nesting", lambda json, limit: looked_at.append(json) or 0)
    body = json.dumps([job(1, data=[1]), job(2, data=[2])]).encode()

    assert (await bus.post(body, authorization="the-service")).status == 200
    assert [*map(bytes, looked_at)] == [body, b"[1]", b"[2]"]


async def test_a_batch_has_a_limit(start: StartBus) -> None:
    bus = await start(open_log("memory:"), Settings(max_batch=2))
    await publish(bus, job(1), job(2))

    answer = await bus.post([job(3), job(4), job(5)], authorization="the-service")

    assert (answer.status, answer.json["detail"]) == (413, "the batch has 3 events; the limit is 2")
