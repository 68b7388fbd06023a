"""Group commit: one thread writes to the database, and whatever waits when a commit begins goes into it."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any, Generic, TypeVar

from ...problems import LogUnavailable
from .syncs import Syncs

T = TypeVar("T")
Row = TypeVar("Row")
Stored = TypeVar("Stored")

TURNS = 8
"""Turns of the event loop between two commits, at most.

Those whom the first has answered ask their next thing meanwhile, and share the second with those who waited. Without
that, publishers part into two halves, and each pays for a commit of its own.
"""


@dataclass(frozen=True, slots=True)
class _Append(Generic[Row]):
    """Rows to store within the next commit, and who waits for what becomes of them."""

    rows: Sequence[Row]
    done: asyncio.Future[Any]


@dataclass(frozen=True, slots=True)
class _Work:
    """Something else to do within the next commit, and who waits for its result."""

    do: Callable[[sqlite3.Connection], Any]
    done: asyncio.Future[Any]


class Committer(Generic[Row, Stored]):
    """Works within transactions of a database, so that many who wait share one sync of the disk.

    Args:
        db: A connection that nobody else uses.
        store: Writes all rows of a commit at once, and tells what became of each.
        at_once: So many rows it writes with one statement, which SQLite makes a transaction by itself.
        durable: Called in the writer's thread once a commit is on the disk, before anybody hears of it.
        committed: Called with all that before anybody who waits hears of the commit.
        syncs: Know whether one has failed; then nothing more is committed.
        prepare: Called before each commit, in the writer's thread; what it raises, the commit fails with.
    """

    def __init__(
        self,
        db: sqlite3.Connection,
        *,
        store: Callable[[sqlite3.Connection, Sequence[Row]], Sequence[Stored]],
        at_once: int,
        durable: Callable[[], None],
        committed: Callable[[Sequence[Row], Sequence[Stored]], None],
        prepare: Callable[[sqlite3.Connection, Sequence[Row]], None],
        syncs: Syncs,
    ) -> None:
        self._db = db
        self._store = store
        self._at_once = at_once
        self._durable = durable
        self._committed = committed
        self._prepare = prepare
        self._syncs = syncs
        self._waiting: list[_Append[Row] | _Work] = []
        self._writing: asyncio.Task[None] | None = None
        self._thread = ThreadPoolExecutor(1, "log-writer")  # so that the event loop never waits for the disk

    async def append(self, rows: Sequence[Row]) -> list[Stored]:
        """Store rows within the next commit; return what became of each once that is durable.

        Raises:
            LogUnavailable: The database cannot be written.
        """
        done: asyncio.Future[list[Stored]] = asyncio.get_running_loop().create_future()
        self._wait_for_commit(_Append(rows, done))
        return await done

    async def commit(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Do `work` within the next commit; return its result once that is durable.

        Raises:
            LogUnavailable: The database cannot be written.
        """
        done: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._wait_for_commit(_Work(work, done))
        return await done

    async def between_commits(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Do `work` while no commit is under way; return its result. Commits wait meanwhile."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._do, work)

    async def close(self) -> None:
        """Finish what waits."""
        if self._writing:
            await self._writing
        self._thread.shutdown()

    def _wait_for_commit(self, job: _Append[Row] | _Work) -> None:
        self._waiting.append(job)
        if self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(self._write())

    async def _write(self) -> None:
        """Commit until nobody waits: whatever came during one commit goes into the next, so nobody syncs alone."""
        while self._waiting:
            jobs, self._waiting = self._waiting, []
            try:
                await self._commit(jobs)
            except sqlite3.OperationalError as error:  # a lock, the disk: none of them is at fault, and all would fail
                for job in jobs:
                    _finish(job, error=_explain(error))
            except Exception:
                for job in jobs:  # one of them may be at fault: it must not fail the others
                    await self._commit_alone(job)
            everybody = len(jobs) + len(self._waiting)
            for _ in range(TURNS):
                if len(self._waiting) < everybody:
                    await asyncio.sleep(0)

    async def _commit_alone(self, job: _Append[Row] | _Work) -> None:
        try:
            await self._commit([job])
        except Exception as error:
            _finish(job, error=_explain(error))

    async def _commit(self, jobs: Sequence[_Append[Row] | _Work]) -> None:
        """Commit all or none of `jobs`."""
        works = [job for job in jobs if isinstance(job, _Work)]
        appends = [job for job in jobs if isinstance(job, _Append)]
        rows = [row for append in appends for row in append.rows]
        loop = asyncio.get_running_loop()
        results, stored = await loop.run_in_executor(self._thread, self._do, partial(self._transact, works, rows))
        try:
            self._committed(rows, stored)
        except Exception as error:  # a defect; what is on the disk stays there, so nothing is committed again
            for job in jobs:
                _finish(job, error=error)
            return
        for work, result in zip(works, results, strict=True):
            _finish(work, result)
        what_became = iter(stored)
        for append in appends:
            _finish(append, list(islice(what_became, len(append.rows))))

    def _do(self, work: Callable[[sqlite3.Connection], T]) -> T:
        self._syncs.check()
        try:
            return work(self._db)
        except Exception as error:
            self._syncs.met(error)
            raise

    def _transact(
        self, works: Sequence[_Work], rows: Sequence[Row], db: sqlite3.Connection
    ) -> tuple[list[Any], Sequence[Stored]]:
        self._prepare(db, rows)
        # At each statement the threads fight for the interpreter's lock: two fewer are a tenth of the time.
        if not works and len(rows) <= self._at_once:
            stored = self._store(db, rows)
            self._durable()
            return [], stored
        try:
            db.execute("BEGIN IMMEDIATE")
            results = [work.do(db) for work in works]
            stored = self._store(db, rows)
            db.execute("COMMIT")
        finally:
            if db.in_transaction:  # something failed
                db.execute("ROLLBACK")
        self._durable()
        return results, stored


def _explain(error: Exception) -> Exception:
    if isinstance(error, sqlite3.Error):
        return LogUnavailable(f"the log cannot be written: {error}")
    return error  # a defect


def _finish(job: _Append[Any] | _Work, result: object = None, *, error: Exception | None = None) -> None:
    if job.done.cancelled():
        return  # whoever waited has gone; the event stays
    if error:
        job.done.set_exception(error)
    else:
        job.done.set_result(result)
