"""A program that foreman, honcho or `make start` has started ends when that has gone, in whatever way.

`EVENTBUS_RUNNER` says which process that is. It is looked for among the parents of parents, since honcho puts a copy of
itself between, which outlives it.
"""

from __future__ import annotations

import logging
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Thread

LOOK_EVERY = 1.0
"""Seconds between two looks."""

PROCESSES = Path("/proc")
"""What tells of parents; where there is none, a program's own parent is all that it knows."""

logger = logging.getLogger(__name__)


def end_with(runner: int) -> None:
    """Send this program SIGTERM once its runner has gone; 0 for none."""
    if runner:
        Thread(target=_watch, args=[runner], daemon=True).start()


def _watch(runner: int) -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGTERM, signal.SIGINT))  # they are for those who wait for them
    sought = _original(runner) if (PROCESSES / "self" / "stat").exists() else os.getppid()
    while sought in _ancestors():
        time.sleep(LOOK_EVERY)
    logger.warning("the program that started this one (process %s) has gone, so this one ends", sought)
    os.kill(os.getpid(), signal.SIGTERM)


def _ancestors() -> Iterator[int]:
    process = os.getppid()
    while process:
        yield process
        process = _parent(process)


def _original(process: int) -> int:
    """Find the process that this one is a copy of."""
    while (command := _command(process)) and command == _command(_parent(process)):
        process = _parent(process)
    return process


def _parent(process: int) -> int:
    try:
        after_the_name = (PROCESSES / str(process) / "stat").read_text(errors="replace").rpartition(")")[2]
    except OSError:
        return 0
    return int(after_the_name.split()[1])


def _command(process: int) -> bytes:
    try:
        return (PROCESSES / str(process) / "cmdline").read_bytes()
    except OSError:
        return b""
