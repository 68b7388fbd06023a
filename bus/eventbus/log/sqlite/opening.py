"""Opening the files of a log: only if no other bus has them, and they can be relied on."""

from __future__ import annotations

import fcntl
import logging
import os
import sqlite3
import struct
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from .birth import born
from .checkpoints import WITHIN_COMMITS
from .presence import Presence
from .rows import MOST_AT_ONCE
from .schema import attend, is_attended, make_tables
from .witness import Witness, doubt

logger = logging.getLogger("eventbus")

BUSY_SECONDS = 5.0
"""Seconds to wait for another program that writes to the file."""


MAKE_ROOM = "make room on it, and start the bus again"

TOO_LITTLE = 128 * 1024
"""Bytes that are free, with which no log can be opened."""

TAKEN = "another bus is using this file; stop it, or name another file"

LOCKED = 1 << 62
"""The byte of the database that a bus locks: it need not exist, and SQLite locks others (near 1 << 30)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Files:
    """A log's database, opened for each that uses it.

    Attributes:
        database: Where it is.
        presence: Whether it still is.
        writer: For commits.
        values: For reading a value or two.
        events: For reading events.
        checkpointer: For checkpoints.
        epoch: The log's name.
        trimmed: The newest position that retention took.
        head: The newest position that was ever given away.
        size: Bytes of all events.
        witness: To be told of each commit.
    """

    database: Path
    presence: Presence
    writer: sqlite3.Connection
    values: sqlite3.Connection
    events: sqlite3.Connection
    checkpointer: sqlite3.Connection
    epoch: str
    trimmed: int
    head: int
    size: int
    witness: Witness


def open_files(path: str, opened: ExitStack, *, sync: str) -> Files:
    """Open a log, or make a new one.

    Args:
        path: The database file; its folder is made if need be.
        opened: What is to be closed goes here.
        sync: ``"full"`` or ``"normal"``.

    Raises:
        OSError: The file cannot be opened, is damaged, or another bus has it.
        sqlite3.Error: It is not a log.
    """
    file = Path(path).resolve()  # else a link would be a second lock, and SQLite knows a meaning for :memory:
    file.parent.mkdir(parents=True, exist_ok=True)
    opened.enter_context(_lock(file))
    opened.callback(os.close, _lock_itself(file))
    witness = opened.enter_context(closing(Witness(file)))
    writer = opened.enter_context(closing(_connect(file, statements=3 * MOST_AT_ONCE)))
    is_new = make_tables(writer)
    _look_for_damage(writer)
    # By now it is a log, not somebody else's file: only from here on is it changed.
    writer.execute("PRAGMA journal_mode = WAL")
    if not is_new:
        _name_anew_if_in_doubt(writer, witness, file)
    elif witness.last and witness.last.head:
        logger.warning("the log is new; the one that stood here, by its .head file, had come to %d", witness.last.head)
    writer.execute(f"PRAGMA synchronous = {sync}")
    writer.execute("PRAGMA journal_size_limit = -1")  # some systems' SQLite cuts its write-ahead log off by itself
    writer.execute("PRAGMA secure_delete = OFF")  # some systems' SQLite overwrites all that it deletes, at great cost
    writer.execute(f"PRAGMA wal_autocheckpoint = {WITHIN_COMMITS}")
    _write_once_more(writer)
    epoch, trimmed = writer.execute("SELECT epoch, trimmed FROM meta").fetchone()
    witness.begin(epoch=epoch, head=newest(writer), sync=sync, born=born(file))
    attend(writer)
    # Whoever connects waits for a value or two, and not for all the events that others are reading.
    values, events = (opened.enter_context(closing(_connect_to_read(file))) for _ in range(2))
    return Files(
        database=file,
        presence=opened.enter_context(closing(Presence(file, named=Path(path).absolute()))),
        writer=writer,
        values=values,
        events=events,
        checkpointer=opened.enter_context(closing(_open(_connect(file)))),
        epoch=epoch,
        trimmed=trimmed,
        head=newest(writer),
        size=_size(writer),
        witness=witness,
    )


def _write_once_more(db: sqlite3.Connection) -> None:
    """Have on the disk what is read from now on: an earlier run may have ended as a sync had failed."""
    with suppress(sqlite3.OperationalError):  # such as a full disk, which commits meet as well
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()


def newest(db: sqlite3.Connection) -> int:
    """Return the newest position that was ever given away."""
    seq: int
    (seq,) = db.execute("SELECT max(trimmed, coalesce((SELECT max(seq) FROM events), 0)) FROM meta").fetchone()
    return seq


def _size(db: sqlite3.Connection) -> int:
    # It looks at each row, but not at the pages that long ones go on in; the look for damage takes longer.
    size: int
    (size,) = db.execute("SELECT coalesce(sum(length(json)), 0) FROM events").fetchone()
    return size


def refusal(error: sqlite3.Error, path: str) -> str:
    """Say why a file cannot be used, and what to do."""
    if is_full(path):
        return f"{error}, as the disk is full; {MAKE_ROOM}"
    if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_CORRUPT:
        return _damaged(error)
    return f"{error}; name a file that the bus made, or one that does not exist yet"


def _name_anew_if_in_doubt(db: sqlite3.Connection, witness: Witness, file: Path) -> None:
    """Give a log a new epoch if it may have lost its end: what its positions meant may mean something else by now."""
    (epoch,) = db.execute("SELECT epoch FROM meta").fetchone()
    reason = doubt(witness.last, epoch=epoch, head=newest(db), born=born(file), attended=is_attended(db))
    if reason:
        logger.warning("the log may have lost its newest events: %s; it goes on under a new epoch", reason)
        db.execute("UPDATE meta SET epoch = lower(hex(randomblob(8)))")


def _lock(file: Path) -> IO[str]:
    """Keep a second bus off the path: each would miss what the other appends."""
    lock = Path(f"{file}.lock").open("w")  # noqa: SIM115 - held until the log is closed
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        raise OSError(TAKEN) from None
    return lock


def _lock_itself(file: Path) -> int:
    """Keep a second bus off the file, whatever path leads it there: two paths have two write-ahead logs.

    The lock belongs to what is returned, an open file, and not to the process: SQLite's own locks do, and would be lost
    if the process closed the file while SQLite has it open.
    """
    opened = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        if hasattr(fcntl, "F_OFD_SETLK"):  # on Linux; elsewhere the lock of the path must do
            fcntl.fcntl(opened, fcntl.F_OFD_SETLK, struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, LOCKED, 1, 0))
    except BlockingIOError:
        os.close(opened)
        raise OSError(TAKEN) from None
    except OSError as error:  # some network's file system has no such locks
        logger.info("the log's file cannot be locked, but its path is: %s", error)
    return opened


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


def is_full(path: str) -> bool:
    """Is there too little room on the disk for opening a log?"""
    try:
        disk = os.statvfs(Path(path).resolve().parent)
    except OSError:
        return False
    return disk.f_blocks > 0 and disk.f_bavail * disk.f_frsize < TOO_LITTLE


def _damaged(found: object) -> str:
    return f"the file is damaged ({found}); put a copy in its place, or name a file that does not exist yet"
