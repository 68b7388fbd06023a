"""POST and GET: who may, what is refused, and what is none of theirs. `test_events_over_http` has the rest."""

from __future__ import annotations

import asyncio
import json

import pytest
from bus_under_test import ORIGIN, PATIENCE, Bus, StartBus, below_aiohttp
from eventbus.config import Settings, default_origins
from eventbus.log.by_url import open_log

WRONG_HEADERS = ["", "wrong", "Bearer", "Bearer ", "Bearer wrong", "Basic the-service", "the-service x", "The-Service"]


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


@pytest.mark.parametrize(
    "identifier", [None, "", "made-up", "token-", "token-" + 43 * "x", "client-0123", "the-service"]
)
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


# Reading


@pytest.mark.parametrize("header", [None, *WRONG_HEADERS])
async def test_reading_needs_a_service_s_token(bus: Bus, header: str | None) -> None:
    headers = {} if header is None else {"Authorization": header}

    answer = await bus.request("GET", "/events", headers=headers)

    assert answer.status == 401


async def test_a_client_s_token_is_not_enough_to_read(bus: Bus) -> None:
    answer = await bus.request("GET", "/events", headers={"Authorization": await bus.new_token()})

    assert answer.status == 401


@pytest.mark.parametrize(
    "query",
    ["after=x", "after=-1", "after=1.5", "after=1e3", "after=", "limit=%D9%A3", "limit=1" + "0" * 18, "name=a+b"],
)
async def test_a_query_that_makes_no_sense_is_refused(bus: Bus, query: str) -> None:
    answer = await bus.request("GET", f"/events?{query}", headers={"Authorization": "the-service"})

    assert (answer.status, answer.json["title"]) == (400, "Bad parameter")
    assert query.split("=", maxsplit=1)[0] in answer.json["detail"]


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


async def test_a_browser_that_opens_the_bus_is_told_in_one_line_where_the_page_is(bus: Bus) -> None:
    accept = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"

    answer = await bus.request("GET", "/", headers={"Accept": accept})

    assert answer.status == 200
    assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert answer.body.decode().splitlines() == [
        "This is an event bus: it speaks with programs. The page is at http://localhost:3000"
    ]


@pytest.mark.parametrize(
    ("settings", "page"),
    [
        (Settings(file_server_host="::", allowed_origins=default_origins("::", 3000)), "http://localhost:3000"),
        (Settings(allowed_origins=frozenset({"https://shop.example.com"})), "https://shop.example.com"),
    ],
)
async def test_the_page_may_be_elsewhere(start: StartBus, settings: Settings, page: str) -> None:
    bus = await start(open_log("memory:"), settings)

    answer = await bus.request("GET", "/", headers={"Accept": "text/html"})

    assert answer.body.decode().endswith(f" {page}\n")


@pytest.mark.parametrize(
    ("path", "headers"),
    [("/", {}), ("/", {"Accept": "*/*"}), ("/", {"Accept": "application/json"}), ("/events", {"Accept": "text/html"})],
    ids=str,
)
async def test_a_program_that_reads_without_a_token_is_refused(bus: Bus, path: str, headers: dict[str, str]) -> None:
    assert (await bus.request("GET", path, headers=headers)).status == 401


async def test_a_service_reads_events_whatever_it_accepts(bus: Bus) -> None:
    headers = {"Accept": "text/html", "Authorization": "the-service"}
    answer = await bus.request("GET", "/", headers=headers)
    wrong = await bus.request("GET", "/", headers=headers | {"Authorization": "wrong"})

    assert (answer.status, answer.json, wrong.status) == (200, [], 401)


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/", b""), ("GET", "/events", b""), ("GET", "/nowhere", b""), ("GET", "/ws", b""), ("PUT", "/", b""),
        ("GET", "/healthz", b""), ("OPTIONS", "/", b""), ("POST", "/", b'{"name": "hi"}'), ("POST", "/", b"x"),
        ("POST", "/events", b'[{"name": "hi"}]'), ("POST", "/", b'{"name": "eventbus.x"}'),
    ],
)  # fmt: skip
@pytest.mark.parametrize("host", ["localhost", "evil.test"])
async def test_no_answer_tells_a_version_nor_may_be_guessed_at(
    bus: Bus, method: str, path: str, body: bytes, host: str
) -> None:
    for authorization in ("the-service", "wrong"):
        headers = {"Authorization": authorization, "Host": host}
        answer = await bus.request(method, path, data=body or None, headers=headers)

        assert answer.headers["Server"] == "eventbus"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"


async def test_two_authorization_headers_are_no_right(bus: Bus) -> None:
    head = b"POST / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 14\r\n"
    right, wrong = b"Authorization: the-service\r\n", b"Authorization: guess\r\n"

    for headers in (right + wrong, wrong + right, right + right):
        assert b" 401 " in (await bus.raw(head + headers + b'\r\n{"name": "hi"}')).splitlines()[0]
    assert await bus.events() == []


@pytest.mark.parametrize(
    "broken",
    [
        b"nonsense\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nno colon\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
        b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03 what a browser says over TLS\r\n\r\n",
    ],
)
async def test_what_is_no_http_is_a_problem_too(bus: Bus, broken: bytes) -> None:
    head, _, body = (await bus.raw(broken)).partition(b"\r\n\r\n")

    assert head.startswith(b"HTTP/1.0 400 Bad Request\r\n")  # which version it would have been is not known
    assert b"\r\nContent-Type: application/problem+json\r\n" in head
    assert b"\r\nServer: eventbus\r\n" in head
    assert b"\r\nX-Content-Type-Options: nosniff\r\n" in head
    assert json.loads(body)["status"] == 400
    assert json.loads(body)["detail"].startswith("this is no HTTP (RFC 9112): ")


@below_aiohttp
@pytest.mark.parametrize("cut", [0, 40, -1, -3])
async def test_a_good_request_is_answered_although_garbage_comes_right_behind_it(bus: Bus, cut: int) -> None:
    event = b'{"name": "hi"}'
    good = b"POST / HTTP/1.1\r\nHost: localhost\r\nAuthorization: the-service\r\nContent-Length: 14\r\n\r\n" + event
    head_end = good.index(b"{")
    reader, writer = await asyncio.open_connection(*bus.address)

    writer.write(good[: cut and head_end + cut])
    await writer.drain()
    writer.write(good[cut and head_end + cut :] + b"garbage\r\n\r\n")
    async with asyncio.timeout(PATIENCE):
        answers = await reader.read()
    writer.close()

    assert answers.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"HTTP/1.0 400 Bad Request\r\n" in answers
    assert len(await bus.events()) == 1


@below_aiohttp
async def test_a_good_request_between_a_chunked_one_and_garbage_is_answered(bus: Bus) -> None:
    chunked = b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n[]\r\n0\r\n\r\n"

    answer = await bus.raw(chunked + b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n" + b"garbage\r\n\r\n")

    assert [line[9:12] for line in answer.split(b"\r\n") if line.startswith((b"HTTP/1.", b"}HTTP/1."))][:1] == [b"422"]
    assert b'{"status":"alive"}' in answer
    assert b"HTTP/1.0 400" in answer or b"HTTP/1.1 400" in answer
