"""Whatever is sent: the 4xx that says why, which the page can read, nothing in the log, and the bus lives on."""

from __future__ import annotations

import asyncio
import gzip
import io
import json
from collections.abc import AsyncIterator
from contextlib import suppress
from types import SimpleNamespace
from typing import cast

import pytest
from aiohttp import web
from bus_under_test import ORIGIN, PATIENCE, Answer, Bus, StartBus
from eventbus.edges.requests import read_body
from eventbus.limits.request_bytes import Budget
from eventbus.log.by_url import open_log
from eventbus.problems import NotJson

EVENT = b'{"name": "hi"}'
HEAD = b"POST / HTTP/1.1\r\nHost: localhost\r\nAuthorization: the-service\r\nOrigin: " + ORIGIN.encode() + b"\r\n"


@pytest.fixture
async def bus(start: StartBus) -> AsyncIterator[Bus]:
    """A bus that has taken nothing in the end, and still takes an event."""
    bus = await start(open_log("memory:"))
    yield bus
    assert await bus.events() == []
    await bus.publish("still-alive", service="the-service")


def is_problem(answer: Answer, status: int, title: str) -> bool:
    return (
        answer.status == status
        and answer.headers["Content-Type"] == "application/problem+json"
        and answer.headers["Access-Control-Allow-Origin"] == ORIGIN
        and {"type": "about:blank", "title": title, "status": status}.items() <= answer.json.items()
        and bool(answer.json["detail"])
    )


def head_and_body(raw: bytes) -> tuple[list[bytes], bytes]:
    head, _, body = raw.partition(b"\r\n\r\n")
    return head.split(b"\r\n"), body


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b'{"name": "hi", "da',
        b"name=hi&data=1",
        b'{"name": "hi", "data": NaN}',
        b'{"name": "hi", "data": Infinity}',
        b'{"name": "hi", "data": "\xff"}',
        b'{"name": "hi", "data": "\xed\xa0\x80"}',
        b'{"name": "hi", "data": "\\ud800"}',
        b'{"name": "hi", "data": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b"[" * 100_000,
    ],
    ids=lambda body: repr(body[:30]),
)
async def test_a_body_that_is_not_json(bus: Bus, body: bytes) -> None:
    answer = await bus.post(body, authorization="the-service", Origin=ORIGIN)

    assert is_problem(answer, 400, "The body is not JSON"), answer


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"null", "object"),
        (b'"hi"', "object"),
        (b"{}", "name"),
        (b'{"name": 5}', "name"),
        (b'{"name": null}', "name"),
        (b'{"name": "two words"}', "name"),
        (b'{"name": "hi", "id": "two words"}', "id"),
        (b'{"name": "hi", "id": null}', "id"),
        (b'{"name": "hi", "context": null}', "context"),
        (b'{"name": "hi", "context": {"identifier": 5}}', "context"),
        (b'{"name": "hi", "data": ' + b"[" * 65 + b"]" * 65 + b"}", "data"),
    ],
    ids=lambda value: repr(value[:40]),
)
async def test_json_that_is_not_an_event(bus: Bus, body: bytes, said: str) -> None:
    answer = await bus.post(body, authorization="the-service", Origin=ORIGIN)

    assert is_problem(answer, 422, "Not an event"), answer
    assert said in answer.json["detail"]


@pytest.mark.parametrize("size", [256 * 1024 + 1, 1024 * 1024, 1024 * 1024 + 1, 10_000_000])
async def test_a_body_that_is_too_large(bus: Bus, size: int) -> None:
    body = io.BytesIO(b'{"name": "hi", "data": "' + b"x" * (size - 26) + b'"}')

    answer = await bus.request("POST", "/", data=body, headers={"Authorization": "the-service", "Origin": ORIGIN})

    assert is_problem(answer, 413, "Too large"), answer


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "GZIP"])
async def test_a_packed_body_is_refused_and_never_unpacked(bus: Bus, encoding: str) -> None:
    bomb = gzip.compress(b"[" * 50_000_000)

    answer = await bus.post(bomb, authorization="the-service", Origin=ORIGIN, **{"Content-Encoding": encoding})

    assert is_problem(answer, 400, "The body is not JSON"), answer
    assert answer.json["detail"] == f"the body is compressed ({encoding!r}); send it as it is"


async def test_a_body_whose_sender_hangs_up_in_the_middle(bus: Bus) -> None:
    await bus.raw(HEAD + b"Content-Length: 100\r\n\r\n" + EVENT, then_hang_up=True)
    await bus.raw(HEAD + b"Transfer-Encoding: chunked\r\n\r\ne\r\n" + EVENT + b"\r\n", then_hang_up=True)
    await bus.raw(HEAD + b"Transfer-Encoding: chunked\r\n\r\nff\r\n" + EVENT, then_hang_up=True)


@pytest.mark.parametrize(
    "request_without_its_end",
    [
        b"Transfer-Encoding: chunked\r\n\r\nzz\r\n" + EVENT,
        b"Transfer-Encoding: chunked\r\n\r\n3\r\n" + EVENT,
        b"Content-Length: -5\r\n\r\n" + EVENT,
        b"Content-Length: 1e3\r\n\r\n" + EVENT,
        b"Content-Length: 14\r\nContent-Length: 15\r\n\r\n" + EVENT,
        b"Content-Length: 14\r\nTransfer-Encoding: chunked\r\n\r\n" + EVENT,
        b"Content-Length: 99999999999999999999999\r\n\r\n" + EVENT,
        b"X: the-service\x00\r\n\r\n",
        b"X: " + b"x" * 9000 + b"\r\n\r\n",
    ],
    ids=lambda text: repr(text[:50]),
)
async def test_what_is_not_even_http(bus: Bus, request_without_its_end: bytes) -> None:
    """Here the HTTP library answers: there is no request whose origin could be read."""
    head, _ = head_and_body(await bus.raw(HEAD + request_without_its_end))

    assert head[0].endswith(b"400 Bad Request")


@pytest.mark.parametrize("more", [b"", b"1\r\n"], ids=["nothing", "part of it"])
async def test_a_body_that_does_not_come_to_its_end(bus: Bus, monkeypatch: pytest.MonkeyPatch, more: bytes) -> None:
    monkeypatch.setattr("eventbus.edges.requests.BODY_TIMEOUT", 0.2)
    reader, writer = await asyncio.open_connection(*bus.address)
    writer.write(HEAD + b"Transfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n")
    assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"  # so the bus reads the body now

    writer.write(more)
    async with asyncio.timeout(PATIENCE):
        head = await reader.readuntil(b"\r\n\r\n")
        body = await reader.readuntil(b"}")
    writer.close()

    assert head.startswith(b"HTTP/1.1 408 Request Timeout\r\n")
    assert f"Access-Control-Allow-Origin: {ORIGIN}\r\n".encode() in head
    assert json.loads(body)["title"] == "Too slow"


@pytest.mark.parametrize("begin", [b"", b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"], ids=["first", "second"])
async def test_a_request_whose_head_comes_drop_by_drop_is_cut_off(
    start: StartBus, monkeypatch: pytest.MonkeyPatch, begin: bytes
) -> None:
    monkeypatch.setattr("eventbus.server.running.KEEP_ALIVE", 0.3)
    bus = await start(open_log("memory:"))
    reader, writer = await asyncio.open_connection(*bus.address)
    writer.write(begin + b"POST / HTTP/1.1\r\nX-Slow: ")
    ended = asyncio.create_task(_read_to_the_end(reader))

    async with asyncio.timeout(PATIENCE):
        while not ended.done():
            writer.write(b"x")
            await asyncio.wait([ended], timeout=0.02)

    assert ended.result().count(b"HTTP/1.1 200") == bool(begin)
    writer.close()


async def _read_to_the_end(reader: asyncio.StreamReader) -> bytes:
    """Read until the other side hangs up, or resets, as it does when something it has not read was on its way."""
    came = b""
    with suppress(ConnectionResetError):
        while piece := await reader.read(1000):
            came += piece
    return came


async def test_nothing_of_a_body_that_broke_off_stays_with_the_refusal() -> None:
    async def broken_off() -> AsyncIterator[tuple[bytes, bool]]:
        yield b"x" * 100_000, True
        raise ConnectionError

    content = SimpleNamespace(iter_chunks=broken_off)
    request = cast("web.Request", SimpleNamespace(headers={}, client_max_size=2**20, body_exists=True, content=content))

    with pytest.raises(NotJson) as refused:
        await read_body(request, Budget(2**20).hold(host=""))

    [frame] = [entry.frame for entry in refused.traceback if entry.name == "read_body"]
    assert frame.f_locals["body"] == b""
