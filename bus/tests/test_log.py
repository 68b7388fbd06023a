"""What every log promises; this one suite runs against each of them."""

from __future__ import annotations

import asyncio
import re
import uuid
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
from eventbus.environment import ConfigError
from eventbus.event import Draft, Event
from eventbus.log import READ_BYTES, READ_LIMIT, TRIM_BYTES, TRIM_STEP, Appended, Log, Publisher, follow
from eventbus.log.by_url import open_log
from eventbus.patterns import EVERYTHING, Patterns

ANNA = Publisher(source="client", scope="client-anna")
BERT = Publisher(source="client", scope="client-bert")
SERVICE = Publisher(source="domain service", scope="service domain service")


@pytest.fixture(autouse=True)
async def close(log: Log) -> AsyncIterator[None]:
    yield
    await log.close()


def draft(name: str = "hi", **fields: Any) -> Draft:
    return Draft(name=name, **fields)


async def append(log: Log, *drafts: Draft, publisher: Publisher = ANNA) -> list[Appended]:
    return await log.append([(draft, publisher) for draft in drafts])


async def names(log: Log, **options: Any) -> list[str]:
    return [event.name for event in await log.read(**{"after": 0, "limit": 100} | options)]


async def test_a_new_log_is_empty(log: Log) -> None:
    assert log.head == 0
    assert await log.read(after=0, limit=10) == []


async def test_an_event_that_has_no_id_gets_one_of_its_own(log: Log) -> None:
    one, two = await append(log, draft(), draft())
    events = await log.read(after=0, limit=10)

    assert [uuid.UUID(each.id).version for each in (one, two)] == [7, 7]
    assert one.id != two.id
    assert [event.content.id for event in events] == [one.id, two.id]


async def test_an_event_that_is_sent_again_under_the_id_it_got_is_a_duplicate(log: Log) -> None:
    [first] = await append(log, draft())

    [again] = await append(log, draft(id=first.id))

    assert again == Appended(id=first.id, seq=first.seq, duplicate=True)


async def test_an_event_is_read_as_it_was_written(log: Log) -> None:
    data = b'{"b": [1e400, -0.0, "\\u0000", "\xf0\x9f\x98\x80"], "a": 1180591620717411303424, "b": null}'
    written = draft("check-domain", id="1", data=msgspec.Raw(data), context={"identifier": "client-anna", "é": ""})

    [appended] = await append(log, written, publisher=SERVICE)
    [event] = await log.read(after=0, limit=10)

    assert appended == Appended(id="1", seq=event.seq)
    content = event.content
    assert (event.name, event.identifier) == ("check-domain", "client-anna")
    assert (content.name, content.id, content.source) == ("check-domain", "1", "domain service")
    assert bytes(content.data) == data
    assert content.context == {"identifier": "client-anna", "é": ""}
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", content.time)


async def test_events_are_read_in_the_order_of_their_positions(log: Log) -> None:
    appended = [*await append(log, draft("a"), draft("b")), *await append(log, draft("c"))]

    seqs = [one.seq for one in appended]
    assert seqs == sorted(set(seqs))
    assert log.head == seqs[-1]
    assert await names(log) == ["a", "b", "c"]


async def test_reading_begins_after_a_position_and_ends_at_a_limit(log: Log) -> None:
    _, second, *_ = await append(log, *map(draft, "abcde"))

    assert await names(log, after=second.seq) == ["c", "d", "e"]
    assert await names(log, after=second.seq, limit=2) == ["c", "d"]
    assert await names(log, limit=0) == []
    assert await names(log, after=log.head) == []
    assert await names(log, after=10**18 - 1) == []


async def test_reading_can_be_narrowed_to_some_names(log: Log) -> None:
    await append(log, *map(draft, ["check-domain", "register-domain", "check-name"]))

    assert await names(log, names=Patterns(["check-*"])) == ["check-domain", "check-name"]
    assert await names(log, names=Patterns(["check-*"]), limit=1) == ["check-domain"]
    assert await names(log, names=Patterns(["register-domain"])) == ["register-domain"]
    assert await names(log, names=Patterns([])) == []


async def test_reading_can_be_narrowed_to_one_client(log: Log) -> None:
    to_anna, to_bert = {"identifier": "client-anna"}, {"identifier": "client-bert"}
    await append(log, draft("a", context=to_anna), draft("b", context=to_bert), draft("c"), draft("d", context=to_anna))

    assert await names(log, address="client-anna") == ["a", "d"]
    assert await names(log, address="client-anna", names=Patterns(["d"])) == ["d"]
    assert await names(log, address="client-nobody") == []


async def test_a_repeated_id_is_the_first_event_whatever_it_says(log: Log) -> None:
    [first] = await append(log, draft("a", id="1"))
    await append(log, draft("b", id="2"))

    [again] = await append(log, draft("c", id="1"))

    assert again == Appended(id="1", seq=first.seq, duplicate=True)
    assert await names(log) == ["a", "b"]


async def test_a_repeated_id_is_found_within_one_batch(log: Log) -> None:
    first, again = await append(log, draft("a", id="1"), draft("b", id="1"))

    assert (again.seq, again.duplicate) == (first.seq, True)
    assert await names(log) == ["a"]


async def test_a_repeated_id_is_found_among_appends_in_flight(log: Log) -> None:
    appended = await asyncio.gather(*[append(log, draft(f"hi-{n}", id="1")) for n in range(50)])

    assert len({one.seq for [one] in appended}) == 1
    assert [one.duplicate for [one] in appended].count(False) == 1
    assert len(await names(log)) == 1


async def test_nobody_can_occupy_the_ids_of_another_publisher(log: Log) -> None:
    for publisher in (ANNA, BERT, SERVICE):
        [appended] = await append(log, draft(id="1"), publisher=publisher)
        assert not appended.duplicate

    assert len(await names(log)) == 3


async def test_a_repeated_id_is_a_new_event_once_the_window_has_passed(log: Log) -> None:
    [first] = await append(log, draft(id="1"))

    log.forget_ids(upto=first.seq)
    [second] = await append(log, draft(id="1"))
    [third] = await append(log, draft(id="1"))

    assert (second.seq > first.seq, second.duplicate) == (True, False)
    assert (third.seq, third.duplicate) == (second.seq, True)

    await log.trim(keep=1)
    [fourth] = await append(log, draft(id="1"))
    assert (fourth.seq, fourth.duplicate) == (second.seq, True)


async def test_appends_from_many_publishers_are_all_kept_once(log: Log) -> None:
    async def publish(publisher: Publisher) -> list[int]:
        return [(await append(log, draft(), publisher=publisher))[0].seq for _ in range(30)]

    seqs = await asyncio.gather(*[publish(Publisher(source="client", scope=f"client-{n}")) for n in range(10)])

    assert all(own == sorted(own) for own in seqs)
    events = await log.read(after=0, limit=1000)
    assert sorted(seq for own in seqs for seq in own) == [event.seq for event in events]


async def test_an_event_can_be_read_once_its_append_has_returned(log: Log) -> None:
    for number in range(20):
        [appended] = await append(log, draft(f"hi-{number}"))

        assert log.head == appended.seq
        assert await names(log, after=appended.seq - 1) == [f"hi-{number}"]


async def test_an_append_whose_publisher_went_away_harms_nobody(log: Log) -> None:
    hurried = asyncio.create_task(append(log, draft("hurried")))
    patient = asyncio.create_task(append(log, draft("patient")))
    asyncio.get_running_loop().call_soon(hurried.cancel)

    await patient

    assert "patient" in await names(log)


async def test_waiting_ends_when_the_log_goes_beyond_a_position(log: Log) -> None:
    waiting = asyncio.create_task(log.wait_beyond(log.head))

    await append(log, draft())

    async with asyncio.timeout(5):
        await waiting
        await log.wait_beyond(0)


async def test_following_reads_what_is_there_and_then_what_comes(log: Log) -> None:
    seqs = [one.seq for one in await append(log, *[draft() for _ in range(READ_LIMIT + 10)])]
    followed: list[Event] = []

    async def follow_it() -> None:
        async for events in follow(log, after=seqs[4]):
            followed.extend(events)
            if len(followed) == READ_LIMIT + 5 + 50:
                return

    following = asyncio.create_task(follow_it())
    for _ in range(50):
        seqs += [one.seq for one in await append(log, draft())]

    async with asyncio.timeout(5):
        await following
    assert [event.seq for event in followed] == seqs[5:]


async def test_an_identity_is_kept_with_its_expiry(log: Log) -> None:
    await log.keep_identities({"client-anna": 100.5, "client-bert": 200}, now=0)
    await log.keep_identities({"client-anna": 150.5}, now=0)

    assert await log.identity_expiry("client-anna") == 150.5
    assert await log.identity_expiry("client-bert") == 200
    assert await log.identity_expiry("client-nobody") == 0


async def test_expired_identities_are_forgotten(log: Log) -> None:
    await log.keep_identities({"client-anna": 100, "client-bert": 200}, now=0)

    await log.keep_identities({}, now=150)

    assert await log.identity_expiry("client-anna") == 0
    assert await log.identity_expiry("client-bert") == 200


async def test_expired_identities_are_forgotten_in_steps_the_first_ones_first(log: Log) -> None:
    addresses = [f"client-{number}" for number in range(TRIM_STEP * 5 // 2)]
    await log.keep_identities({address: 100 + number for number, address in enumerate(addresses)}, now=0)

    more, left = [], []
    for number in range(3):
        more.append(await log.keep_identities({f"client-new-{number}": 1e9}, now=1e6))
        left.append([address for address in addresses if await log.identity_expiry(address)])

    assert more == [True, True, False]
    assert left == [addresses[TRIM_STEP:], addresses[2 * TRIM_STEP :], []]
    assert await log.identity_expiry("client-new-0") == 1e9


async def test_a_log_that_can_be_written_says_so_and_does_not_change(log: Log) -> None:
    epoch = log.epoch

    await log.check()

    assert (log.head, log.epoch) == (0, epoch)
    assert await names(log) == []


async def test_each_log_has_an_epoch_of_its_own(log: Log) -> None:
    other = open_log("memory:")

    assert len(log.epoch) >= 16
    assert other.epoch != log.epoch


@pytest.mark.parametrize(
    "url", ["", "memory", "memory:x", "sqlite", "sqlite:", "sqlite:a?sync=never", "redis://localhost", "events.db"]
)
def test_a_url_that_names_no_log_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match=f"EVENTBUS_LOG={re.escape(url)}: expected memory:, sqlite:PATH"):
        open_log(url)


async def test_a_read_ends_when_it_has_much_data_and_goes_on_from_there(log: Log) -> None:
    large = msgspec.Raw(b'"' + b"x" * (READ_BYTES * 2 // 3) + b'"')
    huge = msgspec.Raw(b'"' + b"x" * (READ_BYTES * 2) + b'"')
    drafts = [draft("a", data=large), draft("b", data=large), draft("c", data=large), draft("d", data=huge)]
    seqs = [appended.seq for appended in await append(log, *drafts)]

    assert await names(log) == ["a", "b"]
    assert await names(log, after=seqs[1]) == ["c", "d"]
    assert await names(log, after=seqs[2]) == ["d"]


async def test_identities_are_bounded_and_those_that_were_used_last_stay(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("memory", "sqlite.identities"):
        monkeypatch.setattr(f"eventbus.log.{module}.MOST_IDENTITIES", 2 * TRIM_STEP)
    monkeypatch.setattr("eventbus.log.sqlite.identities._COUNT_EVERY", 10)
    addresses = [f"client-{number}" for number in range(5 * TRIM_STEP)]
    await log.keep_identities({address: 100 + number for number, address in enumerate(addresses)}, now=0)
    await log.keep_identities({addresses[0]: 10_000}, now=0)  # it is in use

    for number in range(100):
        await log.keep_identities({f"client-new-{number}": 11_000 + number}, now=0)

    left = [address for address in addresses if await log.identity_expiry(address)]
    assert 2 * TRIM_STEP - 110 <= len(left) <= 2 * TRIM_STEP - 90
    assert left == [addresses[0], *addresses[-len(left) + 1 :]]
    assert await log.identity_expiry("client-new-99") == 11_099


async def trim(log: Log, **what: int) -> None:
    while await log.trim(**what):
        pass


async def test_trimming_keeps_so_many_of_the_newest_events(log: Log) -> None:
    await append(log, *[draft(f"hi-{n}") for n in range(3 * TRIM_STEP)])

    await trim(log, keep=2)

    assert await names(log) == [f"hi-{n}" for n in range(3 * TRIM_STEP - 2, 3 * TRIM_STEP)]
    assert log.trimmed == log.head - 2


async def test_one_step_of_trimming_is_small_and_tells_whether_there_is_more(log: Log) -> None:
    await append(log, *[draft() for _ in range(TRIM_STEP + 10)])

    assert await log.trim(keep=0)
    assert log.trimmed == TRIM_STEP
    assert not await log.trim(keep=0)
    assert log.trimmed == log.head
    assert not await log.trim(keep=0)


async def test_trimming_lets_go_what_is_up_to_a_position(log: Log) -> None:
    _, second, _ = await append(log, draft("a"), draft("b"), draft("c"))

    await trim(log, upto=second.seq)

    assert await names(log) == ["c"]
    assert log.trimmed == second.seq


async def test_trimming_keeps_so_many_bytes_of_the_newest_events(log: Log) -> None:
    await append(log, *[draft(f"hi-{n}", data=msgspec.Raw(b'"%d"' % (10**1000 + n))) for n in range(20)])

    await trim(log, keep_bytes=5_000)

    assert await names(log) == [f"hi-{n}" for n in range(16, 20)]
    for n in range(20, 40):
        await append(log, draft(f"hi-{n}", data=msgspec.Raw(b'"%d"' % (10**1000))))
        await trim(log, keep_bytes=5_000)
        assert len(await names(log)) <= 4


async def test_one_step_of_trimming_is_small_in_bytes_too(log: Log) -> None:
    size = TRIM_BYTES // 4
    for _ in range(10):
        await append(log, draft(data=msgspec.Raw(b'"%b"' % (b"x" * size))))

    assert await log.trim(keep=0)

    assert 0 < log.trimmed <= 4
    await trim(log, keep_bytes=2 * size + 1000)
    assert log.trimmed == 8


async def test_trimming_that_finds_nothing_to_do_lets_nothing_go(log: Log) -> None:
    await append(log, draft("a"), draft("b"))

    await trim(log)
    await trim(log, keep=2)
    await trim(log, keep=100, keep_bytes=100_000)

    assert await names(log) == ["a", "b"]
    assert log.trimmed == 0


async def test_positions_go_on_after_everything_was_trimmed(log: Log) -> None:
    [first] = await append(log, draft("a"))
    await trim(log, keep=0)

    [second] = await append(log, draft("b"))

    assert second.seq > first.seq
    assert await names(log) == ["b"]


async def test_the_ids_of_trimmed_events_can_be_used_again(log: Log) -> None:
    await append(log, draft("a", id="1"))
    await trim(log, keep=0)

    [again] = await append(log, draft("b", id="1"))

    assert not again.duplicate


async def test_a_service_lost_something_if_anything_above_its_position_was_trimmed(log: Log) -> None:
    seqs = [one.seq for one in await append(log, *map(draft, "abcd"))]
    assert not await log.has_lost(after=0)

    await trim(log, keep=2)

    assert await log.has_lost(after=0)
    assert await log.has_lost(after=seqs[0])
    assert not await log.has_lost(after=seqs[1])
    assert not await log.has_lost(after=seqs[3])


async def test_a_client_lost_something_only_if_it_was_for_it(log: Log) -> None:
    await log.keep_identities({"client-anna": 100, "client-bert": 100}, now=0)
    to_anna, to_bert = {"identifier": "client-anna"}, {"identifier": "client-bert"}
    drafts = [draft("a", context=to_anna), draft("b"), draft("c"), draft("d", context=to_bert)]
    seqs = [one.seq for one in await append(log, *drafts)]
    await trim(log, keep=1)

    assert await log.has_lost(after=0, address="client-anna")
    assert not await log.has_lost(after=seqs[0], address="client-anna")
    assert not await log.has_lost(after=0, address="client-bert")
    assert not await log.has_lost(after=0, address="client-nobody")


async def test_what_a_client_lost_is_remembered_while_its_identity_lives(log: Log) -> None:
    await log.keep_identities({"client-anna": 100}, now=0)
    await append(log, draft("a", context={"identifier": "client-anna"}))
    await trim(log, keep=0)

    await log.keep_identities({"client-anna": 200}, now=50)
    assert await log.has_lost(after=0, address="client-anna")

    await log.keep_identities({}, now=300)
    assert not await log.has_lost(after=0, address="client-anna")


async def test_the_bus_s_own_events_are_read_only_by_names_that_ask_for_them(log: Log) -> None:
    await append(log, draft("hi"), draft("eventbus.dead-letter"), draft("eventbust"))

    assert await names(log, names=EVERYTHING) == ["hi", "eventbust"]
    assert await names(log, names=Patterns(["*", "hi"])) == ["hi", "eventbust"]
    assert await names(log, names=Patterns(["hi", "eventbus.*"])) == ["hi", "eventbus.dead-letter"]
    assert await names(log) == ["hi", "eventbus.dead-letter", "eventbust"]


async def test_a_rare_name_is_found_far_away(log: Log) -> None:
    await append(log, *[draft("a") for _ in range(12_000)], draft("rare"), draft("a"), draft("rare"))

    assert await names(log, names=Patterns(["rare"])) == ["rare", "rare"]
    assert await names(log, names=Patterns(["rare"]), limit=1) == ["rare"]
    assert await names(log, names=Patterns(["never"])) == []


async def test_the_place_of_a_group_is_kept(log: Log) -> None:
    await log.keep_group_places({("domain service", "a"): b"1", ("domain service", "b"): b"2"})
    await log.keep_group_places({("domain service", "a"): b"3"})

    assert await log.group_place(("domain service", "a")) == b"3"
    assert await log.group_place(("domain service", "b")) == b"2"
    assert await log.group_place(("another", "a")) is None


async def test_what_was_lost_is_remembered_though_the_identity_is_refreshed_late(log: Log) -> None:
    await log.keep_identities({"client-anna": 10.0}, now=0)
    await append(log, draft(context={"identifier": "client-anna"}), draft())
    await log.trim(keep=1)

    await log.keep_identities({"client-anna": 200.0}, now=100.0)

    assert await log.has_lost(after=0, address="client-anna")
