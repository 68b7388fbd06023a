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
from machine import ARTIFACTS, ROOT, ended, environment, free_ports, untested, wait_until
from web import request, visit

PROGRAMS = {"bus", "static-site", "example-service"}
READY = ("bus ready", "Open http", "connected to")
STARTED = re.compile(r"([a-z-]+)\.1 .*started (?:\(pid=|with pid )(\d+)")
ENDED_WELL = re.compile(r"([a-z-]+)\.1 .*(?:exited with code 0|stopped \(rc=0\))")
IN_A_TERMINAL = ["script", "--quiet", "--command", "make start", "/dev/null"]
READS_UNTIL_READY = """{ ready=0; while [ $ready -lt 3 ] && read -r line; do
    echo "$line"
    case $line in *"bus ready"* | *"Open http"* | *"connected to"*) ready=$((ready + 1)) ;; esac
done; }"""

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

    def running(self) -> dict[str, int]:
        """Return the process of each program that has not ended."""
        return {name: int(pid) for name, pid in STARTED.findall(self.printed.read_text()) if is_running(int(pid))}


@pytest.fixture(params=["foreman", "honcho"])
def run_command(request: pytest.FixtureRequest) -> str:
    """Each of the two runners."""
    name: str = request.param
    command = shutil.which(name, path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if command is None:
        untested(f"{name} start", "it is not installed (on Debian: apt install ruby-foreman)")
    return command


@pytest.fixture
def run(run_command: str, tmp_path: Path) -> Iterator[Run]:
    """Each of the two runners, started in the project's folder without an .env."""
    with started([run_command, "start", "--env", os.devnull], Path(run_command).name, tmp_path) as run:  # not your .env
        yield run


@contextmanager
def started(command: list[str], name: str, folder: Path) -> Iterator[Run]:
    ports = free_ports()
    files = {"EVENTBUS_LOG": f"sqlite:{folder}/events.db", "DOMAIN_SERVICE_REGISTRY": f"{folder}/registry.db"}
    ARTIFACTS.mkdir(parents=True, exist_ok=True)
    printed = ARTIFACTS / f"{name}.log"
    with printed.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment() | ports | files,
            stdout=output,
            stderr=output,
            start_new_session=True,
            preexec_fn=_heed_hangups,
        )
    site, bus = (f"http://localhost:{port}" for port in ports.values())
    with ended(process):
        yield Run(process, printed, site, bus)


def _heed_hangups() -> None:
    """Let the runner end by SIGHUP even where the tests run under `nohup`, which has all below it ignore that."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def test_one_command_starts_all_three(run: Run) -> None:
    run.wait_until_ready()

    with visit(run.bus_url) as visitor:
        [answer] = visitor.ask("check-domain", ["example.com"])
    told = request("GET", f"{run.site_url}/config.json").json()

    assert answer == {"name": "example.com", "availability": "available"}
    assert told == {"eventbus": run.bus_url}


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGHUP], ids=lambda number: number.name)
def test_when_the_runner_has_gone_its_programs_end(run: Run, number: signal.Signals) -> None:
    run.wait_until_ready()

    run.process.send_signal(number)
    run.process.wait(timeout=10)

    wait_until(lambda: not run.running(), "none of the programs is left", seconds=10)


@pytest.fixture
def installed() -> None:
    """`make start` must not install anything under the feet of these tests."""
    subprocess.run(["make", "--question", "install"], cwd=ROOT, check=True, timeout=60)


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize("command", [["make", "start"], IN_A_TERMINAL], ids=["make", "a terminal"])
def test_when_make_start_or_its_terminal_has_gone_its_programs_end(tmp_path: Path, command: list[str]) -> None:
    with started(command, "make", tmp_path) as run:
        run.wait_until_ready()

        run.process.kill()
        run.process.wait(timeout=10)

        wait_until(lambda: not run.running(), "none of the programs is left", seconds=10)


@pytest.mark.usefixtures("installed")
def test_when_nobody_reads_what_make_start_prints_its_programs_end(tmp_path: Path) -> None:
    with started(["sh", "-c", f"make start | {READS_UNTIL_READY}"], "make", tmp_path) as run:
        run.wait_until_ready()

        run.process.wait(timeout=10)

        wait_until(lambda: not run.running(), "none of the programs is left", seconds=10)


@pytest.mark.parametrize("keeper", ["nohup", "setsid"])
def test_a_runner_that_is_started_to_live_on_lives_on(run_command: str, tmp_path: Path, keeper: str) -> None:
    shell = f"{keeper} {run_command} start --env {os.devnull} & echo runner $!"
    with started(["sh", "-c", shell], "kept", tmp_path) as run:
        run.process.wait(timeout=10)
        run.wait_until_ready()
        [runner] = re.findall(r"^runner (\d+)$", run.printed.read_text(), re.MULTILINE)
        try:
            os.kill(run.running()["bus"], signal.SIGHUP)
            wait_until(lambda: "SIGHUP changes nothing" in run.printed.read_text(), "the bus heard SIGHUP")

            assert run.running().keys() == PROGRAMS
        finally:
            os.kill(int(runner), signal.SIGTERM)
        wait_until(lambda: not run.running(), "all of them have ended", seconds=10)


@pytest.mark.parametrize("interrupt", [True, False], ids=["Ctrl-C", "SIGTERM"])
def test_one_signal_ends_all_three_well(run: Run, interrupt: bool) -> None:
    run.wait_until_ready()

    if interrupt:
        os.killpg(run.process.pid, signal.SIGINT)  # a terminal's Ctrl-C reaches the programs, too
    else:
        run.process.terminate()
    run.process.wait(timeout=10)

    assert set(ENDED_WELL.findall(run.printed.read_text())) == PROGRAMS
