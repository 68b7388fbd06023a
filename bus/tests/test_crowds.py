"""One program, many connections or a flood on one: others keep their seats and their turn."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator, Mapping
from contextlib import AsyncExitStack, ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import WSServerHandshakeError
from bus_under_test import PATIENCE, Bus, Socket, StartBus, StartProcess
from eventbus.config import Settings
from eventbus.edges.admission import CONNECTIONS_OF_A_CLIENT
from eventbus.limits.websockets import Seat, Seats
from eventbus.log.by_url import open_log
from eventbus.log.memory import MemoryLog
from eventbus.problems import Overloaded
from machine import untested


@contextmanager
def taken(seats: Seats, host: str, *, service: bool) -> Iterator[Seat]:
    """Sit there until the block is left."""
    seat = seats.take(host, service=service)
    try:
        yield seat
    finally:
        seats.leave(seat)


def test_a_host_has_its_share_of_the_seats_and_no_more() -> None:
    seats = Seats(10_000)
    with ExitStack() as all_taken:
        for _ in range(1_000):
            all_taken.enter_context(taken(seats, "192.0.2.1", service=False))

        with (
            pytest.raises(Overloaded, match="your host has 1000 connections"),
            taken(seats, "192.0.2.1", service=False),
        ):
            pass
        with taken(seats, "192.0.2.2", service=False):
            pass
    with taken(seats, "192.0.2.1", service=False):
        pass


def test_all_hosts_of_a_site_have_half_of_the_seats_and_no_more() -> None:
    seats = Seats(10_000)
    with ExitStack() as all_taken:
        for number in range(5_000):
            all_taken.enter_context(taken(seats, f"2001:db8:0:{number % 50}::/64", service=False))

        with (
            pytest.raises(Overloaded, match="the hosts of 2001:db8::/48 have 5000 connections"),
            taken(seats, "2001:db8:0:99::/64", service=False),
        ):
            pass
        with taken(seats, "2001:db8:1::/64", service=False), taken(seats, "2001:db8:0:99::/64", service=True):
            pass
    with taken(seats, "2001:db8:0:99::/64", service=False):
        pass


def sit(seats: Seats, all_taken: ExitStack, count: int, *, service: bool = False) -> Seat:
    """Take seats, each from another host; return the last one."""
    for number in range(count):
        seat = all_taken.enter_context(taken(seats, f"{service} {number}", service=service))
    return seat


def is_room(seats: Seats, *, service: bool) -> bool:
    try:
        with taken(seats, "one more", service=service):
            return True
    except Overloaded:
        return False


@pytest.mark.parametrize("services", [0, 5, 10, 50, 99])
def test_only_services_keep_services_out(services: int) -> None:
    seats = Seats(100)
    with ExitStack() as all_taken:
        sit(seats, all_taken, min(90, 100 - services))
        if services:
            sit(seats, all_taken, services, service=True)

        assert not is_room(seats, service=False)
        assert is_room(seats, service=True)
        sit(seats, all_taken, 100 - services, service=True)
        assert not is_room(seats, service=True)
    assert is_room(seats, service=False)


def test_who_shows_later_that_it_is_a_service_makes_room_for_a_stranger() -> None:
    seats = Seats(10)
    with ExitStack() as all_taken:
        seat = sit(seats, all_taken, 9)
        assert not is_room(seats, service=False)
        seats.give_to_service(seat)
        assert is_room(seats, service=False)
    with ExitStack() as all_taken:
        sit(seats, all_taken, 10, service=True)  # as all have left


async def test_a_service_comes_in_where_strangers_have_all_the_seats(start: StartBus) -> None:
    bus = await start(open_log("memory:"), Settings(max_connections=10))
    async with AsyncExitStack() as connected:
        for _ in range(9):
            await connected.enter_async_context(bus.socket())
        with pytest.raises(WSServerHandshakeError):
            await connected.enter_async_context(bus.socket())
        with pytest.raises(WSServerHandshakeError):
            await bus.http.ws_connect(bus.url + "/ws", headers={"Authorization": "Bearer guessed"})

        ws = await bus.http.ws_connect(bus.url + "/ws", headers={"Authorization": "Bearer the-service"})
        service = Socket(ws)
        assert (await service.ask({"action": "authenticate", "credentials": "the-service"}))["authenticated"]
        await ws.close()


async def test_services_do_not_use_up_what_strangers_may_have(start: StartBus) -> None:
    bus = await start(open_log("memory:"), Settings(max_connections=10))
    async with AsyncExitStack() as connected:
        for _ in range(9):
            await connected.enter_async_context(bus.service())

        await connected.enter_async_context(bus.client())


async def test_a_host_with_too_many_connections_is_refused_whatever_it_says_of_itself(
    start: StartBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("eventbus.limits.websockets.AT_LEAST", 2)
    bus = await start(open_log("memory:"), Settings(max_connections=20))

    async with bus.client(), bus.client():
        with pytest.raises(WSServerHandshakeError) as refusal:
            await bus.http.ws_connect(bus.url + "/ws", headers={"X-Forwarded-For": "192.0.2.1"})

    assert refusal.value.status == 503


async def test_a_client_may_be_connected_twenty_times(bus: Bus) -> None:
    async with AsyncExitStack() as connected:
        anna = await connected.enter_async_context(bus.client())
        others = [await connected.enter_async_context(bus.client(anna.token)) for _ in range(19)]
        one_more = await connected.enter_async_context(bus.socket())

        refused = await one_more.ask({"action": "identify", "token": anna.token})
        await bus.publish("hi", token=anna.token)

        assert CONNECTIONS_OF_A_CLIENT == 20
        assert "this client has 20 connections already" in refused["error"]
        assert [await one.hear_names(1) for one in (anna, *others)] == [["hi"]] * 20


async def test_a_flood_of_pings_leaves_everybody_else_a_turn(start: StartBus) -> None:
    bus = await start(open_log("memory:"), Settings(client_rate=0, identify_timeout=60))
    count = 40_000
    turns = 0

    async def count_turns() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    async with bus.socket() as flood:
        transport = flood.ws._response.connection.transport
        counting = asyncio.create_task(count_turns())
        transport.write(b"\x89\x80\0\0\0\0" * count)  # masked, empty
        await flood.ask({"action": "are-you-there"})
        counting.cancel()

    assert turns > count / 100


async def test_a_client_that_ignores_that_it_was_told_to_go_costs_nothing(run: StartProcess) -> None:
    bus = await run(EVENTBUS_LOG="memory:")
    async with bus.socket(autoclose=False) as anna:
        token = (await anna.ask({"action": "identify"}))["token"]
        await anna.ws.send_bytes(b"binary")
        assert "error" in await anna.hear()

        await bus.publish("hi", token=token)  # there is somebody to deliver it to, who takes nothing any more

        assert (await bus.request("GET", "/healthz")).status == 200


async def test_the_time_that_the_bus_itself_takes_does_not_count_as_silence(start: StartBus) -> None:
    log = SlowLog()
    bus = await start(log, Settings(identify_timeout=0.1))
    async with bus.socket() as anna:
        answering = asyncio.create_task(anna.ask({"action": "identify"}))

        await asyncio.wait([answering], timeout=0.3)
        assert not answering.done()
        log.goes_on.set()

        assert "token" in await answering
        await bus.publish("hi", service="the-service", context={"identifier": (await answering)["address"]})
        assert await anna.hear_names(1) == ["hi"]


class SlowLog(MemoryLog):
    """Takes its time to keep an identity."""

    def __init__(self) -> None:
        super().__init__()
        self.goes_on = asyncio.Event()

    async def keep_identities(self, expiries: Mapping[str, float], *, now: float) -> None:
        async with asyncio.timeout(PATIENCE):
            await self.goes_on.wait()
        await super().keep_identities(expiries, now=now)


async def test_a_service_may_ask_for_a_hundred_patterns(bus: Bus) -> None:
    def ask(count: int) -> dict[str, Any]:
        names = [f"name-{number}" for number in range(count)]
        return {"action": "authenticate", "credentials": "the-service", "names": names}

    async with bus.socket() as one, bus.socket() as other:
        assert (await one.ask(ask(100)))["authenticated"]
        assert "length <= 100" in (await other.ask(ask(101)))["error"]


async def test_a_websocket_begins_with_get(bus: Bus) -> None:
    assert (await bus.request("HEAD", "/ws")).status == 405


async def test_a_host_gets_new_identities_no_faster_than_a_client_publishes(start: StartBus) -> None:
    bus = await start(open_log("memory:"), Settings(client_rate=1))
    tokens = [await bus.new_token() for _ in range(4)]
    async with bus.socket() as one_more, bus.socket() as known:
        refused = await one_more.ask({"action": "identify"})
        resumed = await known.ask({"action": "identify", "token": tokens[0]})

    assert "more than 1 new identities a second from your host" in refused["error"]
    assert resumed["resumed"]


async def test_a_crowd_that_comes_at_once_need_not_come_again(run: StartProcess) -> None:
    most = Path("/proc/sys/net/core/somaxconn")
    if most.exists() and int(most.read_text()) < 500:
        untested("a crowd that comes at once", f"{most} is below 500")
    bus = await run()
    bus.process.send_signal(signal.SIGSTOP)  # it accepts nobody, as if it had much else to do

    try:
        async with asyncio.timeout(PATIENCE):
            opened = await asyncio.gather(*[asyncio.open_connection(*bus.address) for _ in range(400)])
    finally:
        bus.process.send_signal(signal.SIGCONT)

    for _, writer in opened:
        writer.close()
