"""Odd but good: what came in is what comes out, to a subscriber as well as to a reader."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import pytest
from bus_under_test import Bus

ODD = [
    "1e400",
    "-0.0",
    "1180591620717411303424",
    '"\\u0000"',
    '{"b": 1, "a": 2, "b": 3}',
    '"\U0001f600 \\ud83d\\ude00 \U0010ffff \u2028"',
    "[" * 64 + "]" * 64,
    " [ 1 ,\t2 ] ",
    "null",
]


@pytest.mark.parametrize("data", ODD, ids=lambda data: repr(data[:30]))
async def test_data_comes_through_byte_for_byte(bus: Bus, data: str) -> None:
    async with bus.service() as service:
        answer = await bus.post(f'{{"name": "hi", "data":{data}}}'.encode(), authorization="the-service")
        heard = await service.ws.receive_str(timeout=5)

    read = await bus.request("GET", "/events", headers={"Authorization": "the-service"})
    assert answer.status == 200
    assert f'"data":{data.strip()},' in heard
    assert f'"data":{data.strip()},'.encode() in read.body


@pytest.mark.parametrize(
    "content_type",
    ["application/json", "application/x-www-form-urlencoded; charset=UTF-8", "text/plain", "multipart/form-data", "x"],
)
async def test_the_content_type_does_not_matter(bus: Bus, content_type: str) -> None:
    answer = await bus.post({"name": "hi"}, authorization="the-service", **{"Content-Type": content_type})

    assert answer.status == 200


async def test_a_body_without_a_content_type_is_json(bus: Bus) -> None:
    body = b'{"name": "hi"}'

    answer = await bus.raw(
        b"POST / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nAuthorization: the-service\r\n"
        b"Content-Length: %d\r\n\r\n" % len(body) + body
    )

    assert answer.startswith(b"HTTP/1.1 200 OK")


async def test_a_body_may_come_in_chunks(bus: Bus) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for byte in b'{"name": "hi", "data": "in chunks"}':
            yield bytes([byte])

    answer = await bus.request("POST", "/", data=chunks(), headers={"Authorization": "the-service"})

    assert answer.status == 200
    [event] = await bus.events()
    assert event["data"] == "in chunks"


async def test_requests_may_follow_each_other_without_waiting(bus: Bus) -> None:
    head = b"POST / HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer the-service\r\n"
    bodies = [json.dumps({"name": "hi", "id": str(number)}).encode() for number in range(50)]
    requests = [head + b"Content-Length: %d\r\n\r\n" % len(body) + body for body in bodies]
    last = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"

    answers = await bus.raw(b"".join(requests) + last)

    assert answers.count(b"HTTP/1.1 200 OK") == 51
    assert [event["id"] for event in await bus.events()] == [str(number) for number in range(50)]


async def test_an_event_of_the_largest_size_comes_through(bus: Bus) -> None:
    body = b'{"name": "hi", "data": "' + b"x" * (256 * 1024 - 26) + b'"}'

    async with bus.service() as service:
        answer = await bus.post(body, authorization="the-service")
        heard = await service.hear()

    assert (len(body), answer.status) == (256 * 1024, 200)
    assert heard["data"] == "x" * (256 * 1024 - 26)
