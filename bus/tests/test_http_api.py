"""POST and GET: what they answer, who may, and what the log holds afterwards."""

from __future__ import annotations

import asyncio
import json

import pytest
from bus_under_test import ORIGIN, Bus, StartBus
from eventbus.config import Settings
from eventbus.event import Draft
from eventbus.identities import address_of, new_token
from eventbus.log import Log, Publisher, open_log

WRONG_HEADERS = ["", "wrong", "Bearer", "Bearer ", "Bearer wrong", "Basic the-service", "the-service x", "The-Service"]


@pytest.fixture
async def bus(start: StartBus, log: Log) -> Bus:
    """With each kind of log."""
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


# Who may publish


@pytest.mark.parametrize("header", ["the-service", "Bearer the-service", "bearer the-service", "BEARER  the-service"])
async def test_a_service_is_known_by_the_raw_token_or_a_bearer_token(bus: Bus, header: str) -> None:
    answer = await bus.post({"name": "hi"}, authorization=header)

    assert answer.status == 200


@pytest.mark.parametrize("header", WRONG_HEADERS)
async def test_a_wrong_header_is_refused_even_beside_a_valid_token(bus: Bus, header: str) -> None:
    event = {"name": "hi", "context": {"identifier": await bus.new_token()}}

    answer = await bus.post(event, authorization=header)

    assert (answer.status, answer.json["title"]) == (401, "Authorization required")
    assert "services file" in answer.json["detail"]
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert await bus.events() == []


@pytest.mark.parametrize("identifier", [None, "", "made-up", "token-", "client-0123", "the-service", new_token()])
async def test_without_a_valid_token_nobody_may_publish(bus: Bus, identifier: str | None) -> None:
    answer = await bus.post({"name": "hi", "context": {} if identifier is None else {"identifier": identifier}})

    assert answer.status == 401
    assert "context.identifier" in answer.json["detail"]
    assert await bus.events() == []


async def test_an_address_is_not_enough_to_publish(bus: Bus) -> None:
    async with bus.client() as anna:
        answer = await bus.post({"name": "hi", "context": {"identifier": anna.address}})

    assert answer.status == 401


async def test_a_client_token_is_no_authorization_header(bus: Bus) -> None:
    token = await bus.new_token()

    answer = await bus.post({"name": "hi", "context": {"identifier": token}}, authorization=token)

    assert answer.status == 401


async def test_an_expired_token_is_refused(start: StartBus, log: Log) -> None:
    bus = await start(log)
    token = await bus.new_token()
    await log.keep_identities({address_of(token): 1.0}, now=0)
    another_bus = await start(log)  # which has to ask the log

    answer = await another_bus.post({"name": "hi", "context": {"identifier": token}})

    assert answer.status == 401
    assert "expired" in answer.json["detail"]


@pytest.mark.parametrize("name", ["check-domain-completed", "-completed", "eventbus.dead-letter", "eventbus."])
async def test_a_client_may_not_publish_an_answer_nor_what_is_the_bus_s_own(bus: Bus, name: str) -> None:
    answer = await bus.post({"name": name, "context": {"identifier": await bus.new_token()}})

    assert (answer.status, answer.json["title"]) == (403, "Not allowed")
    assert name in answer.json["detail"]
    assert await bus.events() == []


async def test_a_service_may_publish_only_its_own_names(bus: Bus) -> None:
    allowed = await bus.post({"name": "check-domain-completed"}, authorization="the-answerer")
    refused = await bus.post({"name": "check-domain"}, authorization="the-answerer")

    assert (allowed.status, refused.status) == (200, 403)
    assert "'answerer' may not publish 'check-domain', only *-completed" in refused.json["detail"]


async def test_no_service_may_publish_what_is_the_bus_s_own(bus: Bus) -> None:
    answer = await bus.post({"name": "eventbus.dead-letter"}, authorization="the-service")

    assert answer.status == 403
    assert answer.json["detail"].startswith("nobody but the bus may publish 'eventbus.dead-letter'")


async def test_which_events_clients_may_publish_is_a_setting(start: StartBus) -> None:
    settings = Settings.from_env({"EVENTBUS_CLIENT_EVENTS": "check-*"})
    bus = await start(open_log("memory:"), settings)
    context = {"identifier": await bus.new_token()}

    answers = [await bus.post({"name": name, "context": context}) for name in ("check-domain", "register-domain")]

    assert [answer.status for answer in answers] == [200, 403]


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


# Reading


@pytest.mark.parametrize("header", [None, *WRONG_HEADERS])
async def test_reading_needs_a_service_s_token(bus: Bus, header: str | None) -> None:
    headers = {} if header is None else {"Authorization": header}

    answer = await bus.request("GET", "/events", headers=headers)

    assert answer.status == 401


async def test_a_client_s_token_is_not_enough_to_read(bus: Bus) -> None:
    answer = await bus.request("GET", "/events", headers={"Authorization": await bus.new_token()})

    assert answer.status == 401


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


@pytest.mark.parametrize(
    "query",
    ["after=x", "after=-1", "after=1.5", "after=1e3", "after=", "limit=%D9%A3", "limit=1" + "0" * 18, "name=a+b"],
)
async def test_a_query_that_makes_no_sense_is_refused(bus: Bus, query: str) -> None:
    answer = await bus.request("GET", f"/events?{query}", headers={"Authorization": "the-service"})

    assert (answer.status, answer.json["title"]) == (400, "Bad parameter")
    assert query.split("=", maxsplit=1)[0] in answer.json["detail"]


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


# Everything else


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nothing", 404),
        ("POST", "/ws", 405),
        ("DELETE", "/events", 405),
        ("PUT", "/", 405),
        ("POST", "/healthz", 405),
        ("GET", "/%ff", 404),
        ("GET", "/ws", 400),
    ],
)
async def test_what_is_not_to_be_had_is_a_problem_too(bus: Bus, method: str, path: str, status: int) -> None:
    answer = await bus.request(method, path, headers={"Origin": ORIGIN})

    assert (answer.status, answer.headers["Content-Type"]) == (status, "application/problem+json")
    assert answer.json["status"] == status
    assert answer.json["type"] == "about:blank"
    assert answer.headers["Access-Control-Allow-Origin"] == ORIGIN
    assert ("Allow" in answer.headers) == (status == 405)


async def test_a_bus_that_lives_and_can_write_says_so(bus: Bus) -> None:
    alive, ready = await bus.request("GET", "/healthz"), await bus.request("GET", "/readyz")

    assert (alive.status, alive.json) == (200, {"status": "alive"})
    assert (ready.status, ready.json) == (200, {"status": "ready"})


async def test_two_authorization_headers_are_no_right(bus: Bus) -> None:
    head = b"POST / HTTP/1.1\r\nHost: bus\r\nConnection: close\r\nContent-Length: 14\r\n"
    right, wrong = b"Authorization: the-service\r\n", b"Authorization: guess\r\n"

    for headers in (right + wrong, wrong + right, right + right):
        assert b" 401 " in (await bus.raw(head + headers + b'\r\n{"name": "hi"}')).splitlines()[0]
    assert await bus.events() == []
