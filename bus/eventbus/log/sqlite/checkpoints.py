"""Checkpoints: what was committed to SQLite's write-ahead log goes into the database file, beside the commits.

SQLite does that within a commit, which then takes several times as long as others
(https://sqlite.org/wal.html#avoiding_excessively_large_wal_files). In a thread and a connection of its own nobody waits
for it, but then it never comes to the end of a log that grows. So when that is long, the writer itself does the little
that is left, between two commits; the next one begins the log anew.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Awaitable, Callable

from ...problems import LogUnavailable
from .reader import Reader
from .syncs import Syncs

logger = logging.getLogger("eventbus")

EVERY = 2 * 1024 * 1024
"""Bytes that are committed from one checkpoint to the next."""

COMMIT = 16 * 1024
"""Bytes that a commit writes at least: a page of each table and index that it touches."""

MOST_PAGES = 4096
"""Pages of 4 KiB of the write-ahead log above which it is begun anew: 16 MiB."""

WITHIN_COMMITS = 4 * MOST_PAGES
"""Pages above which commits do it after all: the disk is too slow, or something failed."""


class Checkpoints:
    """Makes a checkpoint whenever enough was committed.

    Args:
        db: A connection that nobody else uses.
        between_commits: Does something with the writer's connection while no commit is under way.
        syncs: Are told of what failed.
    """

    def __init__(
        self,
        db: sqlite3.Connection,
        *,
        between_commits: Callable[[Callable[[sqlite3.Connection], int]], Awaitable[int]],
        syncs: Syncs,
    ) -> None:
        self._database = Reader(db, "log-checkpoints")
        self._between_commits = between_commits
        self._syncs = syncs
        self._committed = 0  # bytes since the last one began
        self._running: asyncio.Task[None] | None = None
        self._closing = False

    def committed(self, size: int) -> None:
        """There was a commit, of so many bytes of events."""
        self._committed += size + COMMIT
        if self._committed >= EVERY and not self._closing and (self._running is None or self._running.done()):
            self._committed = 0
            self._running = asyncio.create_task(self._run())

    async def close(self) -> None:
        """Finish what is under way; begin nothing more. Closing the database does the rest."""
        self._closing = True
        if self._running:
            await self._running
        await self._database.close()

    async def _run(self) -> None:
        try:
            if await self._database.ask(checkpoint) > MOST_PAGES:
                await self._database.ask(checkpoint)  # what came during a long one takes a short one
                await self._between_commits(checkpoint)
        except (LogUnavailable, sqlite3.Error) as problem:  # such as a full disk: commits meet that, too
            self._syncs.met(problem)
            why = problem.__cause__ or problem
            logger.error("no checkpoint now, the log's -wal file grows: %s", why)  # noqa: TRY400 - one line


def checkpoint(db: sqlite3.Connection) -> int:
    """Move what can be moved without waiting for anybody; return how many pages the write-ahead log has."""
    pages: int
    _, pages, _ = db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
    return pages
