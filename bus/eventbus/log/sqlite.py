"""The log in one SQLite file: survives ``kill -9`` and power loss (https://sqlite.org/wal.html)."""

from __future__ import annotations

import asyncio
import fcntl
import sqlite3
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from typing import IO, Any

from ..event import Event, place, timestamp
from ..patterns import EVERYTHING, OWN, Patterns
from ..problems import Unavailable
from . import READ_BYTES, TRIM_STEP, WINDOW, Appended, Entry, GroupKey, take, wanted
from .checkpoints import WITHIN_COMMITS, Checkpoints
from .commits import Committer
from .head import Head
from .indexes import Indexes
from .reader import Reader
from .rows import MOST_AT_ONCE, Row, insert, row_of
from .schema import make_tables
from .tail import Tail

_SELECT = "SELECT seq, name, identifier, json FROM events WHERE seq > ? AND seq <= ?"
_SELECT_INDEXED = _SELECT.replace("FROM events", "FROM addressed CROSS JOIN events USING (identifier, seq)")

_FORGET = """
UPDATE identities
SET lost = (SELECT max(seq) FROM addressed WHERE identifier = address AND seq <= :upto)
WHERE address IN (SELECT identifier FROM events WHERE seq <= :upto)
"""
_LOST = """
SELECT max(
    coalesce((SELECT lost FROM identities WHERE address = ?), 0),
    coalesce((SELECT max(seq) FROM addressed WHERE identifier = ? AND seq <= ?), 0)
)
"""
_FORGET_IDENTITIES = """
DELETE FROM identities
WHERE address IN (SELECT address FROM identities WHERE expires < ? ORDER BY expires LIMIT ?)
"""
_KEEP_IDENTITY = """
INSERT INTO identities (address, expires) VALUES (?, ?) ON CONFLICT (address) DO UPDATE SET expires = excluded.expires
"""
BUSY_SECONDS = 5.0
"""Seconds to wait for another program that writes to the file."""

_PROBE = 1 << 20  # bytes
_SCAN = 5_000
"""Positions that one search for names looks at, before others that read have their turn."""


class SqliteLog:
    """Each write returns once its commit is on the disk; one commit takes all that wait (group commit).

    Args:
        path: The database file; its folder is made if need be.
        sync: ``"full"`` syncs at each commit; ``"normal"`` does not: it survives ``kill -9``, not power loss.
        window: Seconds within which a repeated id is a duplicate.

    Raises:
        OSError: The file cannot be opened, is not a log, or another bus has it.
    """

    epoch: str
    trimmed: int

    def __init__(self, path: str, *, sync: str = "full", window: float = WINDOW) -> None:
        self._window = window
        file = Path(path).resolve()  # else a link would be a second lock, and SQLite knows a meaning for :memory:
        file.parent.mkdir(parents=True, exist_ok=True)
        with ExitStack() as opened:
            opened.enter_context(_lock(file))
            try:
                self._writer = opened.enter_context(closing(_connect(file, statements=3 * MOST_AT_ONCE)))
                make_tables(self._writer)
                _look_for_damage(self._writer)
                # By now it is a log, not somebody else's file: only from here on is it changed.
                self._writer.execute("PRAGMA journal_mode = WAL")
                self._writer.execute(f"PRAGMA synchronous = {sync}")
                self._writer.execute(f"PRAGMA wal_autocheckpoint = {WITHIN_COMMITS}")
                self.epoch, self.trimmed = self._writer.execute("SELECT epoch, trimmed FROM meta").fetchone()
                # Whoever connects waits for a value or two, and not for all the events that others are reading.
                self._values, self._events = (
                    Reader(opened.enter_context(closing(_connect_to_read(file))), name)
                    for name in ("log-values", "log-events")
                )
                checkpointer = opened.enter_context(closing(_open(_connect(file))))
                self._head = Head(_newest(self._writer))
                self._committer = Committer(
                    self._writer, store=self._store, at_once=MOST_AT_ONCE, committed=self._committed
                )
                self._indexes = Indexes(self._writer, newest=self.head, commit=self._committer.commit)
                self._tail = Tail(self._indexes.upto)  # what has no entries yet is found there
                left_out = self._writer.execute(f"{_SELECT} ORDER BY seq", [self._indexes.upto, self.head])
                self._tail.extend(map(_event, left_out))
            except sqlite3.Error as error:
                raise OSError(_refusal(error)) from None
            self._opened = opened.pop_all()
        self._failing = False  # since an append could not be written
        self._forgetting = False  # identities, in the next commit
        self._checkpoints = Checkpoints(checkpointer, between_commits=self._committer.between_commits)

    @property
    def head(self) -> int:
        return self._head.seq

    async def append(self, entries: Sequence[Entry]) -> list[Appended]:
        came = timestamp(time.time())
        rows = [row_of(draft, publisher, came) for draft, publisher in entries]
        try:
            appended = await self._committer.append(rows)
        except Unavailable:
            self._failing = True
            raise
        self._failing = False
        return appended

    async def read(
        self, *, after: int, limit: int, names: Patterns | None = None, address: str | None = None
    ) -> list[Event]:
        upto = self.head  # a commit can be read a moment before the head has moved
        start = max(after, min(self.trimmed, upto))
        events: list[Event] = []
        size = 0
        while start < upto and len(events) < limit and size < READ_BYTES:
            found, start = await self._read_some(start, upto, limit - len(events), names, address)
            events += found
            size += sum(len(event.json) for event in found)
        return events

    async def _read_some(
        self, after: int, upto: int, limit: int, names: Patterns | None, address: str | None
    ) -> tuple[list[Event], int]:
        """Read some of the events between two positions; return what is wanted of them, and where they end."""
        if after >= self._tail.after:
            return take(wanted(self._tail.between(after, upto, address=address), names), limit), upto
        if address is not None and after < self._indexes.upto:
            query, upto = _SELECT_INDEXED, min(upto, self._indexes.upto)
        else:
            query, upto = _SELECT, min(upto, self._tail.after)
            if address is not None or names not in (None, EVERYTHING):
                upto = min(upto, after + _SCAN)
        return await self._events.ask(_select, query, after, upto, limit, names, address), upto

    async def wait_beyond(self, seq: int) -> None:
        await self._head.wait_beyond(seq)

    async def has_lost(self, *, after: int, address: str | None = None) -> bool:
        trimmed = self.trimmed
        if address is None or after >= trimmed:
            return after < trimmed
        # In one statement: what goes is counted as lost by the commit that takes it, and is passed over before that.
        lost: int | None = await self._values.ask(_one, _LOST, address, address, trimmed)
        return after < (lost or 0)

    async def trim(self, *, keep: int | None, since: str) -> bool:
        def trim(db: sqlite3.Connection) -> bool:
            # Not what this commit adds, which may come to nothing yet, nor what has no entries to be removed.
            end = max(self.trimmed, min(self.trimmed + TRIM_STEP, self._indexes.upto))
            upto = _trim_end(db, self.trimmed, end, keep, since)
            count = upto - self.trimmed
            if count:
                self.trimmed = upto  # said before it is so: who reads at the same time may miss these already
                db.execute(_FORGET, {"upto": upto})
                self._indexes.remove(db, upto=upto)
                db.execute("DELETE FROM events WHERE seq <= ?", [upto])
                db.execute("UPDATE meta SET trimmed = ?", [upto])
            return count == TRIM_STEP

        if self.head == self.trimmed:
            return False
        if self._indexes.upto < min(self.trimmed + TRIM_STEP, self.head):
            await self._indexes.catch_up()
        return await self._committer.commit(trim)

    async def group_place(self, group: GroupKey) -> bytes | None:
        return await self._values.ask(_one, "SELECT place FROM group_places WHERE service = ? AND name = ?", *group)

    async def keep_group_places(self, places: Mapping[GroupKey, bytes]) -> None:
        rows = [(*group, place) for group, place in places.items()]
        await self._committer.commit(
            lambda db: db.executemany("INSERT OR REPLACE INTO group_places VALUES (?, ?, ?)", rows)
        )

    async def identity_expiry(self, address: str) -> float:
        expires: float | None = await self._values.ask(
            _one, "SELECT expires FROM identities WHERE address = ?", address
        )
        return expires or 0.0

    async def keep_identities(self, expiries: Mapping[str, float], *, now: float) -> bool:
        step = 0 if self._forgetting else TRIM_STEP  # one of those that share a commit is enough

        def keep(db: sqlite3.Connection) -> bool:
            db.executemany(_KEEP_IDENTITY, expiries.items())  # first: one in use is not forgotten, however late this is
            forgotten = db.execute(_FORGET_IDENTITIES, [now, step]).rowcount if step else 0
            return forgotten == TRIM_STEP

        if not step:
            return await self._committer.commit(keep)
        self._forgetting = True
        try:
            return await self._committer.commit(keep)
        finally:
            self._forgetting = False

    async def check(self) -> None:
        # A nearly full disk has room for a little, not for what was refused: only as much as a request may hold counts.
        for size in (_PROBE, 0) if self._failing else (0,):
            await self._committer.commit(partial(_probe, size=size))
        self._failing = False

    async def close(self) -> None:
        await self._checkpoints.close()
        await self._indexes.close()
        await self._committer.close()
        await self._values.close()
        await self._events.close()
        await asyncio.to_thread(self._opened.close)  # the last to close makes a checkpoint, and the disk may be slow

    def _store(self, db: sqlite3.Connection, rows: Sequence[Row]) -> list[Appended]:
        """Give each event that is not a duplicate the next place, and write it there."""
        seq = self.head  # nothing else moves it while a commit is under way
        chosen = [row for row in rows if not row.is_new]
        known = self._indexes.known(db, chosen, since=timestamp(time.time() - self._window))
        appended: list[Appended] = []
        placed: list[tuple[int, Row]] = []
        for row in rows:
            key = row.scope, row.id
            if key in known:
                appended.append(Appended(id=row.id, seq=known[key], duplicate=True))
                continue
            seq += 1
            known[key] = seq
            appended.append(Appended(id=row.id, seq=seq))
            placed.append((seq, row))
        insert(db, placed)
        return appended

    def _committed(self, rows: Sequence[Row], appended: Sequence[Appended]) -> None:
        self._tail.extend(
            Event(seq=each.seq, name=row.name, identifier=row.identifier, json=place(row.json, each.seq))
            for row, each in zip(rows, appended, strict=True)
            if not each.duplicate
        )
        self._indexes.committed(rows, appended)
        self._checkpoints.committed(sum(len(row.json) for row in rows))
        newest = max((each.seq for each in appended), default=0)
        self._head.advance(newest)


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


def _connect(file: Path, *, statements: int = 32) -> sqlite3.Connection:
    return sqlite3.connect(
        file,
        timeout=BUSY_SECONDS,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=statements,
    )


def _connect_to_read(file: Path) -> sqlite3.Connection:
    db = _open(_connect(file))
    db.execute("PRAGMA query_only = 1")
    return db


def _open(db: sqlite3.Connection) -> sqlite3.Connection:
    """Have SQLite open its files: later there may be too many others open."""
    db.execute("SELECT epoch FROM meta").fetchone()
    return db


def _look_for_damage(db: sqlite3.Connection) -> None:
    """Raise OSError for a file that cannot be relied on (https://sqlite.org/pragma.html#pragma_quick_check)."""
    # It reads the whole file: a third of a second for a million events, and a whole one is worth that.
    (found,) = db.execute("PRAGMA quick_check(1)").fetchone()
    if found != "ok":
        raise OSError(_damaged(found.splitlines()[-1]))


def _damaged(found: object) -> str:
    return f"the file is damaged ({found}); put a copy in its place, or name a file that does not exist yet"


def _refusal(error: sqlite3.Error) -> str:
    if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_CORRUPT:
        return _damaged(error)
    return f"{error}; name a file that the bus made, or one that does not exist yet"


def _probe(db: sqlite3.Connection, *, size: int) -> None:
    db.execute("UPDATE meta SET probe = zeroblob(?)", [size])


def _newest(db: sqlite3.Connection) -> int:
    """Return the newest position that was ever given away."""
    newest: int
    (newest,) = db.execute("SELECT max(trimmed, coalesce((SELECT max(seq) FROM events), 0)) FROM meta").fetchone()
    return newest


def _one(db: sqlite3.Connection, query: str, *values: str | int) -> Any:
    """Return the one value that a query finds; None if it finds no row."""
    row = db.execute(query, values).fetchone()
    return row[0] if row else None


def _trim_end(db: sqlite3.Connection, trimmed: int, end: int, keep: int | None, since: str) -> int:
    """Tell up to which position, `end` at most, events may go."""
    query = "SELECT min(seq) FROM events WHERE seq > ? AND seq <= ? AND time >= ?"
    (young,) = db.execute(query, [trimmed, end, since]).fetchone()
    old = end if young is None else young - 1
    surplus = trimmed if keep is None else _newest(db) - keep
    return max(trimmed, old, min(surplus, end))


def _select(
    db: sqlite3.Connection, query: str, after: int, upto: int, limit: int, names: Patterns | None, address: str | None
) -> list[Event]:
    values: list[int | str] = [after, upto]
    if address is not None:
        query += " AND identifier = ?"
        values.append(address)
    if names == EVERYTHING:
        query += f" AND name NOT GLOB '{OWN}*'"
    elif names is not None:
        # The one rule for patterns is in Python; SQLite asks it.
        db.create_function("wanted", 1, names.__contains__, deterministic=True)
        query += " AND wanted(name)"
    rows = db.execute(query + " ORDER BY seq LIMIT ?", [*values, limit])
    with closing(rows):
        return take(map(_event, rows), limit)


def _event(row: tuple[int, str, str | None, bytes]) -> Event:
    seq, name, identifier, json = row
    return Event(seq=seq, name=name, identifier=identifier, json=place(json, seq))
