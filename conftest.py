"""One room's tests at a time: those of two rooms would share a browser's settings, and not each other's event loop."""

import signal

import pytest

ROOMS = ("bus", "example-service", "static-site", "e2e", "docs")


def pytest_configure() -> None:
    """Let the programs that tests start hear Ctrl-C, even where a shell runs the tests in its background."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Refuse a session of several rooms, which would fail in ways that are hard to read."""
    found = {room for item in items for room in ROOMS if item.path.is_relative_to(config.rootpath / room)}
    if len(found) > 1:
        raise pytest.UsageError(f"name the tests of one room, such as `pytest bus/tests`, or `make test`: not {found}")
