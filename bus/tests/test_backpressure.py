"""More than the bus can store, or than may be connected: refused in time, and taken again later."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from aiohttp import WSServerHandshakeError
from bus_under_test import ORIGIN, StartBus
from eventbus.config import Settings
from eventbus.log.by_url import open_log


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Keep the bus from writing: another program is doing so."""
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


async def test_when_commits_do_not_keep_up_more_is_refused_before_the_memory_is_full(
    start: StartBus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("eventbus.limits.request_bytes.MAX_HELD", 10_000)
    bus = await start(open_log(f"sqlite:{tmp_path}/events.db"))
    kilobyte = {"name": "hi", "data": "x" * 1000}

    def publish(event_id: str) -> asyncio.Task[int]:
        async def publish() -> int:
            answer = await bus.post({**kilobyte, "id": event_id}, authorization="the-service", Origin=ORIGIN)
            if answer.status == 503:
                assert answer.headers["Retry-After"] == "1"
                assert answer.json["detail"].startswith("more is being published than the bus can hold")
            return answer.status

        return asyncio.create_task(publish())

    with locked(tmp_path / "events.db"):
        sent = {event_id: publish(event_id) for event_id in map(str, range(20))}
        refused, waiting = set(), set(sent.values())
        while len(refused) < 11:  # nine of about 1,050 bytes fit
            done, waiting = await asyncio.wait(waiting, timeout=5, return_when=asyncio.FIRST_COMPLETED)
            assert done, "none is refused: all wait"
            refused |= done
        assert {task.result() for task in refused} == {503}
        assert (await bus.request("GET", "/healthz")).status == 200
        assert await bus.events() == []

    assert [await task for task in waiting] == [200] * 9
    stored = {event["id"] for event in await bus.events()}
    assert stored == {event_id for event_id, task in sent.items() if task.result() == 200}
    assert await publish("later") == 200


async def test_a_log_that_another_program_locks_for_long_refuses_all_that_waits_at_once(
    start: StartBus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("eventbus.log.sqlite.opening.BUSY_SECONDS", 0.1)
    bus = await start(open_log(f"sqlite:{tmp_path}/events.db"))

    with locked(tmp_path / "events.db"):
        async with asyncio.timeout(5):  # one after the other, they would need ten seconds
            answers = await asyncio.gather(*[bus.post({"name": "hi"}, authorization="the-service") for _ in range(100)])

    assert {answer.status for answer in answers} == {503}
    assert answers[0].json["detail"] == "the log cannot be written: database is locked"
    assert (await bus.post({"name": "hi"}, authorization="the-service")).status == 200
    assert len(await bus.events()) == 1


async def test_no_more_than_so_many_may_be_connected(start: StartBus) -> None:
    bus = await start(open_log("memory:"), Settings(max_connections=2))

    async with bus.client() as anna:
        async with bus.client():
            with pytest.raises(WSServerHandshakeError) as refusal:
                await bus.http.ws_connect(bus.url + "/ws")
            assert refusal.value.status == 503
            assert refusal.value.headers is not None
            assert refusal.value.headers["Retry-After"] == "1"
            await bus.publish("hi", token=anna.token)
            assert await anna.hear_names(1) == ["hi"]

        async with asyncio.timeout(5):
            while True:
                try:
                    async with bus.client():
                        break
                except WSServerHandshakeError:
                    await asyncio.sleep(0)


async def test_what_could_not_be_stored_does_not_count_as_waiting_any_more(
    start: StartBus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("eventbus.log.sqlite.opening.BUSY_SECONDS", 0.1)
    monkeypatch.setattr("eventbus.limits.request_bytes.MAX_HELD", 1500)  # room for one of about 1,050 bytes
    bus = await start(open_log(f"sqlite:{tmp_path}/events.db"))
    kilobyte = {"name": "hi", "data": "x" * 1000}
    with locked(tmp_path / "events.db"):
        refusal = await bus.post(kilobyte, authorization="the-service")
        assert refusal.json["detail"] == "the log cannot be written: database is locked"

    assert (await bus.post(kilobyte, authorization="the-service")).status == 200
