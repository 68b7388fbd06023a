"""The registry: one SQLite file that all instances of the service share. What may enter it is decided in `handlers`."""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from .handlers import Event, Handler, Registration

# How long one instance waits for another that is writing.
BUSY_SECONDS = 5.0

# Each registration knows the question that made it: a seq says which only together with the epoch of its log.
SCHEMA = """
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS registrations (
    name TEXT PRIMARY KEY, registrant TEXT NOT NULL, options TEXT NOT NULL, expiration TEXT NOT NULL,
    epoch TEXT NOT NULL, seq INTEGER NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS answers (
    epoch TEXT NOT NULL, seq INTEGER NOT NULL, events TEXT NOT NULL, PRIMARY KEY (epoch, seq)
) STRICT;
COMMIT;
"""


class RegistryFile:
    """Answers questions one at a time, also when other processes use the same file."""

    def __init__(self, path: Path) -> None:
        """Open the file, or make it.

        Raises:
            OSError: Its folder cannot be made.
            sqlite3.Error: It cannot be opened or written, or is no SQLite database.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        self._turn = threading.Lock()
        self._db = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
        try:
            _write_ahead(self._db)
            self._db.executescript(SCHEMA)
        except sqlite3.Error:
            self._db.close()
            raise

    def answer(self, question: Event, handler: Handler) -> list[Event]:
        """Let the handler answer, and store what it changes, in one transaction.

        A question that changed something is answered with the same events for ever: the first answer is stored
        together with the change. So it does no harm if a question comes twice, or to two instances at once.
        """
        key = (question["epoch"], question["seq"])
        with self._turn, self._db:
            self._db.execute("BEGIN IMMEDIATE")  # nobody else can write from here on
            events = self._stored_answer(key)
            if events is None:
                events, registrations = handler(question, _Registrations(self._db))
                self._store(key, events, registrations)
        return events

    def close(self) -> None:
        """Put the file in order; nothing is lost without it."""
        with self._turn:
            self._db.close()

    def _stored_answer(self, key: tuple[str, int]) -> list[Event] | None:
        row = self._db.execute("SELECT events FROM answers WHERE epoch = ? AND seq = ?", key).fetchone()
        return None if row is None else json.loads(row[0])

    def _store(self, key: tuple[str, int], events: list[Event], registrations: list[Registration]) -> None:
        if not registrations:
            return  # a question that changed nothing may be asked anew
        rows = [(*_to_row(registration), *key) for registration in registrations]
        self._db.executemany("INSERT INTO registrations VALUES (?, ?, ?, ?, ?, ?)", rows)
        self._db.execute("INSERT INTO answers VALUES (?, ?, ?)", (*key, json.dumps(events)))


class _Registrations(Mapping[str, Registration]):
    """The registered names as a handler sees them: a mapping, read from the file as far as it looks."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def __getitem__(self, name: str) -> Registration:
        columns = "SELECT name, registrant, options, expiration FROM registrations WHERE name = ?"
        row = self._db.execute(columns, (name,)).fetchone()
        if row is None:
            raise KeyError(name)
        return Registration(row[0], json.loads(row[1]), json.loads(row[2]), row[3])

    def __iter__(self) -> Iterator[str]:
        return (name for (name,) in self._db.execute("SELECT name FROM registrations ORDER BY name"))

    def __len__(self) -> int:
        [(count,)] = self._db.execute("SELECT count(*) FROM registrations")
        return int(count)


def _to_row(registration: Registration) -> tuple[str, str, str, str]:
    registrant, options = json.dumps(registration.registrant), json.dumps(registration.options)
    return registration.name, registrant, options, registration.expiration


def _write_ahead(db: sqlite3.Connection) -> None:
    """Let readers and a writer work at the same time. Other instances may be starting on the same new file."""
    until = time.monotonic() + BUSY_SECONDS
    while not _switched_to_wal(db, last_attempt=time.monotonic() > until):
        time.sleep(0.01)


def _switched_to_wal(db: sqlite3.Connection, *, last_attempt: bool) -> bool:
    try:
        db.execute("PRAGMA journal_mode = WAL")
    except sqlite3.OperationalError as error:
        # SQLite waits its turn for everything else, but not for this.
        if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or last_attempt:
            raise
        return False
    return True
