"""Checkpoints: what was committed to SQLite's write-ahead log goes into the database file, beside the commits.

SQLite does that within a commit, which then takes several times as long as others
(https://sqlite.org/wal.html#avoiding_excessively_large_wal_files). In a thread and a connection of its own nobody waits
for it, but then it never reaches the end of a log that grows: when that has `MOST_PAGES`, a commit does the rest.
"""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import suppress

from ..problems import Unavailable
from .reader import Reader

EVERY = 2 * 1024 * 1024
"""Bytes of events from one checkpoint to the next."""

MOST_PAGES = 16_384
"""Pages of 4 KiB that the write-ahead log may have before a commit begins it anew: 64 MiB."""


class Checkpoints:
    """Makes a checkpoint whenever enough was committed.

    Args:
        db: A connection that nobody else uses.
    """

    def __init__(self, db: sqlite3.Connection) -> None:
        self._database = Reader(db)
        self._committed = 0  # bytes since the last one began
        self._running: asyncio.Task[None] | None = None

    def committed(self, size: int) -> None:
        """So many bytes of events more are in the write-ahead log."""
        self._committed += size
        if self._committed >= EVERY and (self._running is None or self._running.done()):
            self._committed = 0
            self._running = asyncio.create_task(self._run())

    async def close(self) -> None:
        """Finish what is under way."""
        await self._database.close()

    async def _run(self) -> None:
        with suppress(Unavailable):  # such as a full disk: commits meet that too, and say so
            await self._database.ask(_checkpoint)


def _checkpoint(db: sqlite3.Connection) -> None:
    db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
