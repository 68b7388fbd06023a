"""What tests of the whole need of the machine that they run on."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import AnyStr, NoReturn

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
# Below the ports that systems give out by themselves: nobody takes one between its being found and being listened on.
_PORTS = iter(random.sample(range(10_000, 32_000), 22_000))


def environment() -> dict[str, str]:
    """Return this shell's variables without any setting of the project, so that each test starts from the defaults."""
    return {name: value for name, value in os.environ.items() if not name.startswith(SETTINGS)}


def free_port() -> int:
    """Return a port that nobody listens on, and never the same twice."""
    while True:
        port = next(_PORTS)
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


def free_ports() -> dict[str, str]:
    """Return settings that let the site and the bus listen where nobody else does."""
    return {name: str(free_port()) for name in ("HTTP_FILE_SERVER_PORT", "HTTP_EVENTBUS_SERVER_PORT")}


@contextmanager
def ended(
    process: subprocess.Popen[AnyStr], *, by: signal.Signals = signal.SIGTERM, within: float = 10
) -> Iterator[subprocess.Popen[AnyStr]]:
    """End a program however the block ends: by a signal, and by `kill -9` if that is not enough."""
    with process:  # closes its pipes
        try:
            yield process
        finally:
            end(process, by=by, within=within)


def end(process: subprocess.Popen[AnyStr], *, by: signal.Signals = signal.SIGTERM, within: float = 10) -> None:
    """Send a signal, unless the program has ended; fail if it must be killed."""
    process.send_signal(by)
    try:
        process.wait(within)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(within)
        pytest.fail(f"{process.args!r} does not end within {within} s of {by.name}", pytrace=False)


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
