"""CORS: an allowed page may read every answer, and no other page any."""

from __future__ import annotations

import json

import pytest
from bus_under_test import ORIGIN, Bus, StartBus
from eventbus.config import Settings
from eventbus.log.by_url import open_log

FOREIGN = ["", "null", "*", "http://localhost:3001", "https://localhost:3000", "http://localhost", "http://evil.test"]


@pytest.mark.parametrize("path", ["/", "/events"])
async def test_a_preflight_tells_an_allowed_page_what_it_may_send(bus: Bus, path: str) -> None:
    headers = {"Origin": ORIGIN, "Access-Control-Request-Method": "POST"}

    answer = await bus.request("OPTIONS", path, headers=headers)

    assert (answer.status, answer.body) == (204, b"")
    assert answer.headers["Access-Control-Allow-Origin"] == ORIGIN
    assert answer.headers["Access-Control-Allow-Methods"] == "GET, POST, OPTIONS"
    assert answer.headers["Access-Control-Allow-Headers"] == "Content-Type, Authorization"
    assert int(answer.headers["Access-Control-Max-Age"]) > 0
    assert answer.headers["Vary"] == "Origin"


@pytest.mark.parametrize("origin", FOREIGN)
async def test_a_preflight_tells_a_foreign_page_nothing(bus: Bus, origin: str) -> None:
    answer = await bus.request("OPTIONS", "/", headers={"Origin": origin, "Access-Control-Request-Method": "POST"})

    assert answer.status == 204
    assert not [name for name in answer.headers if name.startswith("Access-Control-")]
    assert answer.headers["Vary"] == "Origin"


@pytest.mark.parametrize(
    ("body", "authorization", "status"),
    [
        (b'{"name": "hi"}', "the-service", 200),
        (b"", "the-service", 400),
        (b'{"name": "hi"}', None, 401),
        (b'{"name": "eventbus.x"}', "the-service", 403),
        (b"x" * 300_000, "the-service", 413),
        (b"[]", "the-service", 422),
    ],
)
async def test_an_allowed_page_may_read_every_answer(
    bus: Bus, body: bytes, authorization: str | None, status: int
) -> None:
    answer = await bus.post(body, authorization=authorization, Origin=ORIGIN)

    assert answer.status == status
    assert answer.headers["Access-Control-Allow-Origin"] == ORIGIN
    assert answer.headers["Access-Control-Expose-Headers"] == "Retry-After"
    assert answer.headers["Vary"] == "Origin"


@pytest.mark.parametrize("origin", FOREIGN)
async def test_a_foreign_page_may_read_no_answer(bus: Bus, origin: str) -> None:
    answer = await bus.post({"name": "hi"}, authorization="the-service", Origin=origin)

    assert not [name for name in answer.headers if name.startswith("Access-Control-")]


@pytest.mark.parametrize("origin", FOREIGN)
@pytest.mark.parametrize("path", ["/", "/events"])
async def test_an_event_from_a_foreign_page_is_not_stored(bus: Bus, origin: str, path: str) -> None:
    token = await bus.new_token()
    body = json.dumps({"name": "hi", "context": {"identifier": token}}).encode()

    for authorization in ({}, {"Authorization": "the-service"}):
        answer = await bus.request("POST", path, data=body, headers={"Origin": origin, **authorization})

        assert (answer.status, answer.json["title"]) == (403, "Not allowed")
        assert answer.json["detail"] == f"pages from {origin} may not connect; see EVENTBUS_ALLOWED_ORIGINS"
    assert await bus.events() == []


async def test_an_event_from_one_allowed_page_and_a_foreign_one_is_not_stored(bus: Bus) -> None:
    event = b'{"name": "hi"}'
    head = f"POST / HTTP/1.1\r\nHost: localhost\r\nAuthorization: the-service\r\nOrigin: {ORIGIN}\r\nOrigin: http://evil.test"

    answer = await bus.raw(f"{head}\r\nConnection: close\r\nContent-Length: {len(event)}\r\n\r\n".encode() + event)

    assert answer.startswith(b"HTTP/1.1 403")
    assert await bus.events() == []


async def test_a_page_whose_event_is_refused_is_told_of_once(bus: Bus, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(3):
        await bus.post({"name": "hi"}, Origin="http://elsewhere")

    assert [record.message for record in caplog.records] == [
        "pages from http://elsewhere may not connect; see EVENTBUS_ALLOWED_ORIGINS"
    ]


async def test_a_program_without_an_origin_needs_no_headers(bus: Bus) -> None:
    answer = await bus.post({"name": "hi"}, authorization="the-service")

    assert answer.status == 200
    assert "Access-Control-Allow-Origin" not in answer.headers
    assert answer.headers["Vary"] == "Origin"


async def test_each_of_several_origins_is_answered_with_itself(start: StartBus) -> None:
    origins = ["https://one.example", "https://two.example"]
    bus = await start(open_log("memory:"), Settings(allowed_origins=frozenset(origins)))

    answers = [await bus.request("GET", "/healthz", headers={"Origin": origin}) for origin in origins]

    assert [answer.headers["Access-Control-Allow-Origin"] for answer in answers] == origins


async def test_a_page_that_may_not_connect_is_told_of_once(bus: Bus, caplog: pytest.LogCaptureFixture) -> None:
    for origin in ("http://elsewhere", "http://elsewhere", "http://\x85elsewhere"):
        assert (await bus.request("GET", "/ws", headers={"Origin": origin})).status == 403

    assert [record.message for record in caplog.records] == [
        "pages from http://elsewhere may not connect; see EVENTBUS_ALLOWED_ORIGINS",
        "pages from http://\\x85elsewhere may not connect; see EVENTBUS_ALLOWED_ORIGINS",
    ]


async def test_what_is_no_handshake_is_told_what_is_spoken_here(bus: Bus) -> None:
    answer = await bus.request("GET", "/ws", headers={"Origin": ORIGIN})

    assert answer.status == 400
    assert answer.json["detail"] == "here one speaks WebSocket; this is no handshake (RFC 6455, 4.1)"
