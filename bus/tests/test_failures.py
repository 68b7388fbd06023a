"""When the log fails, or the bus itself: nothing is promised that is not so, and it comes back without a restart."""

from __future__ import annotations

import logging
import re
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientError
from bus_under_test import ORIGIN, Bus, StartBus, free_port
from eventbus.__main__ import _serve
from eventbus.config import Settings
from eventbus.hub import Hub
from eventbus.log.by_url import open_log
from eventbus.log.memory import MemoryLog
from eventbus.log.sqlite import SqliteLog, tail


async def test_a_log_that_cannot_be_written_takes_nothing_until_it_can(start: StartBus, tmp_path: Path) -> None:
    log = open_log(f"sqlite:{tmp_path}/events.db")
    assert isinstance(log, SqliteLog)
    bus = await start(log)
    async with bus.service() as service:
        log._writer.execute("PRAGMA query_only = 1")
        refused = await bus.post({"name": "refused", "id": "1"}, authorization="the-service", Origin=ORIGIN)
        ready, alive = await bus.request("GET", "/readyz"), await bus.request("GET", "/healthz")

        log._writer.execute("PRAGMA query_only = 0")
        ready_again = await bus.request("GET", "/readyz")
        receipt = await bus.publish("taken", service="the-service", id="1")

        assert (refused.status, ready.status, alive.status, ready_again.status) == (503, 503, 200, 200)
        for answer in (refused, ready):
            assert answer.json["title"] == "Unavailable"
            assert answer.headers["Retry-After"] == "1"
        assert refused.headers["Access-Control-Allow-Origin"] == ORIGIN
        assert "duplicate" not in receipt
        assert await service.hear_names(1) == ["taken"]
        assert [event["name"] for event in await bus.events()] == ["taken"]


async def test_a_log_that_cannot_be_read_is_a_503(
    start: StartBus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tail, "MAX_EVENTS", 0)  # or it would not have to be read
    log = open_log(f"sqlite:{tmp_path}/events.db")
    assert isinstance(log, SqliteLog)
    bus = await start(log)
    await bus.publish("hi", service="the-service")
    log._writer.execute("ALTER TABLE events RENAME TO hidden")

    answer = await bus.request("GET", "/events", headers={"Authorization": "the-service"})

    assert (answer.status, answer.headers["Retry-After"]) == (503, "1")


async def test_one_that_hangs_up_before_it_is_answered_is_ordinary_life(
    bus: Bus, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def hung_up(*_: Any) -> None:
        raise ConnectionResetError

    with monkeypatch.context() as patch, suppress(ClientError):
        patch.setattr("eventbus.edges.handshake._check", hung_up)
        await bus.request("GET", "/ws")

    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
    await bus.publish("hi", service="the-service")


async def test_a_defect_is_answered_as_a_problem_and_logged_and_the_bus_lives_on(
    bus: Bus, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError("a secret detail")

    with monkeypatch.context() as patch:
        patch.setattr(MemoryLog, "append", fail)
        answer = await bus.post({"name": "hi"}, authorization="the-service", Origin=ORIGIN)

    assert (answer.status, answer.json["title"]) == (500, "Internal Server Error")
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.headers["Access-Control-Allow-Origin"] == ORIGIN
    assert b"secret" not in answer.body
    [record] = [record for record in caplog.records if record.exc_info]
    assert record.getMessage() == "a defect of the bus, while it handled POST '/'"
    caplog.clear()
    await bus.publish("hi", service="the-service")


@pytest.mark.parametrize("path", ["/", "/events"])
@pytest.mark.parametrize("body", [b'{"name": "hi"}', b'[{"name": "hi"}]'], ids=["event", "batch"])
async def test_an_event_is_stored_once_although_a_defect_comes_after_the_append(
    bus: Bus, body: bytes, path: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    append = MemoryLog.append

    async def fail(log: MemoryLog, *args: Any) -> Any:
        await append(log, *args)
        raise ZeroDivisionError("a secret detail")

    with monkeypatch.context() as patch:
        patch.setattr(MemoryLog, "append", fail)
        answer = await bus.request("POST", path, data=body, headers={"Authorization": "the-service"})

    assert (answer.status, answer.json["title"]) == (500, "Internal Server Error")
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert [event["name"] for event in await bus.events()] == ["hi"]
    [record] = [record for record in caplog.records if record.exc_info]
    assert record.getMessage() == f"a defect of the bus, while it handled POST {path!r}"
    caplog.clear()


async def test_what_waits_behind_a_request_that_meets_a_defect_is_answered(
    bus: Bus, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    append, failures = MemoryLog.append, [ZeroDivisionError("a defect")]

    async def fail_once(log: MemoryLog, *args: Any) -> Any:
        appended = await append(log, *args)
        if failures:
            raise failures.pop()
        return appended

    monkeypatch.setattr(MemoryLog, "append", fail_once)
    request = (
        b'POST / HTTP/1.1\r\nHost: localhost\r\nAuthorization: the-service\r\nContent-Length: 14\r\n\r\n{"name": "hi"}'
    )
    last = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"

    answers = await bus.raw(request + request + last)

    assert re.findall(rb"HTTP/1.1 (\d+)", answers) == [b"500", b"200", b"200"]
    assert len(await bus.events()) == 2
    caplog.clear()


async def test_a_bus_whose_delivery_has_ended_does_not_go_on_as_if_nothing_were(
    monkeypatch: pytest.MonkeyPatch, services_file: Path
) -> None:
    async def ended(_: Hub) -> None:
        raise ZeroDivisionError("a defect")

    monkeypatch.setattr(Hub, "run", ended)
    settings = Settings(host="127.0.0.1", port=free_port(), log="memory:", services=str(services_file))

    with pytest.raises(ZeroDivisionError, match="a defect"):
        await _serve(settings)


@pytest.mark.parametrize("group", [{}, {"group": "g"}], ids=["alone", "in a group"])
async def test_one_whose_events_a_defect_keeps_back_is_told_that_the_bus_failed(
    start: StartBus, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, group: dict[str, str]
) -> None:
    log = open_log("memory:")
    bus = await start(log)
    await bus.publish("hi", service="the-service")
    read = log.read

    async def defect(**options: Any) -> Any:
        raise ZeroDivisionError

    async with bus.socket() as service:
        monkeypatch.setattr(log, "read", defect)
        await service.ask({"action": "authenticate", "credentials": "the-service", "after": 0, **group})

        assert await service.close_code() == 1011
        monkeypatch.setattr(log, "read", read)
    assert "a defect of the bus" in caplog.text
    caplog.clear()
