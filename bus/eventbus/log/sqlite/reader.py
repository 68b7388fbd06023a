"""Asking the database, in a thread of its own: the event loop never waits for the disk."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from ...problems import LogUnavailable

T = TypeVar("T")


class Reader:
    """Asks a database one query after the other.

    Args:
        db: A connection that nobody else uses.
        name: The thread's.
    """

    def __init__(self, db: sqlite3.Connection, name: str) -> None:
        self._db = db
        self._thread = ThreadPoolExecutor(1, name)

    async def ask(self, query: Callable[..., T], *args: object) -> T:
        """Return what `query` finds, which gets the connection and `args`.

        Raises:
            LogUnavailable: The database cannot be read.
        """
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._thread, query, self._db, *args)
        except sqlite3.Error as error:
            raise LogUnavailable(f"the log cannot be read: {error}") from error

    async def close(self) -> None:
        """Finish what waits."""
        await asyncio.to_thread(self._thread.shutdown)  # the disk may be long in answering


def one(db: sqlite3.Connection, query: str, *values: str | int) -> Any:
    """Return the one value that a query finds; None if it finds no row."""
    row = db.execute(query, values).fetchone()
    return row[0] if row else None
