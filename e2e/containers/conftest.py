"""The containers that these tests look at, and what happens on a machine that has no engine to run them."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from compose import Compose, why_no_engine

NO_ENGINE = why_no_engine()

# Without an engine these tests are left out, and the last lines say so; but not in CI, where they fail.
collect_ignore_glob = ["test_*.py"] if NO_ENGINE and not os.environ.get("CI") else []


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if NO_ENGINE:
        terminalreporter.write_line(f"Containers were NOT tested: {NO_ENGINE}", yellow=True)


@pytest.fixture(scope="session", autouse=True)
def engine() -> None:
    if NO_ENGINE:
        pytest.fail(f"containers must be tested in CI: {NO_ENGINE}", pytrace=False)


@pytest.fixture(scope="session")
def compose(engine: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Compose]:
    """The three services, up and healthy; each test leaves them so."""
    compose = Compose(tmp_path_factory.mktemp("containers") / "eventbus")
    try:
        compose.up()
        yield compose
    finally:
        compose.remove()
