"""Retention as the program runs it: old events go by themselves while others come, and who missed some is told."""

from __future__ import annotations

import asyncio
import json
import re
import time
import uuid
from pathlib import Path

import pytest
from bus_under_test import PATIENCE, BusProcess, StartProcess

SERVICE = {"action": "authenticate", "credentials": "the-service"}
KEPT = 20  # events
AGE = 1.0  # seconds


async def oldest(bus: BusProcess) -> int:
    """The first position that is still there; past the end if nothing is."""
    async with bus.socket() as service:
        answer = await service.ask(SERVICE | {"after": 0})
        return int(answer.get("oldest", 1))


async def test_the_oldest_go_by_number_while_others_come(run: StartProcess) -> None:
    bus = await run(EVENTBUS_RETENTION_EVENTS=str(KEPT), EVENTBUS_RETENTION_SECONDS="0")
    published = 0

    async with bus.socket() as service, asyncio.timeout(3 * PATIENCE):
        epoch = (await service.ask(SERVICE))["epoch"]
        for _ in range(2):  # it goes on
            before = await oldest(bus)
            while (now := await oldest(bus)) == before:
                published = (await bus.publish("hi", service="the-service"))["seq"]
            assert now <= published - KEPT + 1
        while await oldest(bus) <= published - KEPT:
            pass
        assert [event["seq"] for event in await bus.events()] == [*range(published - KEPT + 1, published + 1)]
        heard = [(await service.hear())["seq"] for _ in range(published)]
        assert heard == [*range(1, published + 1)]  # whoever was there got all of them

    async with bus.socket() as back, bus.socket() as up_to_date:
        answer = await back.ask(SERVICE | {"after": 1, "epoch": epoch})
        assert (answer["gap"], answer["oldest"]) == (True, published - KEPT + 1)
        assert (await back.hear())["seq"] == answer["oldest"]
        assert "gap" not in await up_to_date.ask(SERVICE | {"after": published, "epoch": epoch})


async def test_the_oldest_go_by_age_while_others_come(run: StartProcess) -> None:
    bus = await run(EVENTBUS_RETENTION_SECONDS=str(AGE), EVENTBUS_RETENTION_EVENTS="0")
    sent: dict[int, float] = {}  # when, at the earliest

    async with asyncio.timeout(3 * PATIENCE):
        for _ in range(2):  # it goes on
            before = await oldest(bus)
            while (now := await oldest(bus)) == before:
                began = time.time()
                sent[(await bus.publish("hi", service="the-service"))["seq"]] = began
            assert time.time() - sent[now - 1] >= AGE - 0.01  # none goes too early; an event's time has milliseconds
        published = max(sent)
        while await bus.events():
            pass

    async with bus.socket() as back:
        answer = await back.ask(SERVICE | {"after": 1})
        assert (answer["gap"], answer["oldest"]) == (True, published + 1)
        receipt = await bus.publish("hi", service="the-service")
        assert (await back.hear())["seq"] == receipt["seq"]


async def test_the_oldest_go_by_bytes_while_others_come(run: StartProcess) -> None:
    bus = await run(EVENTBUS_RETENTION_BYTES="100000", EVENTBUS_RETENTION_EVENTS="0", EVENTBUS_RETENTION_SECONDS="0")
    published = 0

    async with asyncio.timeout(3 * PATIENCE):
        for _ in range(2):  # it goes on
            before = await oldest(bus)
            while await oldest(bus) == before:
                published = (await bus.publish("hi", service="the-service", data="x" * 10_000))["seq"]
        while sum(len(json.dumps(event, separators=(",", ":"))) for event in await bus.events()) > 101_000:
            pass

    assert [event["seq"] for event in await bus.events()] == [*range(published - 8, published + 1)]
    bus.process.kill()
    bus = await run(EVENTBUS_RETENTION_BYTES="50000", EVENTBUS_RETENTION_EVENTS="0")
    async with asyncio.timeout(3 * PATIENCE):
        while len(await bus.events()) > 4:  # what was there counts
            pass


LEAPING_CLOCK = """
import pathlib, time
right, leap = time.time, pathlib.Path({leap!r})
time.time = lambda: right() + float(leap.read_text() or 0)
time.time_ns = lambda: int(time.time() * 1e9)
"""


@pytest.mark.parametrize("days", [8, -8, 9_000 * 365, -40 * 365])
async def test_a_leap_of_the_clock_deletes_nothing_and_is_named(run: StartProcess, tmp_path: Path, days: int) -> None:
    leap = tmp_path / "leap"
    leap.write_text("")
    (tmp_path / "sitecustomize.py").write_text(LEAPING_CLOCK.format(leap=str(leap)))
    clock = ["env", f"PYTHONPATH={tmp_path}"]
    bus = await run(prefix=clock)
    async with bus.client() as anna:
        receipts = [await bus.publish("hi", token=anna.token, id=f"{number}") for number in range(20)]

    for moved in (days, -days):
        leap.write_text(f"{days * 86400}" if moved == days else "")
        await bus.said(f"clock leapt by {moved * 86400:+.0f} s")
        await bus.publish("hi", service="the-service")

    assert len(await bus.events()) == 22
    assert (await bus.publish("hi", token=anna.token, id="0")) == receipts[0] | {"duplicate": True}
    leap.write_text(f"{days * 86400}")
    assert (await bus.publish("hi", token=anna.token, id="0")) == receipts[0] | {"duplicate": True}
    await bus.publish("last", token=anna.token)
    assert await bus.stop() == 0
    bus = await run(prefix=clock)
    async with bus.client(anna.token) as back:
        assert back.token == anna.token
    stored = await bus.events()
    assert len(stored) == 23
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", event["time"]) for event in stored)
    assert uuid.UUID(stored[-1]["id"]).version == 7
