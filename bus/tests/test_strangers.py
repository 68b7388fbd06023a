"""WebSocket frames of strangers: how many may come, that honest rooms pass, and that nobody takes all turns."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest
from bus_under_test import HANDSHAKE, KEY, PATIENCE, Bus, StartBus, below_aiohttp
from eventbus.config import Settings
from eventbus.limits.frame_rate import OBEYED_AT_ONCE, Stranger, Strangers
from eventbus.log.by_url import open_log
from eventbus.problems import TooFast
from hypothesis import given
from hypothesis import strategies as st


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def passes(stranger: Stranger, frames: int = 1, *, pongs: int = 0, size: int = 0) -> bool:
    try:
        stranger.take(frames, pongs=pongs, size=size)
    except TooFast:
        return False
    return True


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def strangers(clock: Clock) -> Strangers:
    return Strangers(50, clock=clock)


def one(strangers: Strangers, host: str = "h") -> Stranger:
    """A stranger that has said who it is."""
    stranger = strangers.connected(host)
    assert passes(stranger)
    return stranger


def test_a_connection_may_send_a_burst_and_then_at_its_rate(strangers: Strangers, clock: Clock) -> None:
    stranger = one(strangers)

    assert [passes(stranger) for _ in range(201)] == [True] * 200 + [False]
    clock.now += 0.02
    assert [passes(stranger) for _ in range(2)] == [True, False]
    clock.now += 1_000
    assert passes(stranger, 200)
    assert not passes(stranger)


def enters(strangers: Strangers, host: str = "h") -> bool:
    try:
        strangers.enter(host)
    except TooFast:
        return False
    return True


def test_a_room_behind_one_address_comes_back_at_once_and_a_flood_of_handshakes_does_not_pass(
    strangers: Strangers, clock: Clock
) -> None:
    assert [enters(strangers) for _ in range(2_001)] == [True] * 2_000 + [False]

    assert enters(strangers, "another")
    clock.now += 0.01
    assert [enters(strangers) for _ in range(6)] == [True] * 5 + [False]


async def test_who_opens_too_many_websockets_is_told_when_to_come_back_and_a_service_is_not(start: StartBus) -> None:
    bus = await start(open_log("memory:"), Settings(client_rate=1))
    heads = [(await bus.raw(HANDSHAKE + KEY + CLOSE)).partition(b"\r\n")[0] for _ in range(45)]

    assert heads[:40] == [b"HTTP/1.1 101 Switching Protocols"] * 40
    assert heads[-1] == b"HTTP/1.1 429 Too Many Requests"
    known = HANDSHAKE + b"Authorization: the-service\r\n" + KEY + CLOSE
    assert (await bus.raw(known)).startswith(b"HTTP/1.1 101 ")


def test_more_than_a_burst_at_once_is_too_many(strangers: Strangers) -> None:
    assert not passes(one(strangers), 201)
    assert not passes(one(strangers), 10_000)


def test_a_host_s_count_outlives_its_connections(strangers: Strangers, clock: Clock) -> None:
    bursts = sum(passes(one(strangers), 200) for _ in range(100))

    assert 10 <= bursts <= 20  # ten connections' worth, and as much again for which it has to rest
    assert not passes(one(strangers), 200)
    assert passes(one(strangers, host="other"), 200)
    clock.now += 8
    assert passes(one(strangers), 200)


def test_all_hosts_of_a_site_have_the_rate_of_eight(strangers: Strangers) -> None:
    hosts = [f"2001:db8:0:{number:x}::/64" for number in range(100)]

    bursts = sum(passes(one(strangers, host=host), 200) for host in hosts for _ in range(10))

    assert 80 <= bursts <= 160
    assert passes(one(strangers, host="2001:db8:1::/64"), 200)


def test_bursts_that_are_refused_count_for_the_host_too(strangers: Strangers) -> None:
    for _ in range(30):
        assert not passes(one(strangers), 201)

    assert not passes(one(strangers), 200)


def test_a_host_that_is_ahead_rests_before_it_is_refused(strangers: Strangers) -> None:
    rests = [one(strangers).take(200, pongs=0, size=0) for _ in range(20)]

    assert rests[:10] == [0.0] * 10
    assert all(0 < rest <= 4 for rest in rests[11:])
    assert rests == sorted(rests)


def test_who_says_little_is_heard_although_its_neighbours_say_too_much(strangers: Strangers, clock: Clock) -> None:
    neighbour = one(strangers)
    for _ in range(100):
        passes(one(strangers), 200)

    for _ in range(100):
        assert 0 < neighbour.take(1, pongs=0, size=10) <= 4  # seconds for which it is not read
        clock.now += 1
        for _ in range(3):
            passes(one(strangers), 200)


def test_a_thousand_pages_behind_one_address_come_back_together_and_give_signs_of_life(
    strangers: Strangers, clock: Clock
) -> None:
    pages = [one(strangers) for _ in range(1_000)]

    for _ in range(10):
        for page in pages:
            clock.now += 20 / len(pages)
            page.pings += 1
            assert page.take(1, pongs=1, size=6) == 0
            assert page.take(1, pongs=0, size=23) == 0


def test_one_pong_for_each_ping_is_free_and_no_more(strangers: Strangers) -> None:
    stranger = one(strangers)
    assert passes(stranger, 200)

    assert not passes(stranger, 1, pongs=1)
    stranger.pings += 1
    assert passes(stranger, 1, pongs=1)
    assert not passes(stranger, 1, pongs=1)


def test_bytes_count_too(strangers: Strangers) -> None:
    stranger = one(strangers)

    assert sum(passes(stranger, 0, size=64 * 1024) for _ in range(100)) == 12


def test_without_a_limit_all_passes() -> None:
    assert passes(Strangers(0).connected("h"), 1_000_000)
    assert Strangers(0).connected("h").most_at_once == float("inf")


@given(st.lists(st.tuples(st.integers(1, 300), st.floats(0, 2)), max_size=50))
def test_in_no_span_of_time_do_more_pass_than_the_rate_and_a_burst(bursts: list[tuple[int, float]]) -> None:
    clock = Clock()
    stranger = one(Strangers(50, clock=clock))
    passed: list[tuple[float, int]] = []
    for frames, pause in bursts:
        clock.now += pause
        if passes(stranger, frames):
            passed.append((clock.now, frames))

    for begin in range(len(passed)):
        span = passed[begin:]
        assert sum(frames for _, frames in span) <= 200 + 50 * (span[-1][0] - span[0][0]) + 1e-3


# Turns


async def test_strangers_take_turns_and_others_have_theirs_in_between() -> None:
    strangers, obeyed, most = Strangers(0), 0, 0

    async def stranger() -> None:
        nonlocal obeyed
        for _ in range(20):
            await strangers.turn()
            obeyed += 1

    async with asyncio.TaskGroup() as tasks:
        crowd = [tasks.create_task(stranger()) for _ in range(100)]
        while not all(each.done() for each in crowd):
            before = obeyed
            await asyncio.sleep(0)
            most = max(most, obeyed - before)

    assert obeyed == 2_000
    assert most <= OBEYED_AT_ONCE


async def test_one_whose_connection_ends_takes_nobody_s_turn() -> None:
    strangers = Strangers(0)
    gone = [asyncio.create_task(strangers.turn()) for _ in range(100)]
    await asyncio.sleep(0)
    for each in gone:
        each.cancel()

    async with asyncio.timeout(PATIENCE):
        await strangers.turn()


# The same over the wire


def command(text: bytes, *, opcode: int = 1, fin: bool = True) -> bytes:
    return bytes([opcode | (0x80 if fin else 0), 0x80 | len(text), 0, 0, 0, 0]) + text


IDENTIFY, PING, UNKNOWN = (command(b'{"action":"%b"}' % action) for action in (b"identify", b"ping", b"dance"))
CLOSE = command(b"", opcode=8)
TOO_FAST = b"\x03\xf0too many frames; come back later"


async def is_told_to_come_back_later(bus: Bus, frames: bytes) -> bool:
    """Connect and send frames; is that too fast?"""
    reader, writer = await asyncio.open_connection(*bus.address)
    writer.write(HANDSHAKE + KEY + frames)
    try:
        async with asyncio.timeout(PATIENCE):
            return b"\x88" in await reader.readuntil(TOO_FAST)
    except asyncio.IncompleteReadError:
        return False
    finally:
        writer.close()


FLOODS = {
    "commands": UNKNOWN,
    "signs of life": PING,
    "pings": command(b"", opcode=9),
    "long pings": command(b"x" * 125, opcode=9),
    "pongs": command(b"", opcode=10),
    "empty fragments": command(b"", opcode=0, fin=False),
}


@below_aiohttp
@pytest.mark.parametrize("first", [b"", IDENTIFY], ids=["unknown", "a client"])
@pytest.mark.parametrize("flood", FLOODS.values(), ids=FLOODS)
async def test_a_stranger_that_sends_too_many_frames_is_told_to_come_back_later(
    bus: Bus, flood: bytes, first: bytes
) -> None:
    begin = command(b"", opcode=1, fin=False) if flood[0] == 0 else b""

    assert await is_told_to_come_back_later(bus, first + begin + flood * 1_000)
    assert await bus.new_token()


@below_aiohttp
@pytest.mark.parametrize("flood", FLOODS.values(), ids=FLOODS)
async def test_a_handshake_behind_another_request_is_no_way_around_the_rate(bus: Bus, flood: bytes) -> None:
    begin = command(b"", opcode=1, fin=False) if flood[0] == 0 else b""
    reader, writer = await asyncio.open_connection(*bus.address)
    writer.write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n" + HANDSHAKE + KEY)
    await reader.readuntil(b"101 Switching Protocols\r\n")
    await reader.readuntil(b"\r\n\r\n")

    writer.write(begin + flood * 1_000 + CLOSE)
    async with asyncio.timeout(PATIENCE):
        with suppress(ConnectionResetError):
            assert not (await reader.read()).endswith(b"\x88\x02\x03\xe8")
    writer.close()
    assert await bus.new_token()


async def test_a_burst_of_a_stranger_is_answered(bus: Bus) -> None:
    answer = await bus.raw(HANDSHAKE + KEY + IDENTIFY + PING * 199 + CLOSE)

    assert answer.count(b'{"action":"ping"}') == 199
    assert answer.endswith(b"\x88\x02\x03\xe8")


@pytest.mark.parametrize("flood", [UNKNOWN, PING, command(b"", opcode=9)], ids=["commands", "signs of life", "pings"])
async def test_a_service_may_be_as_fast_as_it_likes(bus: Bus, flood: bytes) -> None:
    authenticate = command(b'{"action":"authenticate","credentials":"the-service"}')
    reader, writer = await asyncio.open_connection(*bus.address)
    writer.write(HANDSHAKE + KEY + authenticate)
    await reader.readuntil(b"}")

    writer.write(flood * 1_000 + CLOSE)
    async with asyncio.timeout(PATIENCE):
        answer = await reader.read()

    assert answer.endswith(b"\x88\x02\x03\xe8")
    writer.close()


async def test_a_service_that_shows_its_token_with_the_handshake_has_no_rate_either(bus: Bus) -> None:
    answer = await bus.raw(HANDSHAKE + b"Authorization: Bearer the-service\r\n" + KEY + PING * 1_000 + CLOSE)

    assert answer.endswith(b"\x88\x02\x03\xe8")


async def test_the_rate_is_that_of_clients_and_zero_is_none(start: StartBus) -> None:
    slow = await start(open_log("memory:"), Settings(client_rate=1))
    fast = await start(open_log("memory:"), Settings(client_rate=0))

    assert await is_told_to_come_back_later(slow, IDENTIFY + PING * 5)
    assert (await fast.raw(HANDSHAKE + KEY + IDENTIFY + PING * 2_000 + CLOSE)).endswith(b"\x88\x02\x03\xe8")


async def test_answers_to_the_bus_s_pings_never_end_a_connection(start: StartBus) -> None:
    bus = await start(open_log("memory:"), Settings(client_rate=1, heartbeat=0.01))

    async with bus.client() as anna:  # whose library answers pings
        for _ in range(100):  # many more heartbeats than a client may send frames
            await bus.publish("hi", service="the-service", context={"identifier": anna.address})
            await asyncio.sleep(0.01)
            assert (await anna.hear())["name"] == "hi"


@below_aiohttp
async def test_a_host_that_was_too_fast_is_heard_again_and_others_are_all_the_time(start: StartBus) -> None:
    bus = await start(open_log("memory:"), Settings(client_rate=1))
    for _ in range(25):
        assert await is_told_to_come_back_later(bus, IDENTIFY + PING * 5)

    async with bus.client() as neighbour:
        assert await neighbour.ask({"action": "ping"}) == {"action": "ping"}
    async with bus.service() as service:
        assert await service.ask({"action": "ping"}) == {"action": "ping"}
