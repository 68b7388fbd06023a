"""No test, and no program that a test has started, can hold up a run for ever."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from machine import ROOT, ended

LISTENS_FOR_EVER = "import threading; print('ready', flush=True); threading.Event().wait()"
IS_DEAF_TO_SIGTERM = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {LISTENS_FOR_EVER}"

HANGS_WHILE_IT_IS_TIDIED_UP = """
import pytest, threading

@pytest.fixture(scope="session")
def server():
    yield
    try:
        threading.Event().wait()
    finally:
        threading.Event().wait()

def test_uses_it(server):
    pass
"""


def run_tests(folder: Path, text: str, *options: str) -> subprocess.CompletedProcess[str]:
    """Run tests with this project's settings, of which some are changed."""
    (folder / "test_it.py").write_text(text)
    changed = [part for option in options for part in ("-o", option)]
    command = [sys.executable, "-m", "pytest", "-c", str(ROOT / "pyproject.toml"), "--rootdir", str(folder), *changed]
    plugins = ["-p", "no:cacheprovider"]
    return subprocess.run([*command, *plugins, str(folder)], cwd=folder, capture_output=True, text=True, timeout=60)


def start(code: str) -> subprocess.Popen[str]:
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout
    assert process.stdout.readline() == "ready\n"
    return process


def test_every_test_has_a_bound_and_so_has_what_tidies_up_after_it(pytestconfig: pytest.Config) -> None:
    assert 0 < float(pytestconfig.getini("timeout")) <= 120
    assert 0 < pytestconfig.getini("faulthandler_timeout") <= 600
    assert pytestconfig.getini("faulthandler_exit_on_timeout")


@pytest.mark.parametrize(
    "test", ["def test_hangs():\n    time.sleep(600)", "async def test_hangs():\n    await asyncio.sleep(600)"]
)
def test_a_test_that_outlasts_its_bound_fails_and_the_next_one_runs(tmp_path: Path, test: str) -> None:
    text = f"import asyncio, time\n\n{test}\n\ndef test_next():\n    pass\n"

    done = run_tests(tmp_path, text, "timeout=1")

    assert (done.returncode, "1 failed, 1 passed" in done.stdout) == (1, True), done.stdout


def test_a_run_whose_tidying_up_hangs_ends_and_says_where(tmp_path: Path) -> None:
    done = run_tests(tmp_path, HANGS_WHILE_IT_IS_TIDIED_UP, "timeout=1", "faulthandler_timeout=2")

    assert done.returncode == 1, done.stdout
    assert re.search(r'test_it.py", line \d+ in server', done.stderr)


def test_a_block_that_raises_ends_its_program() -> None:
    process = start(LISTENS_FOR_EVER)

    with pytest.raises(ZeroDivisionError), ended(process):
        raise ZeroDivisionError

    assert process.returncode == -15


def test_a_program_that_does_not_end_when_asked_is_killed_and_its_test_fails() -> None:
    process = start(IS_DEAF_TO_SIGTERM)

    with (
        pytest.raises(pytest.fail.Exception, match=r"does not end within 0\.1 s of SIGTERM"),
        ended(process, within=0.1),
    ):
        pass

    assert process.returncode == -9
