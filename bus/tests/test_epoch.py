"""A log whose end is not certain has a new epoch, and no other has."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from bus_under_test import BusProcess, StartProcess
from eventbus.event import Draft
from eventbus.log import Publisher
from eventbus.log.sqlite import SqliteLog
from eventbus.log.sqlite.birth import born
from eventbus.log.sqlite.witness import Sighting, Witness, doubt

ANNA = Publisher(source="client", scope="client-anna")
SERVICE = {"action": "authenticate", "credentials": "the-service"}
LOST = "the log may have lost its newest events: "
ROUNDS = 100


async def place_of(bus: BusProcess) -> tuple[int, str]:
    """Return the head and the epoch, as a service is told them."""
    async with bus.socket() as service:
        answer = await service.ask(SERVICE)
        return answer["seq"], answer["epoch"]


async def publish(bus: BusProcess, count: int) -> None:
    for _ in range(count):
        await bus.publish("hi", service="the-service")


async def assert_a_new_epoch(bus: BusProcess, *, after: int, epoch: str, reason: str) -> None:
    """Whoever comes back is told of a gap, and whoever reads what the bus wrote is told why, in one line."""
    async with bus.socket() as watcher:
        answer = await watcher.ask(SERVICE | {"after": after, "epoch": epoch})
    assert answer["epoch"] != epoch
    assert answer["gap"] is True
    [line] = [line for line in bus.output.splitlines() if line.startswith(LOST)]
    assert reason in line


# A copy that is put back


def in_place(copy: Path, log: Path) -> None:
    for file in copy.iterdir():
        shutil.copyfile(file, log.parent / file.name)


def by_renaming(copy: Path, log: Path) -> None:
    for file in copy.iterdir():
        file.rename(log.parent / file.name)


def after_removing_the_database(copy: Path, log: Path) -> None:
    log.unlink()
    in_place(copy, log)


def after_removing_all(copy: Path, log: Path) -> None:
    for file in log.parent.glob("events.db*"):
        file.unlink()
    in_place(copy, log)


@pytest.mark.parametrize("put_back", [in_place, by_renaming, after_removing_the_database, after_removing_all])
async def test_a_copy_of_the_database_that_is_put_back_has_a_new_epoch(
    run: StartProcess, tmp_path: Path, put_back: Callable[[Path, Path], None]
) -> None:
    log, copy = tmp_path / "events.db", tmp_path / "copy"
    copy.mkdir()
    bus = await run()
    await publish(bus, 1)
    await bus.stop()
    shutil.copy2(log, copy)
    bus = await run()
    await publish(bus, 1)
    head, epoch = await place_of(bus)
    await bus.stop()

    put_back(copy, log)
    bus = await run()

    await assert_a_new_epoch(bus, after=head, epoch=epoch, reason=" ")
    await publish(bus, 3)
    async with bus.socket() as watcher:  # also one that comes when there is more than it had got
        assert (await watcher.ask(SERVICE | {"after": head, "epoch": epoch}))["gap"] is True


@pytest.mark.parametrize("remove", [True, False], ids=["after removing it", "over it"])
async def test_a_copy_of_the_whole_folder_that_is_put_back_has_a_new_epoch(
    run: StartProcess, tmp_path: Path, remove: bool
) -> None:
    folder, copy = tmp_path / "data", tmp_path / "copy"
    url = f"sqlite:{folder}/events.db"
    bus = await run(EVENTBUS_LOG=url)
    await publish(bus, 1)
    await bus.stop()
    shutil.copytree(folder, copy)
    bus = await run(EVENTBUS_LOG=url)
    await publish(bus, 1)
    head, epoch = await place_of(bus)
    await bus.stop()

    if not born(folder / "events.db"):
        pytest.skip("this file system does not tell when a file was made")
    shutil.rmtree(folder) if remove else folder.rename(tmp_path / "away")
    shutil.copytree(copy, folder)
    bus = await run(EVENTBUS_LOG=url)

    await assert_a_new_epoch(bus, after=head, epoch=epoch, reason="its file is a copy")


# A write-ahead log that is not whole


def flip_a_bit(wal: Path) -> None:
    content = bytearray(wal.read_bytes())
    content[len(content) // 2] ^= 1
    wal.write_bytes(content)


def cut_off(wal: Path) -> None:
    wal.write_bytes(wal.read_bytes()[: wal.stat().st_size // 2])


@pytest.mark.parametrize("damage", [flip_a_bit, cut_off, Path.unlink])
async def test_events_that_a_damaged_wal_file_has_lost_are_noticed(
    run: StartProcess, tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    bus = await run()
    await publish(bus, 50)
    head, epoch = await place_of(bus)
    await bus.kill()

    damage(tmp_path / "events.db-wal")
    bus = await run()

    await assert_a_new_epoch(bus, after=head, epoch=epoch, reason=", and was 50")


# A log that is not synced


async def test_a_log_that_is_not_synced_has_a_new_epoch_unless_it_was_closed(run: StartProcess, tmp_path: Path) -> None:
    url = f"sqlite:{tmp_path}/events.db?sync=normal"
    bus = await run(EVENTBUS_LOG=url)
    await publish(bus, 1)
    head, epoch = await place_of(bus)
    await bus.stop()
    bus = await run(EVENTBUS_LOG=url)
    assert await place_of(bus) == (head, epoch)
    assert LOST not in bus.output

    await bus.kill()
    bus = await run()  # synced from now on, which says nothing of what was before

    await assert_a_new_epoch(bus, after=head, epoch=epoch, reason="it was not closed, and sync=normal")


# No false alarm


OPENED_AND_KILLED = """
import asyncio, logging, os, signal, sys
from eventbus.event import Draft
from eventbus.log import Publisher
from eventbus.log.sqlite import SqliteLog

logging.basicConfig(format="%(message)s")

async def append(path):
    log = SqliteLog(path)
    print(log.epoch, log.head, flush=True)
    await log.append([(Draft(name="hi"), Publisher(source="client", scope="client-anna"))])
    os.kill(os.getpid(), signal.SIGKILL)

for _ in range(int(sys.argv[2])):
    if os.fork() == 0:
        asyncio.run(append(sys.argv[1]))
    os.wait()
"""


async def test_a_log_whose_bus_is_killed_keeps_its_epoch(tmp_path: Path) -> None:
    killing = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", OPENED_AND_KILLED, str(tmp_path / "events.db"), str(ROUNDS)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await killing.communicate()

    lines = [line.split() for line in output.decode().splitlines()]
    assert [int(head) for _, head in lines] == list(range(ROUNDS))
    assert len({epoch for epoch, _ in lines}) == 1


async def append(log: SqliteLog, count: int = 1) -> None:
    await log.append([(Draft(name="hi"), ANNA)] * count)


@pytest.mark.parametrize("sync", ["full", "normal"])
async def test_a_log_that_was_closed_keeps_its_epoch(
    tmp_path: Path, sync: str, caplog: pytest.LogCaptureFixture
) -> None:
    epochs = set()
    for number in range(ROUNDS):
        log = SqliteLog(str(tmp_path / "events.db"), sync=sync)
        assert log.head == number
        epochs.add(log.epoch)
        await append(log)
        await log.close()

    assert len(epochs) == 1
    assert not caplog.records


async def test_a_log_of_an_earlier_version_keeps_its_epoch(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "events.db"
    log = SqliteLog(str(path))
    await append(log)
    await log.close()
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA application_id = 0")
    (tmp_path / "events.db.head").unlink()

    again = SqliteLog(str(path))
    await again.close()

    assert (again.epoch, again.head) == (log.epoch, 1)
    assert not caplog.records


async def test_a_log_that_was_refused_keeps_its_epoch(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "events.db"
    log = SqliteLog(str(path), sync="normal")
    await append(log)
    await log.close()
    whole = path.read_bytes()
    path.write_bytes(whole[:-4096])
    with pytest.raises(OSError, match="damaged"):
        SqliteLog(str(path))

    path.write_bytes(whole)
    again = SqliteLog(str(path))
    await again.close()

    assert again.epoch == log.epoch
    assert not caplog.records


async def test_a_commit_is_not_synced_a_second_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = SqliteLog(str(tmp_path / "events.db"))
    synced: list[int] = []
    monkeypatch.setattr("os.fsync", synced.append)

    for _ in range(10):
        await append(log)

    assert synced == []
    await log.close()
    assert synced


# The witness


BEFORE = Sighting(number=1, epoch="e", head=5, sync="full", born=7)


@pytest.mark.parametrize(
    ("last", "now", "reason"),
    [
        (BEFORE, {}, ""),
        (BEFORE, {"head": 6}, ""),  # power failed before the witness's file was synced
        (BEFORE, {"born": 8}, ""),  # the image of a disk after a power cut
        (BEFORE, {"head": 4}, "its newest event is 4, and was 5"),
        (BEFORE, {"epoch": "f"}, "its .head file is another log's"),
        (None, {}, "its .head file is missing"),
        (None, {"attended": False}, ""),
    ],
)
def test_what_a_witness_saw_is_compared_with_the_log(
    last: Sighting | None, now: dict[str, object], reason: str
) -> None:
    log = {"epoch": "e", "head": 5, "born": 7, "attended": True} | now

    assert doubt(last, **log) == reason  # type: ignore[arg-type]


@pytest.mark.parametrize(("born", "reason"), [(7, ""), (8, "its file is a copy"), (0, "")])
def test_a_log_that_was_closed_is_the_same_file(born: int, reason: str) -> None:
    closed = Sighting(number=1, epoch="e", head=5, sync="normal", born=7, closed=True)

    assert doubt(closed, epoch="e", head=5, born=born, attended=True) == reason


@pytest.mark.parametrize("slot", [0, 1, 2])
def test_a_sighting_that_is_torn_leaves_an_older_one(tmp_path: Path, slot: int) -> None:
    path = tmp_path / "events.db"
    path.touch()
    for head in (1, 3):
        witness = Witness(path)
        witness.begin(epoch="e", head=head, sync="full", born=0)
        witness.note(head + 1)
        if head == 1:
            witness.close()

    with (tmp_path / "events.db.head").open("r+b") as file:
        file.seek(slot * 4096 + 8)
        file.write(b"torn" * 10)

    last = Witness(path).last
    assert last
    assert last.head == (3 if slot == 2 else 4)


def test_a_witness_that_cannot_be_read_is_none(tmp_path: Path) -> None:
    (tmp_path / "events.db.head").write_bytes(b"nonsense" * 2000)

    assert Witness(tmp_path / "events.db").last is None


def test_no_copy_of_a_file_was_made_when_the_file_was(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    if not born(tmp_path / "a"):
        pytest.skip("this file system does not tell when a file was made")

    (tmp_path / "a").rename(tmp_path / "b")
    (tmp_path / "c").hardlink_to(tmp_path / "b")
    made = born(tmp_path / "b")
    while True:
        shutil.copy2(tmp_path / "b", tmp_path / "d")
        if born(tmp_path / "d") > made:
            break  # clocks of file systems have some milliseconds to a tick
        (tmp_path / "d").unlink()

    assert born(tmp_path / "c") == made
