"""A power cut at any moment: what was answered 200 is in the log, or the log has another epoch.

`POWER_CUTS=500 pytest bus/tests/test_power_cut.py` tries more moments.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from pathlib import Path
from random import Random

import pytest
from bus_under_test import BusProcess, StartProcess
from eventbus.log.sqlite import SqliteLog
from power_cut import Step, answered, image, read, record

CUTS = int(os.environ.get("POWER_CUTS", "60"))
PUBLISHERS = 4
EACH = 8


@pytest.fixture(autouse=True)
def an_image_is_no_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk after a power cut holds the same files; ours are made anew."""
    monkeypatch.setattr("eventbus.log.sqlite.opening.born", lambda _path: 0)


@pytest.fixture
def strace() -> None:
    if not shutil.which("strace"):
        if "CI" in os.environ:
            pytest.fail("strace is needed, which .ci/run installs")
        pytest.skip("no strace, which records what the bus writes: apt install strace")


async def publish(bus: BusProcess, run: int) -> None:
    async def several(publisher: int) -> None:
        for number in range(EACH):
            event_id = f"{run}-{publisher}-{number}"
            data = event_id * Random(event_id).randrange(1, 1000)
            await bus.publish("hi", service="the-service", id=event_id, data=data)

    await asyncio.gather(*map(several, range(PUBLISHERS)))


async def steps_of_a_bus(run: StartProcess, tmp_path: Path, sync: str) -> tuple[list[Step], str]:
    """Record a bus that is started, used and stopped, and then used and killed; return the log's epoch, too."""
    folder = tmp_path / "data"
    steps: list[Step] = []
    for number in range(2):
        trace = tmp_path / f"{number}.trace"
        bus = await run(EVENTBUS_LOG=f"sqlite:{folder}/events.db?sync={sync}", prefix=record(trace))
        await publish(bus, number)
        epoch = (await bus.request("GET", "/events", headers={"Authorization": "the-service"})).headers[
            "EventBus-Epoch"
        ]
        await (bus.stop() if number == 0 else bus.kill())
        before = len(steps)
        steps += [
            Step(step.kind, step.began + before, step.path, step.offset, step.data) for step in read(trace, folder)
        ]
    assert len(answered(steps)) == 2 * PUBLISHERS * EACH
    return steps, epoch


async def open_image(files: dict[str, bytes], folder: Path, sync: str) -> tuple[dict[str, int], str]:
    """Return the position of each event in the log of an image, and the log's epoch."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    log = SqliteLog(str(folder / "events.db"), sync=sync)
    events = await log.read(after=0, limit=1000)
    while events and (more := await log.read(after=events[-1].seq, limit=1000)):
        events += more
    await log.close()
    assert [event.seq for event in events] == sorted(event.seq for event in events)
    for event in events:
        content = event.content
        assert bytes(content.data).strip(b'"').decode() == content.id * Random(content.id).randrange(1, 1000)
    return {event.content.id: event.seq for event in events}, log.epoch


def moments(steps: list[Step]) -> list[int]:
    """Choose moments for a cut; not before the first event was answered."""
    first = next(index for index, step in enumerate(steps) if step.kind == "answered")
    return [Random(number).randrange(first + 1, len(steps) + 1) for number in range(CUTS)]


@pytest.mark.usefixtures("strace")
async def test_a_power_cut_loses_nothing_that_was_answered_and_the_epoch_stays(
    run: StartProcess, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    steps, epoch = await steps_of_a_bus(run, tmp_path, "full")

    for number, cut in enumerate(moments(steps)):
        files = image(steps[:cut], Random(number))
        found, epoch_found = await open_image(files, tmp_path / "image", "full")
        assert dict(answered(steps[:cut])).items() <= found.items(), (number, cut)
        assert epoch_found == epoch, (number, cut)

    assert "the log may have lost" not in caplog.text


@pytest.mark.usefixtures("strace")
async def test_a_log_that_a_power_cut_took_events_from_has_a_new_epoch(run: StartProcess, tmp_path: Path) -> None:
    steps, epoch = await steps_of_a_bus(run, tmp_path, "normal")
    losses = 0

    for number, cut in enumerate(moments(steps)):
        files = image(steps[:cut], Random(number))
        found, epoch_found = await open_image(files, tmp_path / "image", "normal")
        if not dict(answered(steps[:cut])).items() <= found.items():
            losses += 1
            assert epoch_found != epoch, (number, cut)

    assert losses > 0


@pytest.mark.usefixtures("strace")
async def test_a_bus_goes_on_after_a_power_cut(run: StartProcess, tmp_path: Path) -> None:
    steps, _ = await steps_of_a_bus(run, tmp_path, "full")

    for number, cut in enumerate(moments(steps)[:2]):
        folder = tmp_path / f"image-{number}"
        folder.mkdir()
        for name, content in image(steps[:cut], Random(number)).items():
            (folder / name).write_bytes(content)
        bus = await run(EVENTBUS_LOG=f"sqlite:{folder}/events.db")
        await bus.publish("hi", service="the-service")
        positions = {event["id"]: event["seq"] for event in await bus.events()}
        assert dict(answered(steps[:cut])).items() <= positions.items()
        await bus.stop()


@pytest.mark.usefixtures("strace")
async def test_without_syncs_events_would_be_lost(run: StartProcess, tmp_path: Path) -> None:
    """So the tests above can fail."""
    steps, _ = await steps_of_a_bus(run, tmp_path, "full")
    losses = 0

    for number, cut in enumerate(moments(steps)):
        files = image(steps[:cut], Random(number), heeds_syncs=False)
        try:
            found, _ = await open_image(files, tmp_path / "image", "full")
        except OSError:  # it is damaged, and refused
            losses += 1
        else:
            losses += not dict(answered(steps[:cut])).items() <= found.items()

    assert losses > 0
