"""A story that fails leaves what is needed to find out why."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from machine import ROOT
from programs import PROGRAMS

pytestmark = pytest.mark.needs_control

FAILING = """
def test_that_fails(page, demo):
    page.goto("/")
    assert page.title() == "something else"

def test_that_complains(page):
    page.goto("/")
    page.evaluate("console.error('the page complains')")

def test_that_breaks_the_policy(page):
    page.goto("/")
    page.evaluate("document.body.append(Object.assign(new Image(), {src: 'http://localhost:1/'}))")

def test_that_throws(page):
    page.goto("/")
    page.evaluate("setTimeout(() => { throw new Error('the page throws') })")
    page.evaluate("new Promise((resolve) => setTimeout(resolve))")
"""


@pytest.fixture(scope="module")
def failed_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """Run failing stories as `pytest e2e` would; give what was printed, and the folder of artifacts."""
    directory = tmp_path_factory.mktemp("failing")
    (directory / "test_failing.py").write_text(FAILING)
    shutil.copy(ROOT / "e2e" / "conftest.py", directory)
    artifacts = directory / "artifacts"
    options = ["-p", "no:cacheprovider", f"--rootdir={directory}", f"--output={artifacts}"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-c", ROOT / "pyproject.toml", *options, directory],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    return done.stdout, artifacts


def test_a_failed_story_leaves_a_screenshot_a_trace_and_what_the_programs_printed(
    failed_run: tuple[str, Path],
) -> None:
    _, artifacts = failed_run

    [directory] = artifacts.glob("*that-fails*")

    assert (directory / "test-failed-1.png").stat().st_size > 1000
    assert (directory / "trace.zip").stat().st_size > 1000
    assert {f"{program}.log" for program in PROGRAMS} <= {file.name for file in directory.iterdir()}
    assert "bus ready" in (directory / "bus.log").read_text()


@pytest.mark.parametrize("complaint", ["the page complains", "the page throws", "Content Security Policy"])
def test_a_story_fails_when_the_page_complains(failed_run: tuple[str, Path], complaint: str) -> None:
    printed, _ = failed_run

    assert any(complaint in line for line in printed.splitlines() if line.startswith("E "))
