"""`foreman start` and `honcho start`: one command runs all three programs, and one signal ends them well."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from machine import ARTIFACTS, ROOT, environment, free_ports, untested, wait_until
from web import request, visit

PROGRAMS = {"bus", "static-site", "example-service"}
READY = ("bus ready", "Open http", "connected to")
ENDED_WELL = re.compile(r"([a-z-]+)\.1 .*(?:exited with code 0|stopped \(rc=0\))")

pytestmark = pytest.mark.needs_control


@dataclass(frozen=True, slots=True)
class Run:
    """A runner that was started, and what it prints."""

    process: subprocess.Popen[bytes]
    printed: Path
    site_url: str
    bus_url: str

    def wait_until_ready(self) -> None:
        wait_until(lambda: all(line in self.printed.read_text() for line in READY), f"all of {READY} in its output")


@pytest.fixture(params=["foreman", "honcho"])
def run(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Run]:
    """Each of the two runners, started in the project's folder without an .env."""
    command = shutil.which(request.param, path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if command is None:
        untested(f"{request.param} start", "it is not installed (on Debian: apt install ruby-foreman)")
    with started(command, request.param, tmp_path) as run:
        yield run


@contextmanager
def started(command: str, name: str, folder: Path) -> Iterator[Run]:
    ports = free_ports()
    files = {"EVENTBUS_LOG": f"sqlite:{folder}/events.db", "DOMAIN_SERVICE_REGISTRY": f"{folder}/registry.db"}
    ARTIFACTS.mkdir(parents=True, exist_ok=True)
    printed = ARTIFACTS / f"{name}.log"
    with printed.open("wb") as output:
        process = subprocess.Popen(
            [command, "start", "--env", os.devnull],  # not the .env that you may have
            cwd=ROOT,
            env=environment() | ports | files,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    site, bus = (f"http://localhost:{port}" for port in ports.values())
    try:
        yield Run(process, printed, site, bus)
    finally:
        process.terminate()
        process.wait(timeout=10)


def test_one_command_starts_all_three(run: Run) -> None:
    run.wait_until_ready()

    with visit(run.bus_url) as visitor:
        [answer] = visitor.ask("check-domain", ["example.com"])
    told = request("GET", f"{run.site_url}/config.json").json()

    assert answer == {"name": "example.com", "availability": "available"}
    assert told == {"eventbus": run.bus_url}


@pytest.mark.parametrize("interrupt", [True, False], ids=["Ctrl-C", "SIGTERM"])
def test_one_signal_ends_all_three_well(run: Run, interrupt: bool) -> None:
    run.wait_until_ready()

    if interrupt:
        os.killpg(run.process.pid, signal.SIGINT)  # a terminal's Ctrl-C reaches the programs, too
    else:
        run.process.terminate()
    run.process.wait(timeout=10)

    assert set(ENDED_WELL.findall(run.printed.read_text())) == PROGRAMS
