"""Whether the files of a log are still where they were opened, and as long as the log left them.

A file that was removed or replaced while it is open can be written all the same, but no restart finds what was written.
The same goes for one that was cut off, and where a link that the bus was given leads elsewhere by now.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, RLock, Thread

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
        database: Its path, without links.
        named: The path by which a restart will look for it.
    """

    def __init__(self, database: Path, *, named: Path) -> None:
        paths = {f"{database}{suffix}" for suffix in NEEDED} | {str(named)}
        self._needed = {path: _identity(path) for path in paths}
        self._all = self._needed | {f"{database}{SHARED}": _identity(f"{database}{SHARED}")}
        self._sizes = dict.fromkeys(self._needed, 0)  # bytes that they had at the last look
        self._looking = RLock()
        self._gone = ""  # says so once a file is gone; for good, as nobody knows what happened meanwhile
        self._closed = Event()
        self._watcher = Thread(target=self._watch, name="log-watcher", daemon=True)
        self._watcher.start()

    def check(self) -> None:
        """Raise LogUnavailable if a restart may not find what is committed now, or was just committed."""
        self._compare(self._needed)
        if self._gone:
            raise LogUnavailable(self._gone)

    @contextmanager
    def may_shrink(self) -> Iterator[None]:
        """Let the log itself make its write-ahead log shorter."""
        with self._looking:
            yield
            self._sizes = dict.fromkeys(self._sizes, 0)

    def close(self) -> None:
        """Look no more."""
        self._closed.set()
        self._watcher.join()

    def _watch(self) -> None:
        while not self._gone and not self._closed.wait(LOOK_EVERY):
            self._compare(self._all)

    def _compare(self, files: dict[str, tuple[int, int]]) -> None:
        with self._looking:
            for path, identity in files.items():
                found = _stat(path)
                if found is None or (found.st_dev, found.st_ino) != identity:
                    self._notice(path, "removed, moved or replaced")
                elif path in self._sizes:
                    if found.st_size < self._sizes[path]:
                        self._notice(path, "cut off")
                    self._sizes[path] = found.st_size

    def _notice(self, path: str, what: str) -> None:
        if not self._gone:
            self._gone = f"the log's file {path} was {what}; the bus must be started anew"
            logger.error("%s, and takes no events until then", self._gone)


def _identity(path: str) -> tuple[int, int]:
    found = _stat(path)
    return (found.st_dev, found.st_ino) if found else (0, 0)


def _stat(path: str) -> os.stat_result | None:
    try:
        return os.stat(path)  # noqa: PTH116 - at each commit, and a Path takes twice as long
    except OSError:
        return None
