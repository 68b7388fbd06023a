"""What happens to the disk under a bus that runs: it fills up, gets room again, or damages the file."""

from __future__ import annotations

import asyncio
import os
import resource
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from aiohttp import WSMsgType
from bus_under_test import PATIENCE, BusProcess, StartProcess
from eventbus.environment import ConfigError
from eventbus.event import Draft
from eventbus.log import Publisher
from eventbus.log.by_url import open_log
from eventbus.log.sqlite import SqliteLog
from eventbus.problems import LogUnavailable

ANNA = Publisher(source="client", scope="client-anna")
KIB = "x" * 1024
PAGE = 4096  # bytes
# Root may write what nobody may; a bus in a container is not root.
NO_PRIVILEGE = ["setpriv", "--bounding-set=-dac_override"] if os.geteuid() == 0 else []


@contextmanager
def full_disk(bus: BusProcess, path: Path) -> Iterator[None]:
    """Let the files of the log grow by a few pages, and no more."""
    largest = max(file.stat().st_size for file in path.parent.glob("events.db*"))
    unlimited = resource.prlimit(bus.process.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(bus.process.pid, resource.RLIMIT_FSIZE, (largest + 20_000, unlimited[1]))
    yield
    resource.prlimit(bus.process.pid, resource.RLIMIT_FSIZE, unlimited)


async def test_a_full_disk_costs_no_event_that_was_answered_200_and_no_restart(
    run: StartProcess, tmp_path: Path
) -> None:
    bus = await run()
    answered: list[str] = []
    refused: list[str] = []

    async def publish(event_id: str) -> int:
        answer = await bus.post({"name": "hi", "data": KIB, "id": event_id}, authorization="the-service")
        (answered if answer.status == 200 else refused).append(event_id)
        if answer.status != 200:
            assert (answer.status, answer.headers.get("Retry-After")) == (503, "1")
            assert answer.json["detail"].startswith("the log cannot be written: ")
        return answer.status

    with full_disk(bus, tmp_path / "events.db"):
        while await publish(f"{len(answered)}") == 200:
            assert len(answered) < 1000
        ready, alive = await bus.request("GET", "/readyz"), await bus.request("GET", "/healthz")
        assert (ready.status, alive.status) == (503, 200)
        stored_meanwhile = [event["id"] for event in await bus.events("?limit=1000")]  # what is there can be read

    assert (await bus.request("GET", "/readyz")).status == 200
    again = refused.pop()
    assert await publish(again) == 200
    assert await publish("last") == 200

    stored = [event["id"] for event in await bus.events("?limit=1000")]
    await bus.kill()
    bus = await run()
    stored_after_a_restart = [event["id"] for event in await bus.events("?limit=1000")]
    assert stored_meanwhile == answered[: answered.index(again)]
    assert stored == stored_after_a_restart == answered


async def test_a_log_in_a_folder_that_may_not_be_written_is_refused_in_one_line(
    run: StartProcess, tmp_path: Path
) -> None:
    bus = await run()
    await bus.publish("hi", service="the-service")
    await bus.stop()
    files = [tmp_path, *tmp_path.glob("events.db*")]
    for file in files:
        file.chmod(0o555)

    bus = await run(until_ready=False, prefix=NO_PRIVILEGE)

    status = await bus.exit_status()
    for file in files:
        file.chmod(0o755)
    assert status == 2
    assert bus.output.startswith(f"EVENTBUS_LOG=sqlite:{tmp_path}/events.db: ")
    assert "Permission denied" in bus.output
    assert bus.output.count("\n") == 1


def cut_off(content: bytes) -> bytes:
    return content[: len(content) // 2]


def with_a_page_of_nonsense(content: bytes) -> bytes:
    middle = len(content) // 2 // PAGE * PAGE
    return content[:middle] + b"nonsense" * (PAGE // 8) + content[middle + PAGE :]


def with_an_empty_page(content: bytes) -> bytes:
    middle = len(content) // 2 // PAGE * PAGE
    return content[:middle] + bytes(PAGE) + content[middle + PAGE :]


@pytest.mark.parametrize("damage", [cut_off, with_a_page_of_nonsense, with_an_empty_page])
async def test_a_damaged_log_is_refused_and_left_alone(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    path = tmp_path / "events.db"
    log = SqliteLog(str(path))
    draft = Draft(name="hi", data=msgspec.Raw(f'"{KIB}"'.encode()))
    await log.append([(msgspec.structs.replace(draft, id=str(number)), ANNA) for number in range(200)])
    await log.close()
    damaged = damage(path.read_bytes())
    path.write_bytes(damaged)

    with pytest.raises(
        ConfigError, match=f"EVENTBUS_LOG=sqlite:{path}: the file is damaged .*; put a copy in its place"
    ):
        open_log(f"sqlite:{path}")

    assert path.read_bytes() == damaged


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 24 MiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(disk)], capture_output=True).returncode:
        pytest.skip("only root may mount a file system")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


async def fill(bus: BusProcess, size: int) -> int:
    """Publish until the disk is full; return how many events were stored."""
    stored = 0
    while (answer := await bus.post({"name": "hi", "data": "x" * size}, authorization="the-service")).status == 200:
        stored += 1
    assert (answer.status, answer.headers["Retry-After"]) == (503, "1")
    assert "the disk is nearly full" in answer.json["detail"]
    return stored


async def heals(bus: BusProcess, size: int) -> None:
    async with asyncio.timeout(3 * PATIENCE):
        while (await bus.post({"name": "hi", "data": "x" * size}, authorization="the-service")).status == 503:
            pass


@pytest.mark.parametrize("size", [250_000, 20_000])
async def test_a_full_disk_heals_when_old_events_may_go(run: StartProcess, small_disk: Path, size: int) -> None:
    settings = {"EVENTBUS_LOG": f"sqlite:{small_disk}/events.db", "EVENTBUS_RETENTION_SECONDS": "0"}
    bus = await run(**settings)
    stored = await fill(bus, size)
    assert stored * size > 16_000_000  # a disk of 24 MiB is of use
    assert (await bus.request("GET", "/readyz")).status == 503
    await bus.said("the disk is nearly full")
    async with bus.socket() as member:  # what is no event goes on
        group = {"action": "authenticate", "credentials": "the-service", "group": "all", "after": 0}
        assert (await member.ask(group))["authenticated"]
        await member.say({"action": "ack", "seq": (await member.hear())["seq"]})
        token = await bus.new_token()
    await bus.kill()

    bus = await run(**settings)
    assert len(await bus.events("?limit=1")) == 1
    assert await bus.stop() == 0
    bus = await run(**settings | {"EVENTBUS_RETENTION_SECONDS": "1"})
    await heals(bus, size)
    assert (await bus.request("GET", "/readyz")).status == 200
    async with bus.client(token) as anna:
        assert anna.token == token
        await bus.publish("hi", token=token)
    assert bus.output.count("the disk is nearly full") <= 1
    await fill(bus, size)
    await heals(bus, size)  # and again


@pytest.mark.parametrize("end", ["stop", "kill"])
async def test_a_bus_that_finds_no_room_at_all_says_so_and_harms_nothing(
    run: StartProcess, small_disk: Path, end: str
) -> None:
    bus = await run(EVENTBUS_LOG=f"sqlite:{small_disk}/events.db")
    await bus.publish("hi", service="the-service")
    await (bus.stop() if end == "stop" else bus.kill())
    with (small_disk / "something").open("wb", buffering=0) as something, suppress(OSError):
        while True:
            something.write(bytes(4096))

    bus = await run(until_ready=False, EVENTBUS_LOG=f"sqlite:{small_disk}/events.db")
    if await is_ready(bus):
        assert len(await bus.events()) == 1
        await bus.kill()
    else:
        assert await bus.exit_status() == 2
        assert "the disk is full; make room on it, and start the bus again" in bus.output
        assert "Traceback" not in bus.output

    (small_disk / "something").unlink()
    bus = await run(EVENTBUS_LOG=f"sqlite:{small_disk}/events.db")
    assert len(await bus.events()) == 1


async def test_a_full_disk_heals_although_others_have_taken_a_part_of_what_was_left(
    run: StartProcess, small_disk: Path
) -> None:
    settings = {"EVENTBUS_LOG": f"sqlite:{small_disk}/events.db", "EVENTBUS_CLIENT_RATE": "0"}
    bus = await run(EVENTBUS_RETENTION_SECONDS="0", **settings)
    await fill(bus, 250_000)
    half = 2 * 1024 * 1024  # of the reserve
    (small_disk / "something").write_bytes(bytes(free(small_disk) - half - 50_000))
    answers = [await identify(bus) for _ in range(100)]

    assert "identified" in answers
    assert answers[-1] == 1011
    assert free(small_disk) > half - 50_000
    await bus.kill()
    bus = await run(EVENTBUS_RETENTION_SECONDS="1", **settings)
    await heals(bus, 250_000)
    assert await identify(bus) == "identified"


async def is_ready(bus: BusProcess) -> bool:
    """Wait until the bus is ready, or has ended."""
    ended = asyncio.create_task(bus.process.wait())
    ready = asyncio.create_task(bus.said("bus ready"))
    await asyncio.wait([ended, ready], return_when=asyncio.FIRST_COMPLETED)
    is_ready = ready.done() and not ready.exception()
    for task in (ended, ready):
        task.cancel()
    await asyncio.gather(ended, ready, return_exceptions=True)
    return is_ready


async def identify(bus: BusProcess) -> str | int | None:
    """Ask for an identity; return the close code if there is none."""
    async with bus.socket() as stranger:
        await stranger.say({"action": "identify"})
        message = await stranger.ws.receive(timeout=PATIENCE)
        return "identified" if message.type is WSMsgType.TEXT else stranger.ws.close_code


def free(disk: Path) -> int:
    """Tell how many bytes a file system has left."""
    found = os.statvfs(disk)
    return found.f_bavail * found.f_frsize


async def test_letting_events_go_takes_smaller_steps_where_there_is_little_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = SqliteLog(str(tmp_path / "events.db"))
    await log.append([(Draft(name="hi"), ANNA)] * 100)
    commit, steps = log._committer.commit, list[int]()

    async def no_room_for_many(job: Any) -> Any:
        count, size, last = await commit(job)
        steps.append(count)
        if count > 5:
            raise LogUnavailable("the log cannot be written: database or disk is full")
        return count, size, last

    monkeypatch.setattr(log._committer, "commit", no_room_for_many)
    monkeypatch.setattr("eventbus.log.sqlite.TRIM_STEP", 64)
    log._trim_step = 64
    for _ in range(3):
        with suppress(LogUnavailable):
            await log.trim(keep=10)

    assert steps == [64, 16, 4]
    await log.close()


async def test_a_disk_that_something_else_has_filled_heals_when_that_is_gone(
    run: StartProcess, small_disk: Path
) -> None:
    settings = {"EVENTBUS_LOG": f"sqlite:{small_disk}/events.db"}
    bus = await run(**settings)
    await bus.publish("hi", service="the-service", data="x" * 100_000)
    with (small_disk / "something").open("wb", buffering=0) as something, suppress(OSError):
        while True:
            something.write(bytes(4096))

    async with asyncio.timeout(PATIENCE):
        while (await bus.post({"name": "hi", "data": KIB}, authorization="the-service")).status == 200:
            pass
    assert len(await bus.events()) >= 1
    (small_disk / "something").unlink()
    await heals(bus, 250_000)
    assert (await bus.request("GET", "/readyz")).status == 200
    stored = len(await bus.events())
    await bus.kill()
    bus = await run(**settings)
    assert len(await bus.events()) == stored


async def test_events_leave_a_reserve_and_letting_them_go_gives_their_room_to_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    size = 24 * 1024 * 1024

    def used() -> int:
        return sum(file.stat().st_size for file in tmp_path.glob("events.db*"))

    def statvfs(_path: Path) -> SimpleNamespace:
        return SimpleNamespace(f_frsize=1, f_blocks=size, f_bavail=size - used())

    monkeypatch.setattr("eventbus.log.sqlite.disk_reserve.os.statvfs", statvfs)
    log = SqliteLog(str(tmp_path / "events.db"))
    large = Draft(name="hi", data=msgspec.Raw(b'"%b"' % (b"x" * 250_000)))

    async def fill() -> int:
        count = 0
        with suppress(LogUnavailable):
            while True:
                await log.append([(large, ANNA)])
                count += 1
        with pytest.raises(LogUnavailable, match="the disk is nearly full"):
            await log.check()
        return count

    first = await fill()
    assert first * 250_000 > 16_000_000
    for _ in range(3):
        while await log.trim(keep=first // 2):
            pass
        await log.check()
        assert await fill() >= first // 2 - 2
        await log.keep_identities({"client-anna": 1e10}, now=0)
        await log.keep_group_places({("service", "group"): b"x" * 1000})
        assert used() < size - 3 * 1024 * 1024
    assert caplog.messages.count("the disk has room again") == 3
    await log.close()


@pytest.mark.parametrize(("blocks", "free"), [(0, 0), (8_000_000, 7_000_000)])
async def test_a_disk_that_does_not_say_how_large_it_is_or_is_tiny_takes_events(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, blocks: int, free: int
) -> None:
    disk = SimpleNamespace(f_frsize=1, f_blocks=blocks, f_bavail=free)
    monkeypatch.setattr("eventbus.log.sqlite.disk_reserve.os.statvfs", lambda _: disk)
    log = SqliteLog(str(tmp_path / "events.db"))

    await log.append([(Draft(name="hi", data=msgspec.Raw(b'"%b"' % (b"x" * 250_000))), ANNA)])
    await log.keep_identities({"client-anna": 1e10}, now=0)

    await log.check()
    await log.close()


async def test_identities_leave_half_of_the_reserve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "eventbus.log.sqlite.disk_reserve.os.statvfs",
        lambda _: SimpleNamespace(f_frsize=1, f_blocks=24 * 1024 * 1024, f_bavail=1_500_000),
    )
    log = SqliteLog(str(tmp_path / "events.db"))

    with pytest.raises(LogUnavailable, match="the disk is nearly full"):
        await log.keep_identities({"client-anna": 1e10}, now=0)

    await log.keep_group_places({("service", "group"): b"place"})
    await log.keep_identities({}, now=0)
    await log.close()


class FailingSync:
    """A connection whose next write fails at its sync, and all others would succeed again."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self.fails = True

    def __getattr__(self, name: str) -> Any:
        return getattr(self._db, name)

    def execute(self, statement: str, *values: Any) -> Any:
        done = self._db.execute(statement, *values)
        if self.fails and statement.startswith(("INSERT INTO events", "COMMIT", "PRAGMA wal_checkpoint")):
            self.fails = False
            raise failed_sync()
        return done


def failed_sync() -> sqlite3.OperationalError:
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorcode = sqlite3.SQLITE_IOERR_FSYNC
    return error


@pytest.mark.parametrize("where", ["append", "commit", "checkpoint", "between commits"])
async def test_after_a_failed_sync_nothing_is_acknowledged_until_the_log_is_opened_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, where: str
) -> None:
    path = str(tmp_path / "events.db")
    log = SqliteLog(path)
    one, two, three = (Draft(name="hi", id=str(number)) for number in range(3))
    [first] = await log.append([(one, ANNA)])

    if where == "checkpoint":

        def fails(_db: sqlite3.Connection) -> int:
            raise failed_sync()

        monkeypatch.setattr("eventbus.log.sqlite.checkpoints.checkpoint", fails)
        monkeypatch.setattr("eventbus.log.sqlite.checkpoints.EVERY", 1)
        await log.append([(two, ANNA)])
        assert log._checkpoints._running
        await log._checkpoints._running
    else:
        log._committer._db = FailingSync(log._committer._db)  # type: ignore[assignment]
        write = {
            "append": lambda: log.append([(two, ANNA)]),
            "commit": lambda: log.keep_group_places({("service", "group"): b"place"}),
            "between commits": lambda: log._committer.between_commits(lambda db: db.execute("PRAGMA wal_checkpoint")),
        }
        with pytest.raises((LogUnavailable, sqlite3.OperationalError)):
            await write[where]()

    for _ in range(3):
        with pytest.raises(LogUnavailable, match="a sync of the disk failed"):
            await log.append([(three, ANNA)])
        with pytest.raises(LogUnavailable, match="restart the bus"):
            await log.check()
    assert (await log.read(after=0, limit=1))[0].seq == first.seq  # reading goes on
    assert sum("a sync of the disk failed" in message for message in caplog.messages) == 1
    await log.close()
    monkeypatch.undo()
    log = SqliteLog(path)
    await log.check()
    assert (await log.append([(one, ANNA)]))[0].duplicate
    assert (await log.append([(three, ANNA)]))[0].duplicate is False
    await log.close()
