"""Retention as the program runs it: old events go by themselves while others come, and who missed some is told."""

from __future__ import annotations

import asyncio
import time

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
