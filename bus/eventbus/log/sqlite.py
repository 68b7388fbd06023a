"""The log in one SQLite file: survives ``kill -9`` and power loss (https://sqlite.org/wal.html)."""

from __future__ import annotations

import asyncio
import fcntl
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, TypeVar

import msgspec

from ..event import Draft, Event, now
from ..patterns import EVERYTHING, Patterns
from ..problems import Unavailable
from . import Appended, Entry, Publisher, take
from .head import Head

T = TypeVar("T")

_VERSION = 1  # of the schema below
_SCHEMA = """
CREATE TABLE meta (epoch TEXT NOT NULL);
INSERT INTO meta VALUES (lower(hex(randomblob(8))));
CREATE TABLE events (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,  -- never used again, even if the newest event goes
    scope TEXT NOT NULL,
    id TEXT NOT NULL,
    name TEXT NOT NULL,
    data TEXT NOT NULL,
    context TEXT NOT NULL,
    identifier TEXT,                        -- the context's, to find one client's events
    time TEXT NOT NULL,
    source TEXT NOT NULL,
    UNIQUE (scope, id)
);
CREATE INDEX events_by_identifier ON events (identifier, seq) WHERE identifier IS NOT NULL;
CREATE TABLE identities (address TEXT PRIMARY KEY, expires REAL NOT NULL) WITHOUT ROWID;
CREATE INDEX identities_by_expiry ON identities (expires);
PRAGMA user_version = 1;
"""
_INSERT = """
INSERT INTO events (scope, id, name, data, context, identifier, time, source) VALUES (?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (scope, id) DO NOTHING RETURNING seq
"""
_SELECT = "SELECT name, data, context, id, seq, time, source FROM events WHERE seq > ? AND seq <= ?"

_decode_context = msgspec.json.Decoder(dict[str, str]).decode


@dataclass(frozen=True, slots=True)
class _Job:
    """Something to do within the next commit, and who waits for its result."""

    work: Callable[[sqlite3.Connection], Any]
    done: asyncio.Future[Any]


class SqliteLog:
    """Each write returns once its commit is on the disk; one commit takes all that wait (group commit).

    Args:
        path: The database file; its folder is made if need be.
        sync: ``"full"`` syncs at each commit; ``"normal"`` does not: it survives ``kill -9``, not power loss.

    Raises:
        OSError: The file cannot be opened, is not a log, or another bus has it.
    """

    def __init__(self, path: str, *, sync: str = "full") -> None:
        self._waiting: list[_Job] = []
        self._writing: asyncio.Task[None] | None = None
        file = Path(path).resolve()  # else a link would be a second lock, and SQLite knows a meaning for :memory:
        file.parent.mkdir(parents=True, exist_ok=True)
        with ExitStack() as opened:
            opened.enter_context(_lock(file))
            try:
                self._writer = opened.enter_context(closing(_connect(file)))
                _make_tables(self._writer)
                (self.epoch,) = self._writer.execute("SELECT epoch FROM meta").fetchone()
                # By now it is a log, not somebody else's file: only from here on is it changed.
                self._writer.execute("PRAGMA journal_mode = WAL")
                self._writer.execute(f"PRAGMA synchronous = {sync}")
                self._reader = opened.enter_context(closing(_connect(file)))
                self._reader.execute("PRAGMA query_only = 1")
                self._head = Head(_newest(self._writer))
            except sqlite3.Error as error:
                raise OSError(f"{error}; name a file that the bus made, or one that does not exist yet") from None
            self._opened = opened.pop_all()
        # A connection stays with one thread, so that the event loop never waits for the disk.
        self._writer_thread = ThreadPoolExecutor(1, "log-writer")
        self._reader_thread = ThreadPoolExecutor(1, "log-reader")

    @property
    def head(self) -> int:
        return self._head.seq

    async def append(self, entries: Sequence[Entry]) -> list[Appended]:
        time = now()
        return await self._commit(lambda db: [_insert(db, draft, publisher, time) for draft, publisher in entries])

    async def read(
        self, *, after: int, limit: int, names: Patterns = EVERYTHING, address: str | None = None
    ) -> list[Event]:
        upto = self.head  # a commit can be read a moment before the head has moved
        return await self._read(lambda db: _select(db, after, upto, limit, names, address))

    async def wait_beyond(self, seq: int) -> None:
        await self._head.wait_beyond(seq)

    async def identity_expiry(self, address: str) -> float:
        def look_up(db: sqlite3.Connection) -> float:
            row = db.execute("SELECT expires FROM identities WHERE address = ?", [address]).fetchone()
            return float(row[0]) if row else 0.0

        return await self._read(look_up)

    async def keep_identities(self, expiries: Mapping[str, float], *, now: float) -> None:
        def keep(db: sqlite3.Connection) -> None:
            db.execute("DELETE FROM identities WHERE expires < ?", [now])
            db.executemany("INSERT OR REPLACE INTO identities VALUES (?, ?)", expiries.items())

        await self._commit(keep)

    async def check(self) -> None:
        await self._commit(lambda db: db.execute("UPDATE meta SET epoch = epoch"))

    async def close(self) -> None:
        if self._writing:
            await self._writing
        self._writer_thread.shutdown()
        self._reader_thread.shutdown()
        self._opened.close()

    async def _read(self, query: Callable[[sqlite3.Connection], T]) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._reader_thread, query, self._reader)
        except sqlite3.Error as error:
            raise Unavailable(f"the log cannot be read: {error}") from error

    async def _commit(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Do `work` within the next commit; return its result once that is durable."""
        job = _Job(work, asyncio.get_running_loop().create_future())
        self._waiting.append(job)
        if self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(self._write())
        result: T = await job.done
        return result

    async def _write(self) -> None:
        """Commit until nobody waits: whatever came during one commit goes into the next, so nobody syncs alone."""
        loop = asyncio.get_running_loop()
        while self._waiting:
            jobs, self._waiting = self._waiting, []
            try:
                results, newest = await loop.run_in_executor(self._writer_thread, _transact, self._writer, jobs)
            except sqlite3.Error as error:
                for job in jobs:
                    _finish(job, error=Unavailable(f"the log cannot be written: {error}"))
            except Exception as defect:
                for job in jobs:
                    _finish(job, error=defect)
            else:
                self._head.advance(newest)
                for job, result in zip(jobs, results, strict=True):
                    _finish(job, result)


def _lock(file: Path) -> IO[str]:
    """Keep a second bus off the file: each would miss what the other appends."""
    # Not the database itself: closing that would drop SQLite's own locks.
    lock = Path(f"{file}.lock").open("w")  # noqa: SIM115 - held until the log is closed
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        raise OSError("another bus is using this file; stop it, or name another file") from None
    return lock


def _connect(file: Path) -> sqlite3.Connection:
    return sqlite3.connect(file, isolation_level=None, check_same_thread=False)


def _make_tables(db: sqlite3.Connection) -> None:
    (version,) = db.execute("PRAGMA user_version").fetchone()
    (tables,) = db.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    if version == 0 and tables == 0:
        db.executescript(f"BEGIN; {_SCHEMA} COMMIT;")
    elif version != _VERSION:
        raise sqlite3.DatabaseError("this database is not a log of this version of the bus")


def _newest(db: sqlite3.Connection) -> int:
    row = db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'events'").fetchone()
    return int(row[0]) if row else 0


def _transact(db: sqlite3.Connection, jobs: list[_Job]) -> tuple[list[Any], int]:
    """Do all jobs in one transaction; return their results and the newest position."""
    try:
        db.execute("BEGIN IMMEDIATE")
        results = [job.work(db) for job in jobs]
        newest = _newest(db)
        db.execute("COMMIT")
    finally:
        if db.in_transaction:  # something failed
            db.execute("ROLLBACK")
    return results, newest


def _finish(job: _Job, result: object = None, *, error: Exception | None = None) -> None:
    if job.done.cancelled():
        return  # whoever waited has gone; the event stays
    if error:
        job.done.set_exception(error)
    else:
        job.done.set_result(result)


def _insert(db: sqlite3.Connection, draft: Draft, publisher: Publisher, time: str) -> Appended:
    context = msgspec.json.encode(draft.context).decode()
    identifier = draft.context.get("identifier")
    values = (publisher.scope, draft.id, draft.name, bytes(draft.data).decode(), context, identifier, time)
    row = db.execute(_INSERT, (*values, publisher.source)).fetchone()
    if row:
        return Appended(id=draft.id, seq=row[0])
    first = db.execute("SELECT seq FROM events WHERE scope = ? AND id = ?", [publisher.scope, draft.id]).fetchone()
    return Appended(id=draft.id, seq=first[0], duplicate=True)


def _select(
    db: sqlite3.Connection, after: int, upto: int, limit: int, names: Patterns, address: str | None
) -> list[Event]:
    query = _SELECT
    values: list[int | str] = [after, upto]
    if address is not None:
        query += " AND identifier = ?"
        values.append(address)
    if names is not EVERYTHING:
        # The one rule for patterns is in Python; SQLite asks it.
        db.create_function("wanted", 1, names.__contains__, deterministic=True)
        query += " AND wanted(name)"
    rows = db.execute(query + " ORDER BY seq LIMIT ?", [*values, limit])
    with closing(rows):
        return take((_event(*row) for row in rows), limit)


def _event(name: str, data: str, context: str, id: str, seq: int, time: str, source: str) -> Event:  # noqa: A002
    raw, contexts = msgspec.Raw(data.encode()), _decode_context(context)
    return Event(name=name, data=raw, context=contexts, id=id, seq=seq, time=time, source=source)
