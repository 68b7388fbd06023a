"""KeptIdentities: tokens are secrets, addresses are public, and how long both live."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest
from eventbus.identities import address_of, new_token
from eventbus.log import Log
from eventbus.log.kept_identities import KeptIdentities
from eventbus.problems import LogUnavailable

LIFETIME = 1000.0


class Clock:
    """Stands still until it is set."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def identities(log: Log, clock: Clock) -> AsyncIterator[KeptIdentities]:
    yield KeptIdentities(log, lifetime=LIFETIME, clock=clock)
    await log.close()


class CountingLog:
    """Counts how often identities are written."""

    def __init__(self) -> None:
        self.expiries: dict[str, float] = {}
        self.writes = self.reads = 0

    async def identity_expiry(self, address: str) -> float:
        self.reads += 1
        return self.expiries.get(address, 0)

    async def keep_identities(self, expiries: dict[str, float], *, now: float) -> bool:
        self.writes += 1
        self.expiries |= expiries
        return False


class FullDisk:
    """A log that takes no identities while `full`."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self.full = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log, name)

    async def keep_identities(self, expiries: Mapping[str, float], *, now: float) -> None:
        if self.full:
            raise LogUnavailable("the log cannot be written: database or disk is full")
        await self._log.keep_identities(expiries, now=now)


def test_tokens_and_addresses_are_told_apart_by_their_beginning() -> None:
    token = new_token()

    assert token.startswith("token-")
    assert address_of(token).startswith("client-")


def test_tokens_are_long_and_never_the_same() -> None:
    tokens = {new_token() for _ in range(1000)}

    assert len(tokens) == 1000
    assert min(map(len, tokens)) >= 6 + 43  # 256 bits


def test_an_address_says_nothing_about_its_token() -> None:
    token = new_token()

    assert token.removeprefix("token-")[:8] not in address_of(token)


def test_a_token_has_one_address() -> None:
    token = new_token()

    assert address_of(token) == address_of(token)
    assert address_of(token) != address_of(new_token())


@pytest.mark.parametrize("identifier", ["client-0123", "", "anything", "Token-1", " token-1"])
def test_what_is_no_token_stays_as_it_is(identifier: str) -> None:
    assert address_of(identifier) == identifier


async def test_an_issued_token_counts(identities: KeptIdentities) -> None:
    assert await identities.use(await identities.issue())


@pytest.mark.parametrize("made_up", ["", "token-", "token-made-up", "client-0123", "\x00", "token-é"])
async def test_a_token_that_was_never_issued_does_not_count(identities: KeptIdentities, made_up: str) -> None:
    assert not await identities.use(made_up)


async def test_an_address_is_not_enough(identities: KeptIdentities) -> None:
    assert not await identities.use(address_of(await identities.issue()))


async def test_an_identity_that_is_not_used_expires(identities: KeptIdentities, clock: Clock) -> None:
    token = await identities.issue()

    clock.now += LIFETIME * 1.2

    assert not await identities.use(token)


async def test_an_identity_lives_a_whole_lifetime_after_each_use(identities: KeptIdentities, clock: Clock) -> None:
    token = await identities.issue()

    for _ in range(10):
        clock.now += LIFETIME

        assert await identities.use(token)


async def test_an_expired_identity_stays_expired(identities: KeptIdentities, clock: Clock) -> None:
    token = await identities.issue()
    clock.now += LIFETIME * 2
    await identities.use(token)
    await identities.issue()  # which makes the log forget the other

    assert not await identities.use(token)


async def test_identities_in_use_are_kept_and_others_are_forgotten(
    log: Log, identities: KeptIdentities, clock: Clock
) -> None:
    used, unused = [address_of(await identities.issue()) for _ in range(2)]
    clock.now += LIFETIME
    await identities.refresh([used])
    clock.now += LIFETIME
    await identities.refresh([used])

    assert await log.identity_expiry(used) >= clock.now + LIFETIME
    assert await log.identity_expiry(unused) == 0


async def test_what_the_log_holds_counts_for_the_next_bus(log: Log, identities: KeptIdentities, clock: Clock) -> None:
    token = await identities.issue()

    assert await KeptIdentities(log, lifetime=LIFETIME, clock=clock).use(token)


async def test_use_is_written_at_most_once_in_a_tenth_of_the_lifetime(clock: Clock) -> None:
    log = CountingLog()
    identities = KeptIdentities(log, lifetime=LIFETIME, clock=clock)  # type: ignore[arg-type]
    token = await identities.issue()
    log.writes = 0

    for _ in range(10_000):
        clock.now += LIFETIME / 1000  # in all ten lifetimes, so a hundred tenths
        assert await identities.use(token)

    assert 90 <= log.writes <= 100
    assert log.reads == 0


async def test_whatever_expired_is_forgotten_at_the_next_refresh_though_in_steps() -> None:
    class Forgetting:
        """Has more to forget three times, and then says nothing."""

        def __init__(self) -> None:
            self.steps: list[list[str]] = []
            self.done = asyncio.Event()

        async def keep_identities(self, expiries: dict[str, float], *, now: float) -> bool:
            self.steps.append(list(expiries))
            if len(self.steps) == 4:
                self.done.set()
                await asyncio.Event().wait()
            return True

    log = Forgetting()
    identities = KeptIdentities(log, lifetime=0, clock=Clock())  # type: ignore[arg-type]

    refreshing = asyncio.create_task(identities.keep_refreshing(lambda: ["client-anna"]))
    await asyncio.wait_for(log.done.wait(), 10)
    refreshing.cancel()

    assert log.steps == [["client-anna"], [], [], []]


async def test_memory_for_what_the_log_said_is_bounded(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> None:
    monkeypatch.setattr("eventbus.log.kept_identities._REMEMBERED", 10)
    log = CountingLog()
    identities = KeptIdentities(log, lifetime=LIFETIME, clock=clock)  # type: ignore[arg-type]

    for number in range(100):
        await identities.use(f"token-{number}")

    assert log.reads == 100
    assert len(identities._expiries) <= 11


async def test_made_up_tokens_do_not_push_out_an_identity(
    monkeypatch: pytest.MonkeyPatch, identities: KeptIdentities
) -> None:
    monkeypatch.setattr("eventbus.log.kept_identities._REMEMBERED", 10)
    token = await identities.issue()

    for number in range(100):
        await identities.use(f"token-{number}")

    assert await identities.use(token)


async def test_one_whose_socket_closes_just_before_the_next_refresh_lives_for_a_whole_lifetime(
    identities: KeptIdentities, clock: Clock
) -> None:
    token = await identities.issue()

    clock.now += LIFETIME / 10 - 1
    assert await identities.use(token)  # too soon to be refreshed
    clock.now += LIFETIME / 10 - 1  # and now its socket closes
    clock.now += LIFETIME - 1

    assert await identities.use(token)


async def test_one_with_an_open_socket_lives_though_the_clock_leapt(log: Log, clock: Clock) -> None:
    connected = set[str]()
    identities = KeptIdentities(log, lifetime=LIFETIME, is_connected=connected.__contains__, clock=clock)
    token = await identities.issue()
    connected.add(address_of(token))

    clock.now += 100 * LIFETIME

    assert await identities.use(token)
    connected.clear()
    assert await identities.use(token)
    await log.close()


async def test_a_use_that_could_not_be_kept_is_kept_with_the_next_one(log: Log, clock: Clock) -> None:
    disk: Any = FullDisk(log)
    identities = KeptIdentities(disk, lifetime=LIFETIME, clock=clock)
    token = await identities.issue()
    clock.now += LIFETIME / 2
    disk.full = True
    with pytest.raises(LogUnavailable):
        await identities.use(token)
    disk.full = False

    await identities.use(token)

    assert await log.identity_expiry(address_of(token)) >= clock.now + LIFETIME
    await log.close()
