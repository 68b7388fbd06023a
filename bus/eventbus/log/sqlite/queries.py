"""Reading events from the database: by position, by name and by client."""

from __future__ import annotations

import sqlite3
from contextlib import closing

from ...event import Event, place
from ...patterns import EVERYTHING, OWN, Patterns
from .. import take

SELECT = "SELECT seq, name, identifier, json FROM events WHERE seq > ? AND seq <= ?"
SELECT_INDEXED = SELECT.replace("FROM events", "FROM addressed CROSS JOIN events USING (identifier, seq)")

OLDEST = "SELECT seq, length(json) FROM events WHERE seq <= ? ORDER BY seq LIMIT ?"
FORGET = """
UPDATE identities
SET lost = (SELECT max(seq) FROM addressed WHERE identifier = address AND seq <= :upto)
WHERE address IN (SELECT identifier FROM events WHERE seq <= :upto)
"""

SCAN = 5_000
"""Positions that one search for names looks at, before others that read have their turn."""


def select_events(
    db: sqlite3.Connection, query: str, after: int, upto: int, limit: int, names: Patterns | None, address: str | None
) -> list[Event]:
    """Run one of the two queries; with `names` or `address`, give those for a service or client."""
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
        return take(map(event_of, rows), limit)


def event_of(row: tuple[int, str, str | None, bytes]) -> Event:
    """Make an event of a row that such a query found."""
    seq, name, identifier, json = row
    return Event(seq=seq, name=name, identifier=identifier, json=place(json, seq))
