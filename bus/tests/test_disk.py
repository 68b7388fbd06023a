"""What happens to the disk under a bus that runs: it fills up, gets room again, or damages the file."""

from __future__ import annotations

import os
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest
from bus_under_test import BusProcess, StartProcess
from eventbus.config import ConfigError
from eventbus.event import Draft
from eventbus.log import Publisher, open_log
from eventbus.log.sqlite import SqliteLog

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
