"""What tests of the whole need of the machine that they run on."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest

ROOT = Path(__file__).parent.parent
ARTIFACTS = ROOT / "e2e" / "artifacts"
SETTINGS = (
    "AUTHORIZATION_TOKEN",
    "COMPOSE_",
    "DOMAIN_SERVICE_",
    "EVENTBUS_",
    "HTTP_EVENTBUS_SERVER_",
    "HTTP_FILE_SERVER_",
)


def environment() -> dict[str, str]:
    """Return this shell's variables without any setting of the project, so that each test starts from the defaults."""
    return {name: value for name, value in os.environ.items() if not name.startswith(SETTINGS)}


def free_ports() -> dict[str, str]:
    """Return settings that let the site and the bus listen where nobody else does."""
    names = ("HTTP_FILE_SERVER_PORT", "HTTP_EVENTBUS_SERVER_PORT")
    sockets = {name: socket.create_server(("127.0.0.1", 0)) for name in names}  # all at once, so that they differ
    ports = {name: str(each.getsockname()[1]) for name, each in sockets.items()}
    for each in sockets.values():
        each.close()
    return ports


def wait_until(condition: Callable[[], bool], what: str, *, seconds: float = 30) -> None:
    """Look again and again until the condition holds; fail, and say what was awaited, when the time is over."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            pytest.fail(f"waited {seconds} s for this in vain: {what}", pytrace=False)
        time.sleep(0.05)


def untested(what: str, reason: str) -> NoReturn:
    """End a test for which this machine lacks something: CI must have it; elsewhere it is a skip that says so."""
    if os.environ.get("CI"):
        pytest.fail(f"in CI, {what} must be tested: {reason}", pytrace=False)
    pytest.skip(f"{what} NOT tested: {reason}")
