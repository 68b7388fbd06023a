"""Every program says what it is when asked, and starts nothing when it is told what it does not know."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from documents import ROOT

BIN = Path(sys.executable).parent
PYTHON = sys.executable
PROGRAMS = {
    "eventbus": [BIN / "eventbus"],
    "python -m eventbus": [PYTHON, "-m", "eventbus"],
    "domain-service": [BIN / "domain-service"],
    "python -m domain_service": [PYTHON, "-m", "domain_service"],
    "serve.py": [PYTHON, ROOT / "static-site" / "serve.py"],
    "make-certificates": [ROOT / "bus" / "make-certificates"],
}
TOOLS = {
    "ask.py": [PYTHON, ROOT / "docs" / "examples" / "ask.py"],
    "shouter.py": [PYTHON, ROOT / "docs" / "examples" / "shouter.py"],
    "bare_shouter.py": [PYTHON, ROOT / "docs" / "examples" / "bare_shouter.py"],
    "memory.py": [PYTHON, ROOT / "bus" / "bench" / "memory.py"],
    "python -m bench": [PYTHON, "-m", "bench"],
    "python -m bench.ratio": [PYTHON, "-m", "bench.ratio"],
    "python -m bench.levers": [PYTHON, "-m", "bench.levers"],
    "screenshots.py": [PYTHON, ROOT / "e2e" / "screenshots.py"],
    "install_browser.py": [PYTHON, ROOT / "e2e" / "install_browser.py"],
}


def run(folder: Path, name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a program where it finds no settings, so that starting would show."""
    command = [*(PROGRAMS | TOOLS)[name], *arguments]
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT / "bus")}
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=30)


@pytest.mark.parametrize("option", ["--help", "-h"])
@pytest.mark.parametrize("name", [*PROGRAMS, *TOOLS])
def test_asked_for_help_a_program_says_how_it_is_used_and_ends_well(tmp_path: Path, name: str, option: str) -> None:
    done = run(tmp_path, name, option)

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("usage: ")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", PROGRAMS)
def test_asked_for_its_version_a_program_says_it_and_ends_well(tmp_path: Path, name: str) -> None:
    room = "example-service" if "domain" in name else "bus"
    version = tomllib.loads((ROOT / room / "pyproject.toml").read_text())["project"]["version"]

    done = run(tmp_path, name, "--version")

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.split()[-1] == version


@pytest.mark.parametrize("arguments", [["--unknown"], ["one", "--two", "three", "four"]], ids=" ".join)
@pytest.mark.parametrize("name", [*PROGRAMS, *TOOLS])
def test_told_what_it_does_not_know_a_program_says_so_and_does_nothing(
    tmp_path: Path, name: str, arguments: list[str]
) -> None:
    done = run(tmp_path, name, *arguments)

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("usage: ") or done.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())
