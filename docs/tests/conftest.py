"""The browser of those who read the pages."""

from __future__ import annotations

from typing import Any

import pytest
from browser import chromium_launch_options

# Their tests run what the pages say: `make test-fast` leaves them out.
SLOW = {"command_lines", "running", "walks"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.stem.removeprefix("test_") in SLOW:
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session")
def browser_type_launch_args() -> dict[str, Any]:
    return chromium_launch_options()


@pytest.fixture(scope="session")
def base_url() -> None:
    """There is none: each reader has a demo of their own."""
