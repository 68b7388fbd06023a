"""Whether the files of a log are still where they were opened.

A file that was removed or replaced while it is open can be written all the same, but no restart finds what was written.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path
from threading import Event, Lock, Thread

from ...problems import LogUnavailable

logger = logging.getLogger("eventbus")

NEEDED = ("", "-wal")
"""What a restart reads: the database, and its write-ahead log."""

SHARED = "-shm"
"""By this, other programs that open the database know that the bus has it open."""


LOOK_EVERY = 1.0
"""Seconds between two looks, also where nobody publishes."""


class Presence:
    """Compares what stands at the paths of an open database with what stood there when it was opened.

    Args:
        database: Its path.
    """

    def __init__(self, database: Path) -> None:
        self._needed = {path: _identity(path) for path in (f"{database}{suffix}" for suffix in NEEDED)}
        self._all = self._needed | {f"{database}{SHARED}": _identity(f"{database}{SHARED}")}
        self._gone = ""  # says so once a file is gone; for good, as nobody knows what happened meanwhile
        self._closed = Event()
        self._noticing = Lock()
        self._watcher = Thread(target=self._watch, name="log-watcher", daemon=True)
        self._watcher.start()

    def check(self) -> None:
        """Raise LogUnavailable if a restart may not find what is committed now, or was just committed."""
        self._compare(self._needed)
        if self._gone:
            raise LogUnavailable(self._gone)

    def close(self) -> None:
        """Look no more."""
        self._closed.set()
        self._watcher.join()

    def _watch(self) -> None:
        while not self._gone and not self._closed.wait(LOOK_EVERY):
            self._compare(self._all)

    def _compare(self, files: dict[str, tuple[int, int]]) -> None:
        for path, identity in files.items():
            if _identity(path) != identity:
                self._notice(path)

    def _notice(self, path: str) -> None:
        with self._noticing:
            if not self._gone:
                self._gone = f"the log's file {path} was removed, moved or replaced; the bus must be started anew"
                logger.error("%s, and takes no events until then", self._gone)


def _identity(path: str) -> tuple[int, int]:
    try:
        found = os.stat(path)  # noqa: PTH116 - at each commit, and a Path takes twice as long
    except OSError:
        return 0, 0
    return found.st_dev, found.st_ino
