"""The benchmark's peers: they take part where they are asked for, and what goes wrong with them is found."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest
from bench import __main__ as bench
from bench import nats, servers
from bench.checker import Checker, Faults
from bench.crowd import Crowd
from bench.events import EVERYBODY, NOBODY, event
from bench.measures import measures
from bench.wire import PING, TEXT
from machine import untested

ORIGIN = (b"event", 7)


def message(payload: bytes) -> bytes:
    """What NATS sends to a subscriber."""
    return b"MSG bench 1 _INBOX.of-the-publisher %d\r\n%b\r\n" % (len(payload), payload)


def stream(numbers: Iterable[int]) -> bytes:
    return b"".join(message(event(b"event", 7, EVERYBODY, number, 1000 + number)) for number in numbers)


def check(*streams: bytes, owed: int, ordered: bool = True, piece: int = 997) -> dict[str, int]:
    """What is found when each subscriber gets such a stream; only what was found."""
    faults = Faults()
    crowd = Crowd(Checker(faults, identifiers={NOBODY}), len(streams), nats.split)
    if not ordered:
        crowd.part()
    for member, data in zip(crowd.members, streams, strict=True):
        for start in range(0, len(data), piece):
            member.feed(data[start : start + piece])
    crowd.finish({ORIGIN: owed})
    return {name: count for name, count in faults.counts().items() if count}


class TestNats:
    def test_nothing_is_wrong_with_a_right_history_wherever_it_is_cut(self) -> None:
        for piece in (1, 331, 100_000):
            assert check(stream(range(40)), stream(range(40)), owed=40, piece=piece) == {}

    def test_a_ping_between_events_is_no_fault(self) -> None:
        pinged = stream(range(20)) + b"PING\r\n" + stream(range(20, 40))

        assert check(stream(range(40)), pinged, owed=40) == {}

    def test_an_event_that_one_subscriber_lacks_is_lost(self) -> None:
        assert check(stream(range(40)), stream(n for n in range(40) if n != 20), owed=40) == {"lost": 1}

    def test_an_event_that_comes_twice_is_repeated(self) -> None:
        assert check(stream([0, 1, 1, 2]), owed=3) == {"repeated": 1}

    def test_what_a_server_sends_is_taken_apart_wherever_it_is_cut(self) -> None:
        data = b"+OK\r\n" + message(b'{"a":"b"}') + b"PING\r\n" + message(b"")

        for end in range(len(data) + 1):
            frames, consumed = nats.split(data[:end])
            rest, _ = nats.split(data[consumed:])
            assert [(opcode, payload) for opcode, payload, _ in frames + rest] == [
                (TEXT, b'{"a":"b"}'),
                (PING, b""),
                (TEXT, b""),
            ]

    async def test_an_ack_is_an_answer_and_an_error_is_another(self) -> None:
        opened = nats.Socket()
        opened.data_received(b'INFO {"version":"2.9.10"}\r\nPO')
        opened.data_received(b"NG\r\n")
        answers: list[int] = []
        nats.Poster(opened, "inbox").answered = answers.append

        opened.data_received(message(b'{"stream":"bench", "seq":1}'))
        opened.data_received(message(b'{"error":{"code":503,"description":"no space"},"stream":"bench","seq":0}'))

        assert answers == [200, 503]


def test_what_comes_late_is_told_from_what_is_lost_and_from_what_comes_twice() -> None:
    late, lacking, twice = stream([0, 2, 3, 1, 4]), stream([0, 2, 1, 4]), stream([0, 2, 3, 1, 4, 4])

    assert check(late, late, owed=5, ordered=False) == {"out_of_order": 2}
    assert check(late, lacking, twice, owed=5, ordered=False) == {"out_of_order": 3, "lost": 1, "repeated": 1}


def test_peers_take_part_only_if_they_are_asked_for() -> None:
    alone, beside = measures(0, ()), measures(0, (), ("nats", "go"))

    assert all("nats" not in one.servers and "go" not in one.servers for one in alone.values())
    assert {name for name, one in beside.items() if one != alone[name]} < alone.keys()
    assert beside["publish-32"].servers == (*alone["publish-32"].servers, "nats", "go")
    assert beside["round-trip-10"].servers == (*alone["round-trip-10"].servers, "go")
    assert beside["batches"] == alone["batches"]


@pytest.mark.parametrize(
    ("peer", "why"),
    [
        ("nats", "nats-server is not installed (on Debian: apt install nats-server)"),
        ("go", "BENCH_GO= is no program: build github.com/aeden/eventbus/cmd, and name the result"),
    ],
)
def test_a_peer_that_is_missing_is_said_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, peer: str, why: str
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("BENCH_GO", raising=False)

    with pytest.raises(SystemExit, match="2"):
        bench.main(["--peer", peer, "--output", str(tmp_path)])

    assert capsys.readouterr().err == f"python -m bench: {why}\n"


def test_nats_is_measured_beside_the_bus(tmp_path: Path) -> None:
    if lacking := servers.missing("nats"):
        untested("the benchmark with a peer", lacking)
    short = ["--only", "publish-32", "--only", "deliver-4", "--rounds", "1", "--seconds", "0.2", "--no-charts"]

    assert bench.main(["--peer", "nats", *short, "--output", str(tmp_path)]) == 0

    page = (tmp_path / "results.md").read_text()
    assert 'Written by `make bench OPTIONS="--peer nats"`: ' in page
    assert page.count("\n| NATS JetStream, file | ") == page.count("\n| bus, memory | ") == 2
    assert "\n| nats-server | v" in page
