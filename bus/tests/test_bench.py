"""The benchmark: its checker finds what is wrong, its statistics are right, and each measure runs."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest
from bench import __main__ as bench
from bench import stored_logs
from bench.checker import Checker, Faults
from bench.crowd import Crowd
from bench.events import EVERYBODY, NOBODY, event
from bench.figures import Spread, latencies, percentile, ratios
from bench.generator import MODES
from bench.groups import Shared
from bench.measures import SHORT, measures, open_loop
from bench.rounds import Results, generate, run_measure
from bench.servers import BUS, KINDS, installed, running
from bench.stacks import bars, tree
from bench.stored_logs import gone, growth, stored
from bench.tables import aligned, markdown, saturated, table
from bench.wire import PING, TEXT, frame, split
from bench.without import LEVERS

ORIGIN = (b"event", 7)


def delivered(number: int, *, publisher: int = 7, to: int = EVERYBODY, identifier: str = NOBODY, seq: int = 0) -> bytes:
    """An event as the bus delivers it."""
    posted = event(b"event", publisher, to, number, 1000 + number, identifier.encode())
    return posted[:-1] + b',"id":"x","seq":%d}' % (seq or number + 1)


def check(messages: Iterable[bytes], *, owed: int, to: int | None = None) -> dict[str, int]:
    """What a checker finds in such a history; only what it found."""
    faults = Faults()
    checker = Checker(faults, to=to, identifiers={NOBODY})
    for message in messages:
        checker.take(message)
    checker.finish({ORIGIN: owed})
    return {name: count for name, count in faults.counts().items() if count}


def framed(payload: bytes, opcode: int = TEXT) -> bytes:
    """A frame as a server writes it."""
    size = len(payload)
    length = bytes([size]) if size < 126 else b"\x7e" + size.to_bytes(2)
    return bytes([0x80 | opcode]) + length + payload


class TestChecker:
    def test_nothing_is_wrong_with_a_right_history(self) -> None:
        assert check(map(delivered, range(40)), owed=40) == {}

    def test_spaces_and_other_fields_are_no_change(self) -> None:
        spaced = [json.dumps(json.loads(delivered(number))).encode() for number in range(40)]

        assert check(spaced, owed=40) == {}

    @pytest.mark.parametrize("gone", [0, 5, 39])
    def test_a_lost_event_is_counted(self, gone: int) -> None:
        assert check([delivered(n) for n in range(40) if n != gone], owed=40) == {"lost": 1}

    def test_all_are_lost_where_nothing_came(self) -> None:
        assert check([], owed=3) == {"lost": 3}

    def test_a_repeated_event_is_counted(self) -> None:
        assert check(map(delivered, [0, 1, 2, 1, 3]), owed=4) == {"repeated": 1}

    def test_an_event_that_comes_late_is_out_of_order_and_not_lost(self) -> None:
        assert check(map(delivered, [0, 2, 3, 1, 4]), owed=5) == {"out_of_order": 1}

    def test_events_of_several_publishers_may_mix(self) -> None:
        mixed = [delivered(number, publisher=p, seq=2 * number + p) for number in range(20) for p in (7, 8)]
        faults = Faults()
        checker = Checker(faults)

        for message in mixed:
            checker.take(message)
        checker.finish({(b"event", 7): 20, (b"event", 8): 20})

        assert faults == Faults()

    def test_a_position_that_goes_back_is_out_of_order(self) -> None:
        history = [delivered(n, seq=100 - n) for n in range(17)]

        assert check(history, owed=17) == {"out_of_order": 1}

    def test_an_event_for_another_client_is_misdelivered(self) -> None:
        history = [delivered(0, to=3), delivered(0, to=4, seq=2), delivered(1, to=3, seq=3)]

        assert check(history, owed=2, to=3) == {"misdelivered": 1}

    def test_an_event_that_nobody_published_is_misdelivered(self) -> None:
        assert check(map(delivered, range(3)), owed=2) == {"misdelivered": 1}
        assert check([delivered(0), delivered(0, publisher=99, seq=2)], owed=1) == {"misdelivered": 1}

    @pytest.mark.parametrize(
        ("before", "after"),
        [
            (b"abcdef", b"abcdeF"),
            (b'"bench.event"', b'"bench.wrong"'),
            (b'"identifier":"nobody"', b'"identifier":"somebody"'),
            (b'"context":{', b'"context":{"more":"",'),
            (b'"}', b'"'),
        ],
    )
    def test_a_changed_document_is_counted(self, before: bytes, after: bytes) -> None:
        wrong = delivered(0).replace(before, after, 1)
        if after == b'"bench.wrong"':
            assert "lost" in check([wrong], owed=1)
        else:
            assert check([wrong], owed=0) == {"changed": 1}


class TestCrowd:
    """Many subscribers that get the same stream; each byte is cut at another place."""

    def feed(self, streams: list[bytes], *, owed: int, piece: int = 997) -> tuple[Crowd, dict[str, int]]:
        faults = Faults()
        crowd = Crowd(Checker(faults, identifiers={NOBODY}), len(streams))
        for start in range(0, max(map(len, streams)), piece):
            for member, stream in zip(crowd.members, streams, strict=True):
                before = member.received
                if data := stream[start : start + piece]:
                    member.feed(data)
                if member.received > before:
                    crowd.moved(before)
        crowd.finish({ORIGIN: owed})
        return crowd, {name: count for name, count in faults.counts().items() if count}

    def stream(self, numbers: Iterable[int]) -> bytes:
        return b"".join(framed(delivered(number)) for number in numbers)

    @pytest.mark.parametrize("piece", [1, 331, 997, 100_000])
    def test_all_get_the_same(self, piece: int) -> None:
        crowd, faults = self.feed([self.stream(range(40))] * 3, owed=40, piece=piece)

        assert (crowd.received, crowd.slowest, faults) == (120, 40, {})
        assert all(member.alone is None for member in crowd.members)

    def test_one_that_lacks_an_event_is_found(self) -> None:
        whole, lacking = self.stream(range(40)), self.stream(n for n in range(40) if n != 20)

        assert self.feed([whole, lacking, whole], owed=40)[1] == {"lost": 1}

    def test_one_that_lacks_the_end_is_found(self) -> None:
        crowd, faults = self.feed([self.stream(range(40)), self.stream(range(38))], owed=40)

        assert (crowd.slowest, faults) == (38, {"lost": 2})

    def test_one_that_gets_an_event_twice_is_found(self) -> None:
        whole, twice = self.stream(range(40)), self.stream([*range(21), 20, *range(21, 40)])

        assert self.feed([whole, twice], owed=40)[1] == {"repeated": 1}

    def test_one_that_gets_changed_bytes_is_found(self) -> None:
        whole = self.stream(range(40))
        changed = self.stream(range(20)) + self.stream(range(20, 40)).replace(b"xyz", b"xYz", 1)

        assert self.feed([whole, changed], owed=40)[1] == {"changed": 1, "lost": 1}

    def test_other_publishers_may_come_in_another_order(self) -> None:
        def mixed(*publishers: int) -> bytes:
            return b"".join(framed(delivered(0, publisher=publisher, seq=publisher)) for publisher in publishers)

        faults = Faults()
        crowd = Crowd(Checker(faults), 2)
        crowd.members[0].feed(mixed(7, 8, 9))
        crowd.members[1].feed(mixed(7, 9, 8).replace(b'"seq"', b'"was"'))
        crowd.finish({(b"event", publisher): 1 for publisher in (7, 8, 9)})

        assert faults == Faults()

    def test_a_ping_is_handed_out_for_its_pong(self) -> None:
        crowd = Crowd(Checker(Faults()), 2)
        data = self.stream([0]) + framed(b"hi", PING) + self.stream([1])

        assert crowd.members[0].feed(data) == ([1000, 1001], [b"hi"])
        assert crowd.members[1].feed(self.stream([0, 1])) == ([1000, 1001], [])

    def test_what_all_have_is_forgotten(self) -> None:
        numbers = range(12_000)
        crowd, faults = self.feed([self.stream(numbers)] * 2, owed=len(numbers), piece=100_000)

        assert (crowd.slowest, faults) == (12_000, {})
        assert len(crowd._stream) < 2 << 20


class TestShared:
    """What two members of a group get of ten events."""

    @staticmethod
    def check(*members: Iterable[int]) -> dict[str, int]:
        faults = Faults()
        shared = Shared(faults, len(members))
        for member, numbers in enumerate(members):
            for number in numbers:
                shared.take(member, delivered(number))
        shared.finish({ORIGIN: 10})
        return {name: count for name, count in faults.counts().items() if count}

    def test_each_event_may_go_to_any_member(self) -> None:
        assert self.check([0, 2, 3, 9], [1, 4, 5, 6, 7, 8]) == {}

    def test_an_event_that_no_member_gets_is_lost(self) -> None:
        assert self.check([0, 2, 3, 9], [1, 4, 5, 6, 8]) == {"lost": 1}

    def test_an_event_that_two_members_get_is_repeated(self) -> None:
        assert self.check([0, 2, 3, 9], [1, 2, 4, 5, 6, 7, 8]) == {"repeated": 1}

    def test_an_event_that_a_member_gets_after_a_later_one_is_out_of_order(self) -> None:
        assert self.check([0, 3, 2, 9], [1, 4, 5, 6, 7, 8]) == {"out_of_order": 1}

    def test_an_event_that_nobody_published_is_misdelivered(self) -> None:
        assert self.check(range(10), [11]) == {"misdelivered": 1}


LOOP = "main (eventbus/__main__.py);BaseEventLoop._run_once (asyncio/base_events.py);Handle._run (asyncio/events.py);"


def test_stacks_become_bars_as_wide_as_they_were_seen_often() -> None:
    thread = "Thread._bootstrap (threading.py);_WorkItem.run (concurrent/futures/thread.py);"
    stacks = [
        f"{LOOP}publish (a.py);append (b.py) 30",
        f"{LOOP}publish (a.py) 20",
        f"{thread}store (c.py) 50",
        "Thread._bootstrap (threading.py);_worker (concurrent/futures/thread.py) 1000",
    ]

    root = tree(stacks)

    assert [(frame.name, at, width, depth) for frame, at, width, depth in bars(root, 0, root.count)] == [
        ("event loop", 0, 0.5, 1),
        ("publish (a.py)", 0, 0.5, 2),
        ("append (b.py)", 0, 0.3, 3),
        ("threads of the log", 0.5, 0.5, 1),
        ("store (c.py)", 0.5, 0.5, 2),
    ]


def test_frames_are_taken_apart_wherever_they_are_cut() -> None:
    data = framed(b"short") + framed(b"x" * 300) + framed(b"?", PING)

    for end in range(len(data) + 1):
        frames, consumed = split(data[:end])
        rest, _ = split(data[consumed:])
        assert [(opcode, payload) for opcode, payload, _ in frames + rest] == [
            (TEXT, b"short"),
            (TEXT, b"x" * 300),
            (PING, b"?"),
        ]


def test_a_clients_frame_is_masked() -> None:
    assert frame(TEXT, b"hi") == b"\x81\x82\x00\x00\x00\x00hi"
    assert frame(TEXT, b"x" * 200)[:4] == b"\x81\xfe\x00\xc8"


def test_percentiles() -> None:
    assert percentile([1, 2, 3, 4], 0.5) == 2
    assert percentile(range(1, 1001), 0.99) == 990
    assert percentile([5], 0.999) == 5
    assert latencies([]) == {}
    assert latencies([3_000_000, 1_000_000, 2_000_000])["p50_ms"] == 2


def test_ratios_are_made_round_by_round() -> None:
    assert ratios([2, 4, 9], [1, 4, 3]) == Spread(middle=2, least=1, most=3)
    assert ratios([1, None], [2, 2]) == Spread(0.5, 0.5, 0.5)
    assert ratios([None], [1]) is None
    assert ratios([], []) is None


def test_a_table_says_where_the_generator_was_the_limit() -> None:
    measure = measures(10, ())["publish-32"]
    figures = {"events_per_s": 1000.0, "us_per_event": 10.0, "p99_ms": 1.0, "generator_cpu": 0.97, "other_cpu": 0.5}
    rounds = {name: [figures, figures] for name in measure.servers}
    rounds["naive"] = [figures | {"events_per_s": 500.0, "generator_cpu": 0.5, "other_cpu": 0.0}] * 2

    rows = table(Results(measure, rounds))

    assert rows[1][:3] == ["bus, memory", "1,000", "2.00 (2.00..2.00)"]
    assert rows[1][-1] == "the generator was the limit here; other programs were busy"
    assert rows[-1][-1] == ""
    assert len({line.count("|") for line in markdown(rows).splitlines()}) == 1
    assert aligned(rows).splitlines()[0].startswith("server")


@pytest.mark.parametrize(
    ("name", "heads"),
    [
        ("publish-32", ["events/s", "CPU µs/event", "disk B/event"]),
        ("deliver-4", ["deliveries/s", "CPU µs/delivery", "disk B/event"]),
        ("round-trip-10", ["round trips/s", "CPU µs/round trip", "disk B/round trip"]),
    ],
)
def test_a_table_says_what_its_figures_are_for(name: str, heads: list[str]) -> None:
    measure = measures(10, ())[name]
    figures = {measure.rate: 1000.0, measure.cost: 10.0, "disk_per_event": 100.0}

    rows = table(Results(measure, {server: [figures] for server in measure.servers}))

    assert set(heads) <= set(rows[0])
    assert heads[2] not in aligned(rows)


def test_a_rate_that_did_not_come_through_is_saturation() -> None:
    def at(came: float) -> Results:
        return Results(open_loop(1000), {"naive": [{"events_per_s": came}]})

    assert saturated(at(900), "naive")
    assert not saturated(at(995), "naive")


@pytest.mark.parametrize("name", installed())
def test_each_server_starts_and_takes_events(name: str) -> None:
    with running(name) as server:
        found = generate(server, {"mode": "publish", "publishers": 2}, replace(SHORT, seconds=0.1))

    assert found["events_per_s"] > 0


DELIVER = measures(0, ())["deliver-4"]
TINY = replace(SHORT, seconds=0.5, warm_up=0.1, rounds=1)


@pytest.mark.parametrize("name", measures(20, ()))
def test_each_measure_ends_without_a_fault(name: str) -> None:
    measure = measures(20, ())[name]
    small = {key: min(value, 20) for key, value in measure.spec.items() if key in ("services", "clients")}
    servers = [name for name in ("memory", "naive") if name in measure.servers]
    measure = replace(measure, spec=measure.spec | small, servers=servers)

    results = run_measure(measure, TINY)

    for server in measure.servers:
        assert results.spread(server, measure.rate).middle > 0
        assert results.spread(server, measure.cost).middle > 0
        assert results.spread(server, "p99_ms").middle > 0
        assert not any(results.rounds[server][0]["faults"].values())


def test_a_log_is_filled_and_replayed_without_a_fault() -> None:
    with stored("normal", TINY, events=2000) as log:
        replayed = generate(log.server, log.load, TINY)

    assert log.filled["events_per_s"] > 0
    assert replayed["deliveries_per_s"] > 0
    assert not any(replayed["faults"].values())


def test_a_log_is_measured_while_it_grows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stored_logs, "STEP", 1000)

    [head, *rows] = growth(replace(TINY, growing=(2000, 4000)))

    assert [row[0] for row in rows] == ["2,000", "4,000"]
    assert all(len(row) == len(head) for row in rows)
    assert all(float(figure.replace(",", "")) > 0 for row in rows for figure in row[1:])


def test_clients_come_back_without_a_fault() -> None:
    plan = replace(TINY, returning=30)
    with gone("normal", plan) as clients:
        found = generate(clients.server, clients.load, plan)

    assert found["seconds"] > 0
    assert not any(found["faults"].values())


@pytest.mark.parametrize("lever", LEVERS)
def test_the_bus_runs_without_each_lever(lever: str) -> None:
    measure = replace(DELIVER, servers=[LEVERS[lever].server])

    results = run_measure(measure, TINY, without=lever)

    assert results.spread(measure.servers[0], "deliveries_per_s").middle > 0


def test_a_lever_that_the_bus_lost_cannot_be_taken_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("eventbus.__main__.look_rarely")

    with pytest.raises(AttributeError, match="there is no look_rarely to take out"):
        LEVERS["collector"].take_out()


def test_the_open_loop_offers_its_rate() -> None:
    results = run_measure(replace(open_loop(200), servers=["memory"]), TINY)

    assert results.spread("memory", "events_per_s").middle == pytest.approx(200, rel=0.2)


def test_a_fault_ends_the_run_with_status_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """A server that delivers everything twice."""
    once = "await socket.send_str(text)"
    source = (BUS / "bench" / "naive.py").read_text()
    assert once in source
    (tmp_path / "broken.py").write_text(source.replace(once, f"{once}; {once}"))
    monkeypatch.setattr("bench.servers.BUS", tmp_path)
    monkeypatch.setitem(KINDS, "naive", replace(KINDS["naive"], program="broken"))
    monkeypatch.setattr(bench, "measures", lambda *_: {"deliver-4": replace(DELIVER, servers=["naive"])})

    status = bench.main(["--only", "deliver-4", "--seconds", "0.2", "--no-charts", "--output", str(tmp_path)])

    assert status == 1
    assert '"repeated": ' in capsys.readouterr().err
    assert not (tmp_path / "results.md").exists()


def test_every_measure_has_a_mode() -> None:
    assert {one.spec["mode"] for one in measures(0, ()).values()} <= MODES.keys()
    assert asyncio.iscoroutinefunction(MODES["publish"])
