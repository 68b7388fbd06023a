"""The heartbeat: who gives no sign of life is cut off, and nobody else."""

from __future__ import annotations

import asyncio
import ssl
from asyncio.sslproto import SSLProtocol
from typing import Any

import pytest
from aiohttp import WSMsgType
from bus_under_test import PATIENCE, Bus, StartBus
from eventbus.config import Settings
from eventbus.edges.heartbeat import MISSED_BEATS, Pulse
from eventbus.edges.socket_outlet import SocketOutlet
from eventbus.log.memory import MemoryLog


@pytest.fixture
async def bus(start: StartBus) -> Bus:
    """A bus whose heart beats fast."""
    return await start(MemoryLog(), Settings(heartbeat=0.02))


async def test_one_that_answers_pings_stays(bus: Bus) -> None:
    async with bus.socket(autoping=False) as client:
        assert await _hear_but_for_pings(client.ws, {"action": "identify"}) == "identify"
        for _ in range(3 * MISSED_BEATS):
            ping = await client.ws.receive(timeout=PATIENCE)
            await client.ws.pong(ping.data)

        assert ping.type is WSMsgType.PING
        assert await _hear_but_for_pings(client.ws, {"action": "who-are-you"}) == "who-are-you"


async def test_one_that_does_not_is_told_to_come_back(bus: Bus) -> None:
    async with bus.socket(autoping=False) as client:
        assert await _hear_but_for_pings(client.ws, {"action": "identify"}) == "identify"
        while (message := await client.ws.receive(timeout=PATIENCE)).type is WSMsgType.PING:
            pass

        assert (message.type, message.data) == (WSMsgType.CLOSE, 4408)


async def test_a_ping_is_answered_with_what_it_carried(bus: Bus) -> None:
    async with bus.socket(autoping=False) as client:
        await client.ws.ping(b"are you there?")

        while (message := await client.ws.receive(timeout=PATIENCE)).type is WSMsgType.PING:
            await client.ws.pong(message.data)

    assert (message.type, bytes(message.data)) == (WSMsgType.PONG, b"are you there?")


def test_silence_is_counted_from_the_last_sign_of_life() -> None:
    pulse = Pulse()

    lives = [pulse.beat(written=0, waiting=0) for _ in range(MISSED_BEATS)]
    pulse.hear()
    lives += [pulse.beat(written=0, waiting=0) for _ in range(MISSED_BEATS + 1)]

    # The first beat after something was heard misses nothing.
    assert lives == [True] * MISSED_BEATS + [True] * MISSED_BEATS + [False]


def test_one_that_takes_a_little_of_what_waits_lives() -> None:
    pulse = Pulse()

    lives = [pulse.beat(written=1000 + sent, waiting=1000) for sent in range(2 * MISSED_BEATS)]

    assert all(lives)


def test_one_that_takes_nothing_of_what_waits_does_not_live() -> None:
    pulse = Pulse()

    lives = [pulse.beat(written=1000, waiting=1000) for _ in range(MISSED_BEATS + 1)]

    assert lives == [True] * MISSED_BEATS + [False]


def test_one_that_speaks_and_takes_nothing_of_what_waits_does_not_live() -> None:
    pulse = Pulse()
    lives = []

    for _ in range(MISSED_BEATS + 1):
        pulse.hear()
        lives.append(pulse.beat(written=1000, waiting=1000))

    assert lives == [True] * MISSED_BEATS + [False]


def test_one_that_speaks_may_take_its_time_over_what_waits() -> None:
    pulse = Pulse()
    lives = []

    for beat in range(3 * MISSED_BEATS):
        pulse.hear()
        taken = beat // (MISSED_BEATS - 1)  # now and then a byte
        lives.append(pulse.beat(written=1000 + taken, waiting=1000))

    assert all(lives)


def test_what_the_system_takes_for_a_peer_that_vanished_is_no_sign_of_life() -> None:
    pulse = Pulse()

    lives = [pulse.beat(written=2 * number, waiting=0) for number in range(MISSED_BEATS + 1)]

    assert lives == [True] * MISSED_BEATS + [False]


async def _hear_but_for_pings(ws: Any, command: dict[str, str]) -> str:
    await ws.send_json(command)
    while (message := await ws.receive(timeout=PATIENCE)).type is not WSMsgType.TEXT:
        await ws.pong(message.data)
    return str(message.json()["action"])


async def test_a_connection_over_tls_that_is_ending_can_be_asked_what_waits() -> None:
    over_tls = SSLProtocol(asyncio.get_running_loop(), asyncio.Protocol(), ssl.create_default_context(), None)
    transport = over_tls._get_app_transport()
    outlet = SocketOutlet(transport, drain=lambda: asyncio.sleep(0), send_buffer=1000)
    transport.close()
    transport.close()  # now asyncio's own transport does not know any more

    outlet.beat()

    assert outlet.waiting == 0
    assert not outlet.full
