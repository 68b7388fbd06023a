"""Publishing: until the bus has the event, always with the same id; and never again what it refuses."""

import asyncio
import logging

import aiohttp
import pytest
from aiohttp import web
from eventbus_client.backoff import full_jitter
from eventbus_client.publisher import Publisher

EVENT = {"name": "check-domain-completed", "id": "e1-1-1", "data": [], "context": {}}


@pytest.fixture
async def publisher(bus):
    """A publisher that never waits before another attempt, unless the bus asks for it."""
    async with aiohttp.ClientSession() as http:
        yield Publisher(http, f"{bus.url}/", lambda _: 0.0)


async def hang_up(request):
    request.transport.abort()
    return web.Response()


async def test_an_event_is_published_once(bus, publisher):
    assert await publisher.publish(EVENT) is True

    assert await bus.answer() == EVENT
    assert bus.published.empty()


@pytest.mark.parametrize("failure", [408, 429, 500, 502, 503, hang_up])
async def test_a_failed_attempt_is_repeated_with_the_same_id(bus, publisher, failure):
    bus.replies += [failure, failure]

    assert await publisher.publish(EVENT) is True

    assert [(await bus.answer())["id"] for _ in range(3)] == ["e1-1-1"] * 3
    assert bus.published.empty()


@pytest.mark.parametrize(
    "body",
    [
        "<!doctype html><title>Sign in to the Wi-Fi</title>",
        "",
        "null",
        "[]",
        "{}",
        '{"seq": "1"}',
        pytest.param("[" * 100_000, id="deep"),
        b"\xff",
    ],
)
async def test_only_a_receipt_counts_as_published(bus, publisher, body, caplog):
    async def pretend(_):
        return web.Response(body=body, headers={"Content-Type": "text/html; charset=hex"})

    bus.replies.append(pretend)

    assert await publisher.publish(EVENT) is True

    assert [await bus.answer(), await bus.answer()] == [EVENT, EVENT]
    assert caplog.messages == [
        "publishing check-domain-completed again in 0.0 s because it does not answer as the bus does"
    ]


@pytest.mark.parametrize("status", [400, 401, 403, 404, 413, 422, 301])
async def test_what_the_bus_refuses_is_dropped_with_one_line_that_says_why(bus, publisher, status, caplog):
    async def refuse(_):
        text = '{"detail": "this publisher may not\npublish it"}'
        return web.Response(status=status, text=text, headers={"Location": "/"})

    bus.replies.append(refuse)

    assert await publisher.publish(EVENT) is False

    await bus.answer()
    assert bus.published.empty()
    [line] = caplog.messages
    assert line == (
        "check-domain-completed is dropped: "
        f'the bus answered {status} {{"detail": "this publisher may not publish it"}}'
    )


async def test_a_refusal_without_a_reason_is_told_as_that(bus, publisher, caplog):
    async def refuse(_):
        return web.Response(status=403)

    bus.replies.append(refuse)

    assert await publisher.publish(EVENT) is False

    assert caplog.messages == ["check-domain-completed is dropped: the bus answered 403 no reason given"]


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("7", 7.0),
        ("0", 0.0),
        ("61", 60.0),
        ("99999999", 60.0),
        pytest.param("9" * 400, 60.0, id="nines"),
        ("Mon, 23 Nov 2026 09:00:00 GMT", 0.0),
        ("-1", 0.0),
        ("1e999", 0.0),
        ("²", 0.0),
        ("", 0.0),
    ],
)
@pytest.mark.parametrize("status", [429, 503])
async def test_the_bus_is_left_alone_for_as_long_as_it_asks_at_most_a_minute(
    bus, publisher, status, header, seconds, monkeypatch
):
    waited = []
    sleep = asyncio.sleep
    monkeypatch.setattr(asyncio, "sleep", lambda seconds: (waited.append(seconds), sleep(0))[1])

    async def busy(_):
        return web.Response(status=status, headers={"Retry-After": header})

    bus.replies.append(busy)

    assert await publisher.publish(EVENT) is True
    assert seconds in waited


async def test_an_event_waits_for_a_bus_that_is_not_there(bus, caplog):
    await bus.stop()
    attempts = asyncio.Queue()
    async with aiohttp.ClientSession() as http:
        publisher = Publisher(http, f"{bus.url}/", lambda attempt: attempts.put_nowait(attempt) or 0.01)
        publishing = asyncio.create_task(publisher.publish(EVENT))
        assert [await attempts.get() for _ in range(3)] == [0, 1, 2]

        again = type(bus)(bus.port)
        await again.start()

        assert await publishing is True
    assert await again.answer() == EVENT
    await again.stop()
    assert all("\n" not in line for line in caplog.messages)


async def test_an_attempt_without_an_answer_is_repeated(bus, caplog):
    forgotten = asyncio.Event()

    async def forget(_):
        await forgotten.wait()
        return web.Response()

    bus.replies.append(forget)
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=0.1)) as http:
        assert await Publisher(http, f"{bus.url}/", lambda _: 0.0).publish(EVENT) is True
    forgotten.set()

    assert [await bus.answer(), await bus.answer()] == [EVENT, EVENT]
    assert caplog.record_tuples[0][1] == logging.WARNING


def test_waits_grow_to_a_limit_and_are_never_the_same_for_all():
    waits = {attempt: [full_jitter(attempt) for _ in range(300)] for attempt in (0, 1, 2, 20, 10_000)}

    assert [max(waits[attempt]) <= most for attempt, most in zip(waits, (0.5, 1, 2, 5, 5), strict=True)] == [True] * 5
    assert max(waits[20]) > 4
    assert all(len(set(some)) > 200 and min(some) < max(some) / 4 for some in waits.values())
