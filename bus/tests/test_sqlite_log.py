"""What is special about the log in a file: it outlives its bus, and it can fail."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from threading import Event
from typing import Any

import msgspec
import pytest
from bus_under_test import PATIENCE
from eventbus.environment import ConfigError
from eventbus.event import Draft
from eventbus.log import TRIM_STEP, Publisher
from eventbus.log.by_url import open_log
from eventbus.log.sqlite import SqliteLog, checkpoints, indexes, tail
from eventbus.patterns import Patterns
from eventbus.problems import LogUnavailable

ANNA = Publisher(source="client", scope="client-anna")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "events.db"


@pytest.fixture
async def reopen(path: Path) -> AsyncIterator[Callable[[], Awaitable[SqliteLog]]]:
    """Open the log; the next time, close it before."""
    opened: list[SqliteLog] = []

    async def reopen() -> SqliteLog:
        if opened:
            await opened.pop().close()
        opened.append(SqliteLog(str(path)))
        return opened[0]

    yield reopen
    for log in opened:
        await log.close()


async def append(log: SqliteLog, name: str = "hi", **fields: Any) -> Any:
    [appended] = await log.append([(Draft(name=name, **fields), ANNA)])
    return appended


async def test_everything_outlives_a_restart(reopen: Callable[[], Awaitable[SqliteLog]]) -> None:
    log = await reopen()
    first = await append(log, "a", id="1")
    await log.keep_identities({"client-anna": 100.5}, now=0)
    await log.keep_group_places({("domain service", "a"): b"1"})
    epoch = log.epoch

    log = await reopen()

    assert (log.epoch, log.head) == (epoch, first.seq)
    assert [event.name for event in await log.read(after=0, limit=10)] == ["a"]
    assert await log.identity_expiry("client-anna") == 100.5
    assert await log.group_place(("domain service", "a")) == b"1"
    again = await append(log, "b", id="1")
    assert (again.seq, again.duplicate) == (first.seq, True)
    assert (await append(log, "c")).seq > first.seq


async def test_a_position_is_never_given_twice(reopen: Callable[[], Awaitable[SqliteLog]]) -> None:
    log = await reopen()
    newest = (await append(log)).seq
    await log.trim(keep=0)

    log = await reopen()

    assert log.head == newest
    assert (await append(log)).seq > newest


async def test_appends_that_come_during_a_commit_share_the_next_one(
    reopen: Callable[[], Awaitable[SqliteLog]],
) -> None:
    log = await reopen()
    inserts: list[str] = []
    log._writer.set_trace_callback(lambda sql: inserts.append(sql) if sql.startswith("INSERT") else None)

    await asyncio.gather(*[append(log) for _ in range(200)])

    assert len(inserts) <= 6  # the first by itself, and then 64 at once
    assert log.head == 200


async def test_publishers_that_were_answered_share_the_next_commit_with_those_that_waited(
    reopen: Callable[[], Awaitable[SqliteLog]],
) -> None:
    log = await reopen()
    inserts: list[str] = []
    begun = threading.Event()
    log._writer.set_trace_callback(lambda sql: (inserts.append(sql), begun.set()) if "INSERT" in sql else None)

    async def publish() -> None:
        for _ in range(20):
            await append(log)

    some = [asyncio.create_task(publish()) for _ in range(5)]
    await asyncio.to_thread(begun.wait, PATIENCE)
    others = [asyncio.create_task(publish()) for _ in range(5)]  # they come while the first commit is under way
    await asyncio.gather(*some, *others)

    assert len(inserts) <= 25  # and not 40, each half by itself


async def test_whoever_is_alone_does_not_wait_for_others(
    reopen: Callable[[], Awaitable[SqliteLog]], monkeypatch: pytest.MonkeyPatch
) -> None:
    log = await reopen()
    turns: list[float] = []
    sleep = asyncio.sleep
    monkeypatch.setattr(asyncio, "sleep", lambda seconds: (turns.append(seconds), sleep(seconds))[1])

    for _ in range(20):
        await append(log)

    assert len(turns) <= 20 * 3  # it asks again a turn or two after its answer


async def test_identities_that_share_a_commit_forget_no_more_than_one_alone(
    reopen: Callable[[], Awaitable[SqliteLog]],
) -> None:
    log = await reopen()
    await log.keep_identities({f"client-{number}": 100 for number in range(5 * TRIM_STEP)}, now=0)

    await asyncio.gather(*[log.keep_identities({f"client-new-{number}": 1e9}, now=1e6) for number in range(50)])

    (count,) = log._writer.execute("SELECT count(*) FROM identities WHERE expires = 100").fetchone()
    assert count == 4 * TRIM_STEP
    await log.keep_identities({}, now=1e6)
    (count,) = log._writer.execute("SELECT count(*) FROM identities WHERE expires = 100").fetchone()
    assert count == 3 * TRIM_STEP


@pytest.mark.parametrize(("option", "level"), [("", 2), ("?sync=full", 2), ("?sync=normal", 1)])
async def test_each_commit_is_synced_unless_the_setting_says_otherwise(path: Path, option: str, level: int) -> None:
    log = open_log(f"sqlite:{path}{option}")
    assert isinstance(log, SqliteLog)

    synchronous = log._writer.execute("PRAGMA synchronous").fetchone()
    journal = log._writer.execute("PRAGMA journal_mode").fetchone()
    await log.close()

    assert (synchronous, journal) == ((level,), ("wal",))


async def test_a_commit_that_fails_adds_nothing_and_the_next_one_succeeds(
    reopen: Callable[[], Awaitable[SqliteLog]],
) -> None:
    log = await reopen()
    log._writer.execute("PRAGMA query_only = 1")
    with pytest.raises(LogUnavailable, match="the log cannot be written"):
        await append(log, "a")
    with pytest.raises(LogUnavailable, match="the log cannot be written"):
        await log.check()

    log._writer.execute("PRAGMA query_only = 0")
    await append(log, "b")

    assert [event.name for event in await log.read(after=0, limit=10)] == ["b"]


async def test_a_full_disk_is_an_unavailable_log(reopen: Callable[[], Awaitable[SqliteLog]]) -> None:
    log = await reopen()
    (pages,) = log._writer.execute("PRAGMA page_count").fetchone()
    log._writer.execute(f"PRAGMA max_page_count = {pages + 2}")

    with pytest.raises(LogUnavailable, match="disk is full"):
        await asyncio.gather(*[append(log, context={"more": "x" * 1000}) for _ in range(100)])

    log._writer.execute("PRAGMA max_page_count = 1000000")
    await append(log, "goes on")


async def test_what_was_trimmed_outlives_a_restart(reopen: Callable[[], Awaitable[SqliteLog]]) -> None:
    log = await reopen()
    await log.keep_identities({"client-anna": 100}, now=0)
    await append(log, "a", context={"identifier": "client-anna"})
    newest = await append(log, "b")
    await log.trim(keep=1)

    log = await reopen()

    assert log.trimmed == newest.seq - 1
    assert await log.has_lost(after=0, address="client-anna")
    assert [event.name for event in await log.read(after=0, limit=10)] == ["b"]


async def test_repeated_ids_use_up_no_positions(reopen: Callable[[], Awaitable[SqliteLog]]) -> None:
    log = await reopen()

    for _ in range(10):
        await append(log, "a", id="1")

    assert (await append(log, "b")).seq == 2


async def test_one_append_that_fails_does_not_fail_those_that_share_its_commit(
    reopen: Callable[[], Awaitable[SqliteLog]],
) -> None:
    log = await reopen()
    under_way = [asyncio.create_task(append(log, name)) for name in ("a", "\ud800", "b")]

    outcomes = await asyncio.gather(*under_way, return_exceptions=True)

    assert [type(outcome).__name__ for outcome in outcomes] == ["Appended", "UnicodeEncodeError", "Appended"]
    assert [event.name for event in await log.read(after=0, limit=10)] == ["a", "b"]


async def test_a_defect_in_one_commit_reaches_its_callers_and_no_later_ones(
    reopen: Callable[[], Awaitable[SqliteLog]],
) -> None:
    log = await reopen()
    async with asyncio.timeout(5):
        with pytest.raises(UnicodeEncodeError):
            await append(log, "\ud800")  # which the edge never lets through

        await append(log, "b")

    assert [event.name for event in await log.read(after=0, limit=10)] == ["b"]


async def test_a_log_that_cannot_be_read_is_unavailable(reopen: Callable[[], Awaitable[SqliteLog]], path: Path) -> None:
    log = await reopen()
    log._writer.execute("ALTER TABLE identities RENAME TO hidden")

    with pytest.raises(LogUnavailable, match="the log cannot be read: no such table"):
        await log.identity_expiry("client-anna")


async def test_who_connects_does_not_wait_for_those_who_read_events(
    reopen: Callable[[], Awaitable[SqliteLog]], monkeypatch: pytest.MonkeyPatch
) -> None:
    goes_on = Event()
    monkeypatch.setattr(tail, "MAX_EVENTS", 0)
    monkeypatch.setattr("eventbus.log.sqlite.select_events", lambda *_: goes_on.wait(5) and [])
    log = await reopen()
    await append(log)
    await log.trim(keep=0)
    await append(log)
    replays = [asyncio.create_task(log.read(after=0, limit=10)) for _ in range(100)]
    await asyncio.sleep(0)  # by now they are waiting

    async with asyncio.timeout(3):
        assert await log.identity_expiry("client-anna") == 0
        assert not await log.has_lost(after=0, address="client-anna")
        assert await log.group_place(("everything", "g")) is None

    assert not any(replay.done() for replay in replays)
    goes_on.set()
    assert await asyncio.gather(*replays) == [[]] * 100


async def test_closing_finishes_what_is_under_way(reopen: Callable[[], Awaitable[SqliteLog]]) -> None:
    log = await reopen()
    under_way = [asyncio.create_task(append(log)) for _ in range(10)]
    await log.check()  # by now the others were begun

    log = await reopen()

    assert [(await task).seq for task in under_way] == list(range(1, 11))
    assert log.head == 10


async def test_a_second_bus_cannot_have_the_file(reopen: Callable[[], Awaitable[SqliteLog]], path: Path) -> None:
    await reopen()

    with pytest.raises(ConfigError, match="another bus is using this file; stop it, or name another file"):
        open_log(f"sqlite:{path}")


@pytest.mark.parametrize("version", [0, 1, 7])
def test_somebody_elses_database_is_refused_and_left_alone(path: Path, version: int) -> None:
    with sqlite3.connect(path) as other:
        other.executescript(f"CREATE TABLE meta (other); PRAGMA user_version = {version};")
    other.close()
    content = path.read_bytes()

    with pytest.raises(ConfigError, match=f"EVENTBUS_LOG=sqlite:{path}: .*; name a file that the bus made"):
        open_log(f"sqlite:{path}")

    assert path.read_bytes() == content


@pytest.mark.parametrize("content", [b"events", b"x" * 100_000])
def test_a_file_that_is_no_database_is_refused_and_left_alone(path: Path, content: bytes) -> None:
    path.write_bytes(content)

    with pytest.raises(ConfigError, match="file is not a database; name a file that the bus made"):
        open_log(f"sqlite:{path}")

    assert path.read_bytes() == content


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(ConfigError, match=f"EVENTBUS_LOG=sqlite:{tmp_path}/file/events.db: .*/file: File exists; name"):
        open_log(f"sqlite:{tmp_path}/file/events.db")


def test_a_folder_is_no_log(path: Path) -> None:
    path.mkdir()

    with pytest.raises(ConfigError, match="Is a directory; name a file that can be made"):
        open_log(f"sqlite:{path}")


async def test_a_refused_file_can_be_used_once_it_is_put_right(path: Path) -> None:
    path.write_bytes(b"no database")
    with pytest.raises(ConfigError):
        open_log(f"sqlite:{path}")
    path.unlink()

    await open_log(f"sqlite:{path}").close()


async def test_a_path_is_a_path_even_if_sqlite_knows_a_meaning_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    log = open_log("sqlite::memory:")
    await log.append([(Draft(name="hi"), ANNA)])

    assert [event.name for event in await log.read(after=0, limit=10)] == ["hi"]
    await log.close()


async def test_what_is_committed_is_not_read_before_the_head_has_moved(
    reopen: Callable[[], Awaitable[SqliteLog]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tail, "MAX_EVENTS", 0)
    log = await reopen()
    await log.append([(Draft(name="a"), ANNA)])

    # As it is between a commit and the moment when this program hears of it.
    log._writer.execute("INSERT INTO events SELECT seq + 1, scope, 'b', 'b', null, time, json FROM events")

    assert [event.name for event in await log.read(after=0, limit=10)] == ["a"]


@pytest.mark.parametrize("indexed", [0, 4, 9])
@pytest.mark.parametrize("bound", ["MAX_EVENTS", "MAX_BYTES"])
async def test_it_makes_no_difference_whether_an_event_is_in_memory_or_in_the_indexes(
    reopen: Callable[[], Awaitable[SqliteLog]], monkeypatch: pytest.MonkeyPatch, bound: str, indexed: int
) -> None:
    monkeypatch.setattr(tail, bound, {"MAX_EVENTS": 3, "MAX_BYTES": 500}[bound])
    log = await reopen()
    for number in range(10):
        await append(log, f"hi-{number}", id=f"{number}", context={"identifier": f"client-{number % 2}"})
        if number + 1 == indexed:
            await log._indexes.catch_up()

    assert 0 < len(log._tail.between(log._tail.after, 10)) < 5  # some are, and some are not
    for after in range(12):
        read = partial(log.read, after=after, limit=100)
        assert [event.seq for event in await read()] == list(range(after + 1, 11))
        assert [event.content.name for event in await read()] == [f"hi-{seq - 1}" for seq in range(after + 1, 11)]
        assert [event.seq for event in await read(address="client-0")] == [s for s in range(1, 11, 2) if s > after]
        assert [event.seq for event in await read(names=Patterns(["hi-9"]))] == [10][: after < 10]
    assert entries(log) == (indexed, indexed)
    for number in range(10):
        again = await append(log, id=f"{number}")
        assert (again.seq, again.duplicate) == (number + 1, True)


async def test_of_what_is_in_memory_each_client_s_events_are_found_and_forgotten(
    reopen: Callable[[], Awaitable[SqliteLog]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tail, "MAX_EVENTS", 5)
    log = await reopen()
    for number in range(12):
        await append(log, context={"identifier": f"client-{number % 3}"} if number % 2 else {})

    assert log._tail.after == 7
    assert [event.seq for event in log._tail.between(7, 12, address="client-1")] == [8]
    assert [event.seq for event in log._tail.between(8, 12, address="client-1")] == []
    assert [event.seq for event in log._tail.between(7, 9, address="client-0")] == []
    assert {client: len(events) for client, events in log._tail._of_client.items()} == {
        None: 2,
        "client-0": 1,
        "client-1": 1,
        "client-2": 1,
    }


def entries(log: SqliteLog) -> tuple[int, int]:
    """Count the entries in the indexes: of ids, and of what is for a client."""
    (ids,), (addressed,) = log._writer.execute("SELECT count(*) FROM ids UNION ALL SELECT count(*) FROM addressed")
    return ids, addressed


async def test_entries_in_the_indexes_are_written_many_at_a_time(
    reopen: Callable[[], Awaitable[SqliteLog]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(indexes, "EVERY", 10)
    log = await reopen()
    for number in range(9):
        await append(log, context={"identifier": f"client-{number}"})
    assert entries(log) == (0, 0)

    await append(log)
    assert log._indexes._running
    await log._indexes._running

    assert entries(log) == (10, 9)
    assert log._indexes._fresh == {}


async def test_a_restart_finds_what_has_no_entries_yet(
    reopen: Callable[[], Awaitable[SqliteLog]], monkeypatch: pytest.MonkeyPatch
) -> None:
    log = await reopen()
    for number in range(3):
        await append(log, id=f"{number}", context={"identifier": "client-anna"})

    log = await reopen()

    assert entries(log) == (0, 0)
    assert log._tail.after == 0  # so nobody has to look for them in the file
    assert (await append(log, id="1")).duplicate
    assert [event.seq for event in await log.read(after=1, limit=10, address="client-anna")] == [2, 3]
    monkeypatch.setattr(indexes, "EVERY", 4)
    await append(log, id="3")
    assert log._indexes._running
    await log._indexes._running
    assert entries(log) == (4, 3)
    log = await reopen()
    assert log._indexes._fresh == {}
    assert (await append(log, id="1")).duplicate


async def test_entries_are_written_though_whoever_asked_for_them_has_gone(
    reopen: Callable[[], Awaitable[SqliteLog]],
) -> None:
    log = await reopen()
    await append(log)
    asking = asyncio.create_task(log._indexes.catch_up())
    await asyncio.sleep(0)
    asking.cancel()
    await append(log)

    await log._indexes.catch_up()

    assert entries(log) == (2, 0)


async def test_however_many_events_are_without_entries_one_commit_writes_a_bounded_number(
    reopen: Callable[[], Awaitable[SqliteLog]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(indexes, "MOST", 3)
    log = await reopen()
    for number in range(7):
        await append(log, id=f"{number}")

    written = []
    for _ in range(3):
        await log._indexes.catch_up()
        written.append(entries(log)[0])

    assert written == [3, 6, 7]
    assert (await append(log, id="6")).duplicate


async def test_what_was_trimmed_leaves_no_entries(reopen: Callable[[], Awaitable[SqliteLog]]) -> None:
    log = await reopen()
    for _ in range(5):
        await append(log, context={"identifier": "client-anna"})

    await log.trim(keep=2)

    assert entries(log) == (2, 2)


async def test_entries_that_cannot_be_written_are_written_later_and_nobody_suffers(
    reopen: Callable[[], Awaitable[SqliteLog]],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(indexes, "EVERY", 1)
    log = await reopen()
    log._writer.execute("ALTER TABLE addressed RENAME TO elsewhere")
    await append(log, id="1", context={"identifier": "client-anna"})
    assert log._indexes._running
    await log._indexes._running

    assert "no entries in the log's indexes now: the log cannot be written: no such table: addressed" in caplog.text
    assert log._writer.execute("SELECT count(*) FROM ids").fetchone() == (0,)  # all or none
    assert (await append(log, id="1")).duplicate

    log._writer.execute("ALTER TABLE elsewhere RENAME TO addressed")
    for event_id in ("2", "3"):  # while the one is written the other may come too late
        await append(log, id=event_id)
        await log._indexes._running
    assert entries(log) == (3, 1)


async def test_entries_that_could_not_be_written_wait_for_more(
    reopen: Callable[[], Awaitable[SqliteLog]], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(indexes, "EVERY", 5)
    log = await reopen()
    log._writer.execute("ALTER TABLE addressed RENAME TO elsewhere")

    for _ in range(14):
        await append(log)
        if log._indexes._running:
            await log._indexes._running

    assert len(caplog.messages) == 2  # after five and after ten, and not after each


async def test_what_is_committed_while_the_log_closes_writes_no_more_entries(
    reopen: Callable[[], Awaitable[SqliteLog]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(indexes, "EVERY", 1)
    log = await reopen()
    appending = asyncio.create_task(append(log))
    await asyncio.sleep(0)

    log._indexes._closing = True
    await appending

    assert log._indexes._running is None


class HeldAtCommit:
    """A database that takes its time with the next commit."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self.reached = threading.Event()
        self.goes_on = threading.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._db, name)

    def execute(self, statement: str, *values: Any) -> Any:
        if statement == "COMMIT":
            self.reached.set()
            self.goes_on.wait(PATIENCE)
        return self._db.execute(statement, *values)


async def is_told_or_gets(log: SqliteLog) -> bool:
    """Does a client that has nothing yet get what is for it, or hear that it is gone?"""
    events = await log.read(after=0, limit=100, address="client-anna")
    return len(events) == 3 or await log.has_lost(after=0, address="client-anna")


async def with_events_for_anna(reopen: Callable[[], Awaitable[SqliteLog]]) -> SqliteLog:
    log = await reopen()
    await log.keep_identities({"client-anna": time.time() + 1000}, now=0)
    for _ in range(3):
        await append(log, context={"identifier": "client-anna"})
    return log


async def test_a_client_misses_nothing_unknowingly_while_a_trim_is_committed(
    reopen: Callable[[], Awaitable[SqliteLog]],
) -> None:
    log = await with_events_for_anna(reopen)
    held = HeldAtCommit(log._writer)
    log._committer._db = held  # type: ignore[assignment]
    trimming = asyncio.create_task(log.trim(keep=0))
    await asyncio.to_thread(held.reached.wait, PATIENCE)

    assert await is_told_or_gets(log)

    held.goes_on.set()
    await trimming
    assert await is_told_or_gets(log)
    assert not await log.has_lost(after=3, address="client-anna")
    assert not await log.has_lost(after=0, address="client-bert")


async def test_a_client_misses_nothing_unknowingly_if_a_trim_fails(
    reopen: Callable[[], Awaitable[SqliteLog]], monkeypatch: pytest.MonkeyPatch
) -> None:
    log = await with_events_for_anna(reopen)
    monkeypatch.setattr("eventbus.log.sqlite.FORGET", "UPDATE nothing SET upto = :upto")
    with pytest.raises(LogUnavailable):
        await log.trim(keep=0)

    assert await is_told_or_gets(log)


async def test_a_link_is_no_second_log(tmp_path: Path, path: Path) -> None:
    log = open_log(f"sqlite:{path}")
    (tmp_path / "link.db").symlink_to(path)

    with pytest.raises(ConfigError, match="another bus is using this file"):
        open_log(f"sqlite:{tmp_path}/link.db")
    await log.close()


async def test_what_comes_to_nothing_is_not_taken_for_trimmed(reopen: Callable[[], Awaitable[SqliteLog]]) -> None:
    log = await reopen()
    for _ in range(3):
        await append(log)
    (pages,) = log._writer.execute("PRAGMA page_count").fetchone()
    log._writer.execute(f"PRAGMA max_page_count = {pages + 2}")
    too_large = log.append([(Draft(name="hi", context={"more": "x" * 1000}), ANNA) for _ in range(100)])

    outcomes = await asyncio.gather(too_large, log.trim(keep=1), return_exceptions=True)
    log._writer.execute("PRAGMA max_page_count = 1000000")
    await append(log, "goes on")

    assert [type(outcome).__name__ for outcome in outcomes] == ["LogUnavailable", "LogUnavailable"]
    assert "goes on" in [event.name for event in await log.read(after=0, limit=10)]


@pytest.mark.parametrize("size", [64, 65, 130, 1000])
async def test_a_batch_is_stored_whole_or_not_at_all(
    path: Path, reopen: Callable[[], Awaitable[SqliteLog]], size: int
) -> None:
    log = await reopen()
    with closing(sqlite3.connect(path)) as other:
        other.execute(f"INSERT INTO events VALUES ({size}, 'x', 'y', 'taken', NULL, '2026', x'7b7d')")
        other.commit()

    with pytest.raises(LogUnavailable, match="UNIQUE"):  # for its last event's sake
        await log.append([(Draft(name="hi"), ANNA)] * size)

    with closing(sqlite3.connect(path)) as other:
        assert other.execute("SELECT name FROM events").fetchall() == [("taken",)]


def wal_of(path: Path) -> int:
    """Bytes of the write-ahead log."""
    return path.with_name(f"{path.name}-wal").stat().st_size


async def test_what_was_committed_goes_into_the_database_file_beside_the_commits(
    path: Path, reopen: Callable[[], Awaitable[SqliteLog]]
) -> None:
    log = await reopen()
    log._writer.execute("PRAGMA wal_autocheckpoint = 0")  # no commit does it
    data = msgspec.Raw(b'"' + b"x" * 100_000 + b'"')

    for _ in range(2 * checkpoints.EVERY // 100_000):
        await append(log, data=data)

    async with asyncio.timeout(PATIENCE):
        while path.stat().st_size < checkpoints.EVERY:
            await append(log)


@pytest.mark.parametrize("kind", ["events", "identities", "places"])
async def test_the_write_ahead_log_is_begun_anew_though_it_is_written_all_the_time(
    path: Path, reopen: Callable[[], Awaitable[SqliteLog]], monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr(checkpoints, "MOST_PAGES", 100)
    log = await reopen()
    log._writer.execute("PRAGMA wal_autocheckpoint = 0")  # no commit does it

    for number in range(3000):
        if kind == "events":
            await append(log)
        elif kind == "identities":
            await log.keep_identities({f"client-{number}": 1e12}, now=0)
        else:
            await log.keep_group_places({("a service", str(number)): b"1"})

    assert wal_of(path) < 3 * checkpoints.EVERY  # of some 30 MiB that were written


async def test_there_is_one_checkpoint_at_a_time_and_it_ends_before_the_log_is_closed(
    reopen: Callable[[], Awaitable[SqliteLog]], monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, ended, go_on = 0, 0, Event()

    def slow(db: sqlite3.Connection) -> int:
        nonlocal begun, ended
        begun += 1
        assert go_on.wait(PATIENCE)
        db.execute("SELECT 1").fetchone()
        ended += 1
        return 0

    monkeypatch.setattr(checkpoints, "checkpoint", slow)
    monkeypatch.setattr(checkpoints, "EVERY", 1)
    log = await reopen()

    for _ in range(20):
        await append(log)
    go_on.set()
    await reopen()

    assert 0 < begun == ended < 20


async def test_what_is_committed_while_the_log_closes_begins_no_checkpoint(
    reopen: Callable[[], Awaitable[SqliteLog]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoints, "EVERY", 1)
    monkeypatch.setattr(checkpoints, "MOST_PAGES", 0)
    log = await reopen()
    await append(log)

    last = asyncio.create_task(append(log))
    await asyncio.sleep(0)
    log = await reopen()

    assert log.head == (await last).seq
    assert log._checkpoints._running is None


async def test_nothing_waits_while_the_file_is_closed_on_a_slow_disk(path: Path) -> None:
    log, loop, others_went_on = SqliteLog(str(path)), asyncio.get_running_loop(), Event()
    waited: list[bool] = []

    def slow() -> None:
        loop.call_soon_threadsafe(others_went_on.set)
        waited.append(others_went_on.wait(PATIENCE))

    log._opened.callback(slow)
    await log.close()

    assert waited == [True]


async def test_a_checkpoint_that_fails_is_said_and_harms_nobody(
    reopen: Callable[[], Awaitable[SqliteLog]], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(_db: sqlite3.Connection) -> int:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(checkpoints, "checkpoint", fails)
    monkeypatch.setattr(checkpoints, "EVERY", 1)
    log = await reopen()

    for _ in range(3):
        await append(log)

    assert len(await log.read(after=0, limit=10)) == 3
    assert "no checkpoint now, the log's -wal file grows: database or disk is full" in caplog.text


async def test_what_could_not_be_trimmed_goes_at_the_next_attempt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = SqliteLog(str(tmp_path / "events.db"))
    await log.append([(Draft(name="hi"), ANNA)] * 10)
    with monkeypatch.context() as patch:
        patch.setattr("eventbus.log.sqlite.FORGET", "UPDATE nothing SET upto = :upto")
        with pytest.raises(LogUnavailable):
            await log.trim(upto=10)

    while await log.trim(upto=10):
        pass

    assert await log.read(after=0, limit=10) == []
    assert log._writer.execute("SELECT count(*) FROM events").fetchone() == (0,)
    await log.close()


async def test_a_defect_behind_a_commit_stores_nothing_twice_and_does_not_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = SqliteLog(str(tmp_path / "events.db"))

    def fail(*_: object) -> None:
        raise ZeroDivisionError

    with monkeypatch.context() as patch:
        patch.setattr(tail.Tail, "extend", fail)
        with pytest.raises(ZeroDivisionError):
            await log.append([(Draft(name="one"), ANNA)])
    await log.append([(Draft(name="two"), ANNA)])

    assert [event.name for event in await log.read(after=0, limit=10)] == ["one", "two"]
    assert log.head == 2
    await log.close()


async def test_sqlite_never_cuts_its_write_ahead_log_off_by_itself(tmp_path: Path) -> None:
    log = SqliteLog(str(tmp_path / "events.db"))

    assert log._writer.execute("PRAGMA journal_size_limit").fetchone() == (-1,)

    await log.close()
