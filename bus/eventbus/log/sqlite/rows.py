"""Rows of the table of events: made of what was published, and written many at a time."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple, TypeVar

from msgspec import UNSET

from ...event import Draft, encode
from ...ids import id_of
from .. import Publisher

T = TypeVar("T")

MOST_AT_ONCE = 64
"""Rows that one statement takes; for each number there is one, which is prepared once."""


class Row(NamedTuple):
    """An event that is to be stored; `is_new` if nobody can have used its id, as it was made here."""

    scope: str
    id: str
    name: str
    identifier: str | None
    time: str
    json: bytes
    is_new: bool


def row_of(draft: Draft, publisher: Publisher, came: str) -> Row:
    """Make a row of what a publisher sent at a time."""
    event_id, identifier = id_of(draft), draft.context.get("identifier")
    json = encode(draft, id=event_id, time=came, source=publisher.source)
    return Row(publisher.scope, event_id, draft.name, identifier, came, json, draft.id is UNSET)


def insert(db: sqlite3.Connection, rows: Sequence[tuple[int, Row]]) -> None:
    """Write rows, each with its ``seq`` before it."""
    for some in pieces(rows):
        db.execute(_insert(len(some)), [value for seq, row in some for value in (seq, *row[:-1])])


def pieces(rows: Sequence[T]) -> Iterator[Sequence[T]]:
    """Part what one statement each shall take."""
    return (rows[start : start + MOST_AT_ONCE] for start in range(0, len(rows), MOST_AT_ONCE))


# One statement for many rows, as the interpreter's lock is let go and fought for again at each.
@lru_cache
def _insert(count: int) -> str:
    values = ", ".join(["(?, ?, ?, ?, ?, ?, ?)"] * count)
    return f"INSERT INTO events (seq, scope, id, name, identifier, time, json) VALUES {values}"  # noqa: S608 - its parts are ours
