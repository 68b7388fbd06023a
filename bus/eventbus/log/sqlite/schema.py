"""The tables of a log in SQLite."""

from __future__ import annotations

import sqlite3

VERSION = 4
"""Of the tables; a file of another version is refused."""

TABLES = """
CREATE TABLE meta (epoch TEXT NOT NULL, trimmed INTEGER NOT NULL, probe BLOB);
INSERT INTO meta (epoch, trimmed) VALUES (lower(hex(randomblob(8))), 0);
CREATE TABLE events (
    seq INTEGER PRIMARY KEY,                -- without a gap above what was trimmed
    scope TEXT NOT NULL,
    id TEXT NOT NULL,
    name TEXT NOT NULL,
    identifier TEXT,                        -- the context's, to find one client's events
    time TEXT NOT NULL,
    json BLOB NOT NULL                      -- the whole event, but for its seq
);
-- Entries for the events, written many at a time: see `indexes`.
CREATE TABLE ids (id TEXT, scope TEXT, seq INTEGER, PRIMARY KEY (id, scope, seq)) WITHOUT ROWID;
CREATE TABLE addressed (identifier TEXT, seq INTEGER, PRIMARY KEY (identifier, seq)) WITHOUT ROWID;
CREATE TABLE indexed (upto INTEGER NOT NULL);
INSERT INTO indexed VALUES (0);             -- the newest event that has its entries
CREATE TABLE identities (
    address TEXT PRIMARY KEY,
    expires REAL NOT NULL,
    lost INTEGER NOT NULL DEFAULT 0         -- the newest event for it that was trimmed
) WITHOUT ROWID;
CREATE INDEX identities_by_expiry ON identities (expires);
CREATE TABLE group_places (service TEXT, name TEXT, place BLOB NOT NULL, PRIMARY KEY (service, name)) WITHOUT ROWID;
"""


ATTENDED = int.from_bytes(b"evbs")
"""The ``application_id`` of a log that a `Witness` attends: earlier versions of the bus had none."""


def make_tables(db: sqlite3.Connection) -> bool:
    """Make the tables in a new file; tell whether it was new.

    Raises:
        sqlite3.DatabaseError: It is not new, and no log of this version.
    """
    (version,) = db.execute("PRAGMA user_version").fetchone()
    (tables,) = db.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    if version == 0 and tables == 0:
        db.executescript(f"BEGIN; {TABLES} PRAGMA user_version = {VERSION}; COMMIT;")
        return True
    if version != VERSION:
        raise sqlite3.DatabaseError("this database is not a log of this version of the bus")
    return False


def is_attended(db: sqlite3.Connection) -> bool:
    """Must there be a witness?"""
    (application,) = db.execute("PRAGMA application_id").fetchone()
    return bool(application == ATTENDED)


def attend(db: sqlite3.Connection) -> None:
    """There is a witness from now on."""
    if not is_attended(db):
        db.execute(f"PRAGMA application_id = {ATTENDED}")
