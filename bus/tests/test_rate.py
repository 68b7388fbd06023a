"""How fast clients may publish: each for itself, and all of one host together."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from bus_under_test import ORIGIN, Bus, StartBus
from eventbus.config import Settings
from eventbus.limits.identity_rate import IdentityRate
from eventbus.limits.publish_rate import Kept, PublishRate
from eventbus.log import Appended, Entry
from eventbus.log.by_url import open_log
from eventbus.log.memory import MemoryLog
from eventbus.problems import LogUnavailable, TooFast
from hypothesis import given
from hypothesis import strategies as st


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def passes(rate: PublishRate, count: int = 1, *, client: str = "anna", host: str = "h") -> bool:
    try:
        rate.take({client: count}, host=host)
    except TooFast:
        return False
    return True


def test_a_client_may_publish_a_burst_and_then_at_its_rate() -> None:
    clock = Clock()
    rate = PublishRate(5, clock=clock)

    assert [passes(rate) for _ in range(21)] == [True] * 20 + [False]
    clock.now += 0.2
    assert [passes(rate) for _ in range(2)] == [True, False]
    clock.now += 1_000
    assert [passes(rate) for _ in range(21)] == [True] * 20 + [False]


def test_what_was_refused_is_not_counted_and_passes_when_it_was_told_to_come() -> None:
    clock = Clock()
    rate = PublishRate(1, clock=clock)
    assert passes(rate, 4)

    with pytest.raises(TooFast) as refusal:
        rate.take({"anna": 3, "ben": 3}, host="h")

    assert refusal.value.retry_after == 3
    assert passes(rate, 4, client="ben")
    clock.now += 3
    assert passes(rate, 3)


def test_what_could_not_be_stored_is_given_back() -> None:
    clock = Clock()
    rate = PublishRate(1, clock=clock)
    assert passes(rate, 3)

    rate.take({"anna": 1, "ben": 4}, host="h")
    rate.give_back({"anna": 1, "ben": 4}, host="h")

    assert [passes(rate) for _ in range(2)] == [True, False]
    assert passes(rate, 4, client="ben")
    assert sum(passes(rate, client=str(number)) for number in range(100)) == 32  # 40, and 8 have passed


def test_who_gets_something_back_late_may_not_publish_more_than_a_burst() -> None:
    clock = Clock()
    rate = PublishRate(1, clock=clock)
    assert passes(rate, 4)
    clock.now += 1_000

    rate.give_back({"anna": 4, "nobody": 4}, host="h")

    assert [passes(rate) for _ in range(5)] == [True] * 4 + [False]
    assert list(rate._clients._times) == ["anna"]


def test_a_batch_larger_than_a_burst_passes_and_is_waited_off() -> None:
    clock = Clock()
    rate = PublishRate(1, clock=clock)

    assert passes(rate, 10)
    clock.now += 9
    assert not passes(rate, 4)
    clock.now += 1
    assert passes(rate, 4)


def test_all_clients_of_a_host_together_are_bounded_and_other_hosts_are_not_concerned() -> None:
    rate = PublishRate(1, clock=Clock())

    passed = sum(passes(rate, client=str(number)) for number in range(100))

    assert passed == 40
    assert passes(rate, client="anna", host="another")


def test_all_hosts_of_a_site_may_publish_as_much_as_eight_and_other_sites_are_not_concerned() -> None:
    rate = PublishRate(1, clock=Clock())

    passed = sum(
        passes(rate, client=f"{host} {number}", host=f"2001:db8:0:{host}::/64")
        for host in range(20)
        for number in range(50)
    )

    assert passed == 8 * 40
    assert passes(rate, client="anna", host="2001:db8:1::/64")


def test_without_a_limit_everything_passes() -> None:
    assert passes(PublishRate(0, clock=Clock()), 1_000_000)


def test_what_is_remembered_is_bounded_by_what_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eventbus.limits.arrivals.REMEMBERED", 10)
    clock = Clock()
    rate = PublishRate(1, clock=clock)

    for number in range(1000):
        clock.now += 0.5
        assert passes(rate, client=str(number), host=str(number))

    assert len(rate._clients._times) <= 10


def gets_identity(rate: IdentityRate, *, host: str = "h") -> bool:
    try:
        rate.take(host=host)
    except TooFast:
        return False
    return True


def test_a_host_gets_a_burst_of_identities_and_then_as_many_as_its_rate_allows() -> None:
    clock = Clock()
    rate = IdentityRate(50, clock=clock)

    assert [gets_identity(rate) for _ in range(201)] == [True] * 200 + [False]
    assert gets_identity(rate, host="another")
    clock.now += 0.1
    assert [gets_identity(rate) for _ in range(6)] == [True] * 5 + [False]


def test_all_hosts_of_a_site_get_as_many_identities_as_eight() -> None:
    rate = IdentityRate(1, clock=Clock())

    got = sum(gets_identity(rate, host=f"2001:db8:0:{number % 20}::/64") for number in range(400))

    assert got == 8 * 4
    assert gets_identity(rate, host="2001:db8:1::/64")


def test_a_host_that_gets_no_identity_is_told_when_it_will() -> None:
    clock = Clock()
    rate = IdentityRate(1, clock=clock)
    assert [gets_identity(rate) for _ in range(4)] == [True] * 4

    with pytest.raises(TooFast, match="more than 1 new identities a second from your host") as refusal:
        rate.take(host="h")

    assert refusal.value.retry_after == 1
    clock.now += 1
    assert gets_identity(rate)


def test_without_a_limit_a_host_gets_any_number_of_identities() -> None:
    rate = IdentityRate(0, clock=Clock())

    assert all(gets_identity(rate) for _ in range(10_000))


@given(st.lists(st.tuples(st.floats(0, 3), st.integers(1, 6)), max_size=60))
def test_over_any_time_no_more_pass_than_the_rate_and_one_burst_allow(steps: list[tuple[float, int]]) -> None:
    clock = Clock()
    rate = PublishRate(2, clock=clock)
    passed: list[tuple[float, int]] = []

    for seconds, count in steps:
        clock.now += seconds
        if passes(rate, count):
            passed.append((clock.now, count))

    for first, (start, _) in enumerate(passed):
        for last in range(first, len(passed)):
            total = sum(count for _, count in passed[first : last + 1])
            assert total <= 2 * (passed[last][0] - start + 4) + 0.001


# Over the wire.


@pytest.fixture
async def bus(start: StartBus) -> Bus:
    return await start(open_log("memory:"), Settings(client_rate=1))


async def test_a_client_that_is_too_fast_is_told_when_to_come_back(bus: Bus) -> None:
    async with bus.client() as anna, bus.client() as ben:
        events = [{"name": "hi", "context": {"identifier": anna.token}} for _ in range(5)]
        for event in events[:4]:
            assert (await bus.post(event)).status == 200

        refused = await bus.post(events[4], Origin=ORIGIN)

        assert (refused.status, refused.json["title"]) == (429, "Too fast")
        assert 1 <= int(refused.headers["Retry-After"]) <= 2
        assert refused.headers["Access-Control-Expose-Headers"] == "Retry-After"
        await bus.publish("hi", token=ben.token)
    assert len(await bus.events()) == 5


async def test_a_batch_counts_each_of_its_events(bus: Bus) -> None:
    token = await bus.new_token()
    batch = [{"name": "hi", "context": {"identifier": token}}] * 3

    assert [(await bus.post(batch)).status for _ in range(2)] == [200, 429]
    assert len(await bus.events()) == 3


async def test_what_the_log_could_not_take_does_not_count(start: StartBus) -> None:
    class FullOnce(MemoryLog):
        full = True

        async def append(self, entries: Sequence[Entry]) -> list[Appended]:
            if self.full:
                self.full = False
                raise LogUnavailable("the disk is full")
            return await super().append(entries)

    bus = await start(FullOnce(), Settings(client_rate=1))
    token = await bus.new_token()
    batch = [{"name": "hi", "context": {"identifier": token}}] * 200

    assert [(await bus.post(batch)).status for _ in range(3)] == [503, 200, 429]


async def test_services_have_no_limit(bus: Bus) -> None:
    for _ in range(100):
        await bus.publish("hi", service="the-service")


async def test_many_identities_do_not_help(start: StartBus) -> None:
    bus = await start(open_log("memory:"), Settings(client_rate=5))
    tokens = [await bus.new_token() for _ in range(15)]

    statuses = [(await bus.post([{"name": "hi", "context": {"identifier": token}}] * 20)).status for token in tokens]

    assert statuses[0] == 200
    assert statuses[-1] == 429


# In bytes, and in the long run.

KIB, MIB, GIB = 1024, 1024**2, 1024**3
HOUR = 3600.0


def passes_bytes(rate: PublishRate, size: int, *, client: str = "anna", host: str = "h", count: int = 1) -> bool:
    try:
        rate.take({client: count}, host=host, size=count * size)
    except TooFast:
        return False
    return True


def published(rate: PublishRate, clock: Clock, size: int, *, hours: float, hosts: Sequence[str] = ("h",)) -> int:
    """Publish as fast as it goes, each host with as many clients as it likes; return how many events passed."""
    count, until = 0, clock.now + hours * HOUR
    while clock.now < until:
        for number, host in enumerate(hosts):
            while passes_bytes(rate, size, client=f"{number}-{count}", host=host, count=10):
                count += 10
        clock.now += 60.0
    return count


def test_one_event_of_a_client_may_be_large_but_not_all() -> None:
    clock = Clock()
    rate = PublishRate(50, clock=clock)

    assert [passes_bytes(rate, 256 * KIB) for _ in range(17)] == [True] * 16 + [False]
    passed = 0
    for _ in range(1_000):
        clock.now += 1.0
        passed += passes_bytes(rate, 256 * KIB)
    assert passed == 195  # 50 KiB a second


def test_a_client_with_events_of_ordinary_size_has_the_whole_rate_for_an_hour() -> None:
    clock = Clock()
    rate = PublishRate(50, clock=clock)

    for _ in range(int(HOUR)):
        assert passes_bytes(rate, KIB, count=50)
        clock.now += 1.0


def test_a_room_behind_one_address_is_not_too_fast() -> None:
    clock = Clock()
    rate = PublishRate(50, clock=clock)

    for second in range(int(HOUR)):
        for client in range(30):
            assert passes_bytes(rate, 400, client=f"{client}")
        if second % 60 == 0:
            assert passes_bytes(rate, 200_000, client=f"{second // 60 % 30}")
        clock.now += 1.0


@pytest.mark.parametrize(("kept", "size"), [(Kept(size=0), 300), (Kept(), 256 * KIB), (Kept(events=0), KIB)])
def test_a_host_takes_hours_to_turn_over_the_log(kept: Kept, size: int) -> None:
    clock = Clock()
    rate = PublishRate(50, kept=kept, clock=clock)

    count = published(rate, clock, size, hours=4)

    assert count < 1_000_000
    assert count * size < GIB


def test_all_hosts_of_a_network_take_hours_too() -> None:
    clock = Clock()
    rate = PublishRate(50, clock=clock)

    count = published(rate, clock, 256 * KIB, hours=2, hosts=[f"2001:db8:0:{n}::/64" for n in range(20)])

    assert count * 256 * KIB < GIB
    assert passes_bytes(rate, 256 * KIB, host="2001:db8:1:1::/64")


def test_a_small_log_is_not_turned_over_at_once_and_a_room_can_use_it() -> None:
    clock = Clock()
    rate = PublishRate(50, kept=Kept(events=10_000, size=8 * MIB), clock=clock)

    assert published(rate, clock, 25_000, hours=1 / 60) * 25_000 < 2 * MIB
    for _ in range(60):
        clock.now += 1.0
        assert all(passes_bytes(rate, 300, client=f"{client}", host="room") for client in range(30))


def test_what_could_not_be_stored_gives_its_bytes_back() -> None:
    rate = PublishRate(50, kept=Kept(size=16 * MIB), clock=Clock())

    for _ in range(100):
        rate.take({"anna": 1}, host="h", size=MIB)
        rate.give_back({"anna": 1}, host="h", size=MIB)

    assert passes_bytes(rate, MIB)


def test_in_the_long_run_a_host_gets_fewer_identities_than_live_at_once() -> None:
    clock = Clock()
    rate = IdentityRate(50, clock=clock)
    got = 0

    for _ in range(29 * 60 * 15):  # a lifetime, and what it is longer by
        while gets_identity(rate):
            got += 1
        clock.now += 4.0

    assert 500_000 < got < 600_000


async def test_a_client_that_publishes_too_many_bytes_is_told_when_to_come_back(start: StartBus) -> None:
    bus = await start(open_log("memory:"), Settings(retention_bytes=8 * MIB))
    first = await bus.publish("first", service="the-service")
    token = await bus.new_token()
    statuses = []
    for _ in range(20):
        answer = await bus.post({"name": "hi", "data": "x" * 250_000, "context": {"identifier": token}})
        statuses.append(answer.status)

    assert statuses[:4] == [200] * 4
    assert statuses[-1] == 429
    assert "bytes a second" in answer.json["detail"]
    assert int(answer.headers["Retry-After"]) >= 1
    assert (await bus.events())[0]["seq"] == first["seq"]
    await bus.publish("hi", token=token, data="small")


def test_one_host_cannot_turn_a_log_in_memory_over_at_once() -> None:
    kept = Kept.of(Settings(), MemoryLog())
    rate = PublishRate(50, kept=kept, clock=Clock())
    clients = range(1_000)

    published = sum(passes_bytes(rate, 256 * 1024, client=str(client)) for client in clients) * 256 * 1024

    assert kept.size == 64 * MIB
    assert published <= 5 * MIB
