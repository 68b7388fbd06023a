"""Group commit: one thread writes to the database, and whatever waits when a commit begins goes into it."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

from ..problems import Unavailable

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Job:
    """Something to do within the next commit, and who waits for its result."""

    work: Callable[[sqlite3.Connection], Any]
    done: asyncio.Future[Any]


class Committer:
    """Does work within transactions of a database, so that many who wait share one sync of the disk.

    Args:
        db: A connection that nobody else uses.
        committed: Called with the connection after the work of each commit, within it; what it returns is handed to
            `moved` once that is durable.
        moved: Called before anybody who waits hears of the commit.
    """

    def __init__(
        self, db: sqlite3.Connection, *, committed: Callable[[sqlite3.Connection], int], moved: Callable[[int], None]
    ) -> None:
        self._db = db
        self._committed = committed
        self._moved = moved
        self._waiting: list[_Job] = []
        self._writing: asyncio.Task[None] | None = None
        self._thread = ThreadPoolExecutor(1, "log-writer")  # so that the event loop never waits for the disk

    async def commit(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Do `work` within the next commit; return its result once that is durable.

        Raises:
            Unavailable: The database cannot be written.
        """
        job = _Job(work, asyncio.get_running_loop().create_future())
        self._waiting.append(job)
        if self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(self._write())
        result: T = await job.done
        return result

    async def close(self) -> None:
        """Finish what waits."""
        if self._writing:
            await self._writing
        self._thread.shutdown()

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

    async def _commit_alone(self, job: _Job) -> None:
        try:
            await self._commit([job])
        except Exception as error:
            _finish(job, error=_explain(error))

    async def _commit(self, jobs: list[_Job]) -> None:
        """Commit all or none of `jobs`."""
        results, newest = await asyncio.get_running_loop().run_in_executor(self._thread, self._transact, jobs)
        self._moved(newest)
        for job, result in zip(jobs, results, strict=True):
            _finish(job, result)

    def _transact(self, jobs: list[_Job]) -> tuple[list[Any], int]:
        try:
            self._db.execute("BEGIN IMMEDIATE")
            results = [job.work(self._db) for job in jobs]
            newest = self._committed(self._db)
            self._db.execute("COMMIT")
        finally:
            if self._db.in_transaction:  # something failed
                self._db.execute("ROLLBACK")
        return results, newest


def _explain(error: Exception) -> Exception:
    if isinstance(error, sqlite3.Error):
        return Unavailable(f"the log cannot be written: {error}")
    return error  # a defect


def _finish(job: _Job, result: object = None, *, error: Exception | None = None) -> None:
    if job.done.cancelled():
        return  # whoever waited has gone; the event stays
    if error:
        job.done.set_exception(error)
    else:
        job.done.set_result(result)
