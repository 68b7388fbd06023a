"""The log's files under a running bus: removed, moved, replaced, linked, or used by a second one."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from bus_under_test import Bus, BusProcess, StartProcess

GONE = "; the bus must be started anew"


def remove_all(log: Path) -> None:
    for file in log.parent.glob("events.db*"):
        file.unlink()


def move_it_away(log: Path) -> None:
    log.rename(log.with_name("away.db"))


def rename_its_folder(log: Path) -> None:
    log.parent.rename(log.parent.with_name("away"))


def put_a_copy_in_its_place(log: Path) -> None:
    shutil.copy2(log, log.with_name("copy.db")).rename(log)


def remove_the_write_ahead_log(log: Path) -> None:
    Path(f"{log}-wal").unlink()


def remove_the_shared_memory(log: Path) -> None:
    Path(f"{log}-shm").unlink()


def cut_it_off(log: Path) -> None:
    os.truncate(log, 4096)


def cut_the_write_ahead_log_off(log: Path) -> None:
    os.truncate(f"{log}-wal", 0)


HARMS = [
    cut_it_off,
    cut_the_write_ahead_log_off,
    remove_all,
    move_it_away,
    rename_its_folder,
    put_a_copy_in_its_place,
    remove_the_write_ahead_log,
    remove_the_shared_memory,
]


async def publish(bus: Bus) -> int:
    return (await bus.post({"name": "hi"}, authorization="the-service")).status


async def run_in_folder(run: StartProcess, tmp_path: Path, **options: bool) -> tuple[BusProcess, Path]:
    log = tmp_path / "data" / "events.db"
    return await run(EVENTBUS_LOG=f"sqlite:{log}", **options), log


@pytest.mark.parametrize("harm", HARMS)
async def test_a_bus_whose_file_is_gone_says_so_once_and_takes_nothing_more(
    run: StartProcess, tmp_path: Path, harm: Callable[[Path], None]
) -> None:
    bus, log = await run_in_folder(run, tmp_path)
    assert await publish(bus) == 200

    harm(log)
    await bus.said(GONE)  # nobody publishes

    assert [await publish(bus) for _ in range(3)] == [503] * 3
    assert (await bus.request("GET", "/readyz")).status == 503
    assert (await bus.request("GET", "/healthz")).status == 200
    assert [event["seq"] for event in await bus.events()] == [1]
    assert bus.output.count(f"{GONE}, and takes no events until then") == 1
    assert await bus.stop() == 0
    assert "Traceback" not in bus.output


@pytest.mark.parametrize("harm", [harm for harm in HARMS if harm is not remove_the_shared_memory])
async def test_nothing_is_answered_200_that_a_restart_would_not_find(
    run: StartProcess, tmp_path: Path, harm: Callable[[Path], None]
) -> None:
    bus, log = await run_in_folder(run, tmp_path)
    assert await publish(bus) == 200

    harm(log)
    answer = await bus.post({"name": "hi"}, authorization="the-service")

    assert answer.status == 503
    assert GONE in answer.json["detail"]
    assert (await bus.request("GET", "/readyz")).status == 503


@pytest.mark.parametrize("link", ["folder", "file"])
async def test_a_link_that_leads_elsewhere_by_now_is_noticed(run: StartProcess, tmp_path: Path, link: str) -> None:
    named = tmp_path / "current" / "events.db"
    if link == "folder":
        (tmp_path / "one").mkdir()
        named.parent.symlink_to("one")
    else:
        named.parent.mkdir()
        named.symlink_to(tmp_path / "elsewhere.db")
    bus = await run(EVENTBUS_LOG=f"sqlite:{named}")
    assert await publish(bus) == 200

    (named.parent if link == "folder" else named).unlink()
    (tmp_path / "two").mkdir()
    if link == "folder":
        named.parent.symlink_to("two")
    await bus.said(GONE)

    assert await publish(bus) == 503


async def test_a_new_log_beside_the_head_file_of_another_says_what_is_gone(run: StartProcess, tmp_path: Path) -> None:
    bus, log = await run_in_folder(run, tmp_path)
    assert [await publish(bus) for _ in range(3)] == [200] * 3
    await bus.kill()
    os.truncate(log, 0)

    bus, _ = await run_in_folder(run, tmp_path)

    assert "the log is new; the one that stood here, by its .head file, had come to 3" in bus.output
    assert await publish(bus) == 200


async def test_a_bus_that_is_started_anew_after_its_files_were_removed_begins_a_new_log(
    run: StartProcess, tmp_path: Path
) -> None:
    bus, log = await run_in_folder(run, tmp_path)
    assert await publish(bus) == 200
    remove_all(log)
    assert await publish(bus) == 503
    await bus.stop()

    bus, _ = await run_in_folder(run, tmp_path)

    assert await bus.events() == []
    assert await publish(bus) == 200


async def test_an_event_that_was_refused_is_delivered_to_nobody(run: StartProcess, tmp_path: Path) -> None:
    bus, log = await run_in_folder(run, tmp_path)
    async with bus.service() as service:
        await publish(bus)
        assert await service.hear_names(1) == ["hi"]
        put_a_copy_in_its_place(log)
        assert await publish(bus) == 503
        assert await bus.events("?after=1") == []


# Other names for the same file


@pytest.mark.parametrize("link", [os.link, os.symlink])
async def test_a_second_bus_cannot_have_the_file_by_another_path(
    run: StartProcess, tmp_path: Path, link: Callable[[Path, Path], None]
) -> None:
    first, log = await run_in_folder(run, tmp_path)
    other = tmp_path / "other" / "events.db"
    other.parent.mkdir()
    link(log, other)

    second = await run(until_ready=False, EVENTBUS_LOG=f"sqlite:{other}")

    assert await second.exit_status() == 2
    assert "another bus is using this file; stop it, or name another file" in second.output
    assert second.output.count("\n") == 1
    assert await publish(first) == 200


async def test_a_file_whose_lock_file_was_removed_is_still_locked(run: StartProcess, tmp_path: Path) -> None:
    first, log = await run_in_folder(run, tmp_path)
    Path(f"{log}.lock").unlink()

    second, _ = await run_in_folder(run, tmp_path, until_ready=False)

    assert await second.exit_status() == 2
    assert await publish(first) == 200


async def test_a_backup_of_hard_links_is_honest(run: StartProcess, tmp_path: Path) -> None:
    bus, log = await run_in_folder(run, tmp_path)
    await publish(bus)
    shutil.copytree(log.parent, tmp_path / "while it runs", copy_function=os.link)
    assert await publish(bus) == 200
    await bus.stop()
    shutil.copytree(log.parent, tmp_path / "while it does not", copy_function=os.link)

    bus, _ = await run_in_folder(run, tmp_path)

    assert await publish(bus) == 200
    assert (await bus.request("GET", "/readyz")).status == 200
    assert len(await bus.events()) == 3
    assert bus.output.count("\n") == 1  # that it is ready


async def test_other_programs_may_read_the_file_and_back_it_up(run: StartProcess, tmp_path: Path) -> None:
    bus, log = await run_in_folder(run, tmp_path)
    await publish(bus)

    with closing(sqlite3.connect(log)) as reader, closing(sqlite3.connect(tmp_path / "backup.db")) as backup:
        reader.backup(backup)
    assert await publish(bus) == 200

    bus = await run(EVENTBUS_LOG=f"sqlite:{tmp_path}/backup.db")
    assert len(await bus.events()) == 1
