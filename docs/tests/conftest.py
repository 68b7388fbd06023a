"""The browser of those who read the pages."""

from __future__ import annotations

from typing import Any

import pytest
from browser import chromium_launch_options


@pytest.fixture(scope="session")
def browser_type_launch_args() -> dict[str, Any]:
    return chromium_launch_options()


@pytest.fixture(scope="session")
def base_url() -> None:
    """There is none: each reader has a demo of their own."""
