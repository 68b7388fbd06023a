"""The table of identities: which addresses live, and until when."""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Awaitable, Callable, Mapping

from .. import MOST_IDENTITIES, TRIM_STEP
from .disk_reserve import Room
from .reader import Reader, one

_FORGET_IDENTITIES = """
DELETE FROM identities
WHERE address IN (SELECT address FROM identities WHERE expires < ? ORDER BY expires LIMIT ?)
"""
_LOST = """
SELECT max(
    coalesce((SELECT lost FROM identities WHERE address = ?), 0),
    coalesce((SELECT max(seq) FROM addressed WHERE identifier = ? AND seq <= ?), 0)
)
"""
_KEEP_IDENTITY = """
INSERT INTO identities (address, expires) VALUES (?, ?) ON CONFLICT (address) DO UPDATE SET expires = excluded.expires
"""
_PAGES_OF_AN_IDENTITY = 4 * 4096  # bytes: its row, its entry in the index, and now and then a page that is parted
_COUNT_EVERY = 10_000  # identities; to count a million takes a while


class IdentityTable:
    """Knows the addresses that live, and what was trimmed of their events.

    Args:
        reader: Asks for one.
        commit: Has a job done in the next commit.
        room: What may be written.
    """

    def __init__(
        self, reader: Reader, *, commit: Callable[[Callable[[sqlite3.Connection], bool]], Awaitable[bool]], room: Room
    ) -> None:
        self._values = reader
        self._commit = commit
        self._room = room
        self._forgetting = False  # identities, in the next commit
        self._uncounted = _COUNT_EVERY  # identities that were kept since all were counted
        self._surplus = 0  # identities that were too many then, and are still there

    async def expiry(self, address: str) -> float:
        """See `Log.identity_expiry`."""
        expires: float | None = await self._values.ask(one, "SELECT expires FROM identities WHERE address = ?", address)
        return expires or 0.0

    async def lost(self, address: str, *, upto: int) -> int:
        """Return the newest position up to `upto` at which an event for this client is gone, or is about to go."""
        lost: int | None = await self._values.ask(one, _LOST, address, address, upto)
        return lost or 0

    async def keep(self, expiries: Mapping[str, float], *, now: float) -> bool:
        """See `Log.keep_identities`."""
        step = 0 if self._forgetting else TRIM_STEP  # one of those that share a commit is enough

        def keep(db: sqlite3.Connection) -> bool:
            if expiries:
                self._room.take_of_reserve(db, _PAGES_OF_AN_IDENTITY * len(expiries))
            db.executemany(_KEEP_IDENTITY, expiries.items())  # first: one in use is not forgotten, however late this is
            self._uncounted += len(expiries)
            return bool(step) and self._forget(db, now) >= step

        if not step:
            return await self._commit(keep)
        self._forgetting = True
        try:
            return await self._commit(keep)
        finally:
            self._forgetting = False

    def _forget(self, db: sqlite3.Connection, now: float) -> int:
        if self._uncounted >= _COUNT_EVERY:
            (count,) = db.execute("SELECT count(*) FROM identities").fetchone()
            self._uncounted, self._surplus = 0, count - MOST_IDENTITIES
        gone = db.execute(_FORGET_IDENTITIES, [now, TRIM_STEP]).rowcount
        if gone < self._surplus:
            gone += db.execute(_FORGET_IDENTITIES, [math.inf, min(self._surplus, TRIM_STEP) - gone]).rowcount
        self._surplus -= gone
        return gone
