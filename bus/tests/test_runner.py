"""A program knows when the runner that started it has gone."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import eventbus.server.runner
import eventbus_client.runner
import pytest
from bus_under_test import StartProcess


def test_services_look_as_the_bus_does() -> None:
    texts = [Path(module.__file__).read_text() for module in (eventbus.server.runner, eventbus_client.runner)]

    assert texts[0] == texts[1]


async def test_a_bus_whose_runner_was_gone_before_it_looked_ends_well_and_says_so(run: StartProcess) -> None:
    bus = await run(EVENTBUS_RUNNER="999999999", until_ready=False)

    assert await bus.exit_status() in (0, -signal.SIGTERM)  # the second, if it had not begun to listen to signals
    assert "(process 999999999) has gone" in bus.output


@pytest.mark.parametrize("above", [0, 1], ids=["no runner", "its parent"])
async def test_a_bus_whose_runner_is_there_goes_on(run: StartProcess, above: int) -> None:
    bus = await run(EVENTBUS_RUNNER=str(above * os.getpid()))

    assert (await bus.request("GET", "/readyz")).status == 200
    assert await bus.stop() == 0


def test_where_nothing_tells_of_parents_its_own_parent_is_what_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(eventbus.server.runner, "PROCESSES", Path("/nowhere"))

    assert list(eventbus.server.runner._ancestors()) == [os.getppid()]
