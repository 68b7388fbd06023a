"""What POST has answered, GET finds, with each kind of log."""

from __future__ import annotations

import asyncio
import json

import pytest
from bus_under_test import Bus, StartBus
from eventbus.event import Draft
from eventbus.identities import address_of
from eventbus.log import Log, Publisher


@pytest.fixture
async def bus(start: StartBus, log: Log) -> Bus:
    return await start(log)


async def test_a_published_event_is_answered_with_its_place_in_the_log(bus: Bus) -> None:
    answer = await bus.post({"name": "check-domain", "id": "1", "data": ["example.com"]}, authorization="the-service")

    assert (answer.status, answer.headers["Content-Type"]) == (200, "application/json")
    [event] = await bus.events()
    assert answer.json == {"id": "1", "seq": event["seq"]}
    assert (event["name"], event["id"], event["data"]) == ("check-domain", "1", ["example.com"])


async def test_events_is_another_name_for_the_root(bus: Bus) -> None:
    options = {"headers": {"Authorization": "the-service"}}

    published = await bus.request("POST", "/events", data=b'{"name": "hi"}', **options)
    read = await bus.request("GET", "/", **options)

    assert published.status == 200
    assert [event["seq"] for event in read.json] == [published.json["seq"]]


async def test_the_bus_sets_what_a_publisher_cannot(bus: Bus) -> None:
    forged = {"seq": 99, "time": "1999", "source": "everything", "more": "x"}

    await bus.publish("hi", token=await bus.new_token(), **forged)
    await bus.publish("hi", service="the-service", **forged)

    by_client, by_service = await bus.events()
    assert (by_client["source"], by_service["source"]) == ("client", "everything")
    for event in (by_client, by_service):
        assert event["seq"] < 99
        assert event["time"].startswith("20")
        assert set(event) == {"name", "data", "context", "id", "seq", "time", "source"}


async def test_a_repeated_id_is_answered_with_the_first_place(bus: Bus) -> None:
    first = await bus.publish("hi", service="the-service", id="1")

    again = await bus.publish("something-else", service="the-service", id="1", data="other")

    assert again == {"id": "1", "seq": first["seq"], "duplicate": True}
    assert len(await bus.events()) == 1


async def test_a_repeated_id_is_found_among_requests_in_flight(bus: Bus) -> None:
    receipts = await asyncio.gather(*[bus.publish("hi", service="the-service", id="1") for _ in range(20)])

    assert len({receipt["seq"] for receipt in receipts}) == 1
    assert sum("duplicate" in receipt for receipt in receipts) == 19
    assert len(await bus.events()) == 1


async def test_the_same_id_of_another_publisher_is_another_event(bus: Bus) -> None:
    tokens = [await bus.new_token(), await bus.new_token()]
    publishers = [{"token": tokens[0]}, {"token": tokens[1]}, {"service": "the-service"}]

    receipts = [await bus.publish("hi", id="1", **publisher) for publisher in publishers]

    assert not any("duplicate" in receipt for receipt in receipts)
    assert len(await bus.events()) == 3


async def test_a_client_is_not_one_for_its_retry_from_another_socket(bus: Bus) -> None:
    token = await bus.new_token()
    first = await bus.publish("hi", token=token, id="1")

    async with bus.client(token):
        again = await bus.publish("hi", token=token, id="1")

    assert (again["seq"], again["duplicate"]) == (first["seq"], True)


# Tokens and addresses


async def test_the_log_holds_a_client_s_address_and_not_its_token(bus: Bus) -> None:
    async with bus.client() as anna:
        await bus.publish("hi", token=anna.token)
        await bus.publish("hi", service="the-service", context={"identifier": anna.token})
        await bus.publish("hi", service="the-service", context={"identifier": anna.address})

        assert [event["context"] for event in await bus.events()] == [{"identifier": anna.address}] * 3


@pytest.mark.parametrize("identifier", ["", "nobody", "client-nobody", "*"])
async def test_what_else_a_service_writes_as_identifier_is_kept(bus: Bus, identifier: str) -> None:
    await bus.publish("hi", service="the-service", context={"identifier": identifier})

    [event] = await bus.events()
    assert event["context"] == {"identifier": identifier}


async def test_an_expired_token_is_refused(start: StartBus, log: Log) -> None:
    bus = await start(log)
    token = await bus.new_token()
    await log.keep_identities({address_of(token): 1.0}, now=0)
    another_bus = await start(log)  # which has to ask the log

    answer = await another_bus.post({"name": "hi", "context": {"identifier": token}})

    assert answer.status == 401
    assert "expired" in answer.json["detail"]


# Reading


async def test_reading_on_in_another_log_is_refused(bus: Bus) -> None:
    await bus.publish("hi", service="the-service")
    headers = {"Authorization": "the-service"}
    first = await bus.request("GET", "/events", headers=headers)
    epoch = first.headers["EventBus-Epoch"]

    same = await bus.request("GET", f"/events?after=1&epoch={epoch}", headers=headers)
    other = await bus.request("GET", "/events?after=1&epoch=another", headers=headers)

    assert (same.status, same.json) == (200, [])
    assert other.status == 409
    assert other.json["detail"].startswith(f"epoch=another: the log is {epoch} now")


async def test_reading_begins_after_a_position_and_has_a_limit(bus: Bus) -> None:
    seqs = [(await bus.publish("hi", service="the-service"))["seq"] for _ in range(5)]

    assert [event["seq"] for event in await bus.events(f"?after={seqs[1]}&limit=2")] == seqs[2:4]
    assert await bus.events(f"?after={seqs[-1]}") == []
    assert await bus.events("?limit=0") == []


async def test_one_answer_has_a_hundred_events_or_at_most_a_thousand(bus: Bus, log: Log) -> None:
    drafts = [Draft(name="hi") for _ in range(1001)]
    await log.append([(draft, Publisher(source="x", scope="x")) for draft in drafts])

    assert len(await bus.events("")) == 100
    assert len(await bus.events("?limit=1000000")) == 1000


async def test_a_service_reads_only_what_it_subscribes_to(bus: Bus) -> None:
    for name in ("check-domain", "renew-domain", "register-domain"):
        await bus.publish(name, service="the-service")

    events = await bus.events(authorization="the-answerer")

    assert [event["name"] for event in events] == ["check-domain", "register-domain"]


async def test_reading_can_be_narrowed_to_a_pattern(bus: Bus) -> None:
    for name in ("check-domain", "check-name", "register-domain", "renew-domain"):
        await bus.publish(name, service="the-service")

    everything = await bus.events("?name=*-domain")
    subscribed = await bus.events("?name=*-domain", authorization="the-answerer")

    assert [event["name"] for event in everything] == ["check-domain", "register-domain", "renew-domain"]
    assert [event["name"] for event in subscribed] == ["check-domain", "register-domain"]


async def test_reading_can_be_narrowed_to_a_client(bus: Bus) -> None:
    async with bus.client() as anna:
        await bus.publish("check-domain", token=anna.token)
        await bus.publish("check-domain", token=await bus.new_token())

        [event] = await bus.events(f"?identifier={anna.address}")

        assert event["context"] == {"identifier": anna.address}


async def test_events_come_back_as_they_were_published_byte_for_byte(bus: Bus) -> None:
    data = '[1e400, -0.0, 1180591620717411303424, "\\u0000", {"b": 1, "a": 2, "b": 3}, "\U0001f600 \\ud83d\\ude00"]'
    await bus.post(f'{{"name": "hi", "data": {data}}}'.encode(), authorization="the-service")

    answer = await bus.request("GET", "/events", headers={"Authorization": "the-service"})

    assert f'"data":{data},'.encode() in answer.body


async def test_every_plane_of_unicode_comes_through(bus: Bus) -> None:
    text = "".join(chr(point) for point in range(0x110000) if point % 97 == 0 and not 0xD800 <= point < 0xE000)
    await bus.publish("hi", service="the-service", data=text, context={"more": text[:1000]})
    await bus.post(json.dumps({"name": "hi", "data": text}, ensure_ascii=False).encode(), authorization="the-service")

    escaped, raw = await bus.events()

    assert escaped["data"] == raw["data"] == text
    assert escaped["context"] == {"more": text[:1000]}
