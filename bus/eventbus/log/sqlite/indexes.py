"""Finding events by their publisher's id and by their client: index entries, written behind the events, many at a time.

An event goes to the end of its table, but its entries to the middle of two more, and SQLite writes whole pages: entries
that are written with each event are most of what a commit writes. So those of a thousand events are written together,
in the order of the index, where some share a page. Until then ids are known here, and a client's events in the `Tail`.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Awaitable, Callable, Sequence
from functools import lru_cache, partial
from itertools import chain

from ...problems import LogUnavailable
from .. import Appended
from .rows import Row, pieces

logger = logging.getLogger("eventbus")

EVERY = 1024
"""Events that get their entries together."""

MOST = 4 * EVERY
"""Events that get theirs in one commit, where many are without."""

# Whoever asked for entries may have gone before it heard that they are there: then they are written again.
_WRITE = (
    "INSERT OR IGNORE INTO ids SELECT id, scope, seq FROM events WHERE seq > :after AND seq <= :upto ORDER BY 1, 2, 3",
    "INSERT OR IGNORE INTO addressed SELECT identifier, seq FROM events"
    " WHERE seq > :after AND seq <= :upto AND identifier IS NOT NULL ORDER BY 1, 2",
    "UPDATE indexed SET upto = :upto",
)
_REMOVE = (
    "DELETE FROM ids WHERE (id, scope, seq) IN (SELECT id, scope, seq FROM events WHERE seq <= :upto)",
    "DELETE FROM addressed WHERE (identifier, seq) IN (SELECT identifier, seq FROM events WHERE seq <= :upto)",
)


class Indexes:
    """Writes the entries of events once they are enough, and knows ids that have none yet.

    Args:
        db: Where an earlier run of the bus may have left some out.
        newest: The newest event there.
        commit: Does something within the next commit.

    Attributes:
        upto: The newest event that has entries.
    """

    upto: int

    def __init__(
        self,
        db: sqlite3.Connection,
        *,
        newest: int,
        commit: Callable[[Callable[[sqlite3.Connection], None]], Awaitable[None]],
    ) -> None:
        (self.upto,) = db.execute("SELECT upto FROM indexed").fetchone()
        left_out = db.execute("SELECT scope, id, seq FROM events WHERE seq > ? ORDER BY seq", [self.upto])
        # Of each scope and id that has no entry yet: its seq. The writer's thread looks into it as well, and never
        # while a commit extends it; where events got their entries, another one takes its place.
        self._fresh = {(scope, id_): seq for scope, id_, seq in left_out}
        self._newest = newest
        self._failed = 0  # the newest event when entries could not be written
        self._commit = commit
        self._one_at_a_time = asyncio.Lock()
        self._running: asyncio.Task[None] | None = None
        self._closing = False

    def committed(self, rows: Sequence[Row], appended: Sequence[Appended]) -> None:
        """These were stored, or were duplicates."""
        for row, each in zip(rows, appended, strict=True):
            if not each.duplicate:
                self._fresh[row.scope, row.id] = each.seq
                self._newest = each.seq
        enough = self._newest - max(self.upto, self._failed) >= EVERY
        if enough and not self._closing and (self._running is None or self._running.done()):
            self._running = asyncio.create_task(self._run())

    def known(self, db: sqlite3.Connection, rows: Sequence[Row], *, after: int) -> dict[tuple[str, str], int]:
        """Find of these scopes and ids those that are in the log above a position, and where."""
        known: dict[tuple[str, str], int] = {}
        for some in pieces(rows):
            keys = chain.from_iterable((row.scope, row.id) for row in some)
            for scope, id_, seq in db.execute(_select_known(len(some)), [*keys, after]):
                known[scope, id_] = min(seq, known.get((scope, id_), seq))
        for row in rows:
            seq = self._fresh.get((row.scope, row.id), 0)
            if seq > after:
                known.setdefault((row.scope, row.id), seq)
        return known

    async def catch_up(self, *, most: int | None = None) -> None:
        """Write the entries of the events that were stored until now, or of the first of them.

        Raises:
            LogUnavailable: The database cannot be written.
        """
        async with self._one_at_a_time:
            upto = min(self._newest, self.upto + (most or MOST))
            if upto > self.upto:
                await self._commit(partial(_write, after=self.upto, upto=upto))
                self.upto = upto
                self._fresh = {key: place for key, place in self._fresh.items() if place > upto}

    def remove(self, db: sqlite3.Connection, *, upto: int) -> None:
        """Remove the entries of the oldest events, which are about to go."""
        for statement in _REMOVE:
            db.execute(statement, {"upto": upto})

    async def close(self) -> None:
        """Finish what is under way; begin nothing more."""
        self._closing = True
        if self._running:
            await self._running

    async def _run(self) -> None:
        try:
            await self.catch_up()
        except LogUnavailable as problem:  # such as a full disk
            self._failed = self._newest  # they wait for a while, as they take those with them that share their commit
            logger.error("no entries in the log's indexes now: %s", problem.detail)  # noqa: TRY400 - one line


def _write(db: sqlite3.Connection, *, after: int, upto: int) -> None:
    for statement in _WRITE:
        db.execute(statement, {"after": after, "upto": upto})


@lru_cache
def _select_known(count: int) -> str:
    values = ", ".join(["(?, ?)"] * count)
    asked = f"(VALUES {values}) CROSS JOIN ids ON ids.scope = column1 AND ids.id = column2"
    return f"SELECT ids.scope, ids.id, seq FROM {asked} WHERE seq > ?"  # noqa: S608 - its parts are ours
