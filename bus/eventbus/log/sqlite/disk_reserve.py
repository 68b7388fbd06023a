"""Room on the disk: no more events are taken while a reserve is still free, so that old ones can always be let go.

That needs room itself: SQLite writes each page that changes to its write-ahead log first. The room that it gives back
is inside the database file, which never shrinks. Events that find room in there may use a part of the reserve for their
passage through the write-ahead log, as others may have taken the rest of it meanwhile. Acks, groups' places and
identities may use the reserve, too, but for a part that is trimming's alone.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from ...problems import LogUnavailable

logger = logging.getLogger("eventbus")

LEAST = 4 * 1024 * 1024
MOST = 64 * 1024 * 1024
PART, MOST_PART = 16, 4
"""A reserve is this part of the disk, but no less and no more than these bytes, and no more than a quarter."""

OF_IDENTITIES, OF_PASSAGE = 0.5, 0.25
"""Parts of the reserve that stay free when identities are kept, and when events pass on their way into unused pages."""

LOOK_EVERY = 1.0
"""Seconds after which the disk is looked at again, as others write to it, too."""

_NEARLY_FULL = (
    "the disk is nearly full, and the rest is kept for letting old events go; make room, or wait until some are gone"
)
_ATTEMPTS, _PAUSE = 20, 0.01  # seconds
_COMMIT = 64 * 1024  # bytes that a commit writes beside the events


class Room:
    """What may be written to a log, in the thread that writes.

    Args:
        file: The database.
        may_shrink: Says while its block lasts that files become shorter.
    """

    def __init__(self, file: Path, *, may_shrink: Callable[[], AbstractContextManager[None]]) -> None:
        self._file = file
        self._may_shrink = may_shrink
        self._write_ahead = Path(f"{file}-wal")
        self._looked = -LOOK_EVERY
        self._free = self._reserve = 0  # bytes that the disk has, but for those that were committed already
        self._ahead = 0  # bytes of the write-ahead log, which may begin anew
        self._unused = 0  # bytes in the database file
        self._tight = False

    def take(self, db: sqlite3.Connection, size: int) -> None:
        """Make sure that events of so many bytes find room beside the reserve, and count them.

        Args:
            db: A connection that has no transaction open.
            size: Bytes.

        Raises:
            LogUnavailable: They do not.
        """
        self._look_rarely(db)
        written = size + size // 8 + _COMMIT
        if not self._has(written):
            self._make_room(db)
        if not self._has(written):
            self._say(tight=True)
            raise LogUnavailable(_NEARLY_FULL)
        self._count(written)
        self._say(tight=False)

    def take_of_reserve(self, db: sqlite3.Connection, size: int) -> None:
        """Make sure that something small finds room, and half of the reserve stays, and count it.

        Args:
            db: A connection; it may be within a transaction.
            size: Bytes.

        Raises:
            LogUnavailable: It does not.
        """
        self._look_rarely(db)
        if not self._has_for_small(size):
            self._look(db)
        if not self._has_for_small(size):
            raise LogUnavailable(_NEARLY_FULL)
        self._count(size)

    def tidy(self, db: sqlite3.Connection) -> None:
        """Have the write-ahead log begin anew where it has taken some of the reserve."""
        self._look_rarely(db)
        if self._free < self._reserve * 3 / 4 and self._ahead > self._reserve / 8:
            self._make_room(db)

    def _has(self, written: int) -> bool:
        """Is there room for events? What finds room in the file only passes through the write-ahead log."""
        if not self._growth(written):
            return self._has_beside(written, kept=OF_PASSAGE)
        return self._free - self._growth(written) + self._ahead >= self._reserve and self._has_beside(written, kept=0.5)

    def _has_for_small(self, size: int) -> bool:
        return self._has_beside(size, kept=OF_IDENTITIES if self._growth(size) else OF_PASSAGE)

    def _has_beside(self, written: int, *, kept: float) -> bool:
        """Does a part of the reserve stay free while something is written?"""
        return self._free - self._growth(written) - written >= self._reserve * kept

    def _count(self, written: int) -> None:
        self._free -= written + self._growth(written)
        self._ahead += written
        self._unused = max(0, self._unused - written)

    def _growth(self, written: int) -> int:
        """Tell by how much the database grows by that, later."""
        return max(0, written - self._unused)

    def _look_rarely(self, db: sqlite3.Connection) -> None:
        if time.monotonic() - self._looked >= LOOK_EVERY:
            self._look(db)

    def _look(self, db: sqlite3.Connection) -> None:
        disk = os.statvfs(self._file)
        (size,), (pages,), (unused,) = (
            db.execute(f"PRAGMA {what}").fetchone() for what in ("page_size", "page_count", "freelist_count")
        )
        will_grow = pages * size - self._file.stat().st_size  # by what stands in the write-ahead log only
        total, free = disk.f_blocks * disk.f_frsize, disk.f_bavail * disk.f_frsize
        self._free = free - max(0, will_grow) if total else sys.maxsize  # some file systems do not say
        self._ahead = self._write_ahead.stat().st_size if self._write_ahead.exists() else 0
        self._unused = unused * size
        self._reserve = min(max(total // PART, LEAST), MOST, total // MOST_PART)
        self._looked = time.monotonic()

    def _make_room(self, db: sqlite3.Connection) -> None:
        try:
            for _ in range(_ATTEMPTS):
                with self._may_shrink():
                    (busy, *_) = db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
                if not busy:
                    break
                time.sleep(_PAUSE)  # the thread that makes checkpoints is at it
        except sqlite3.OperationalError as error:  # somebody else has filled the disk
            raise LogUnavailable(f"the log cannot be written: {error}") from error
        self._look(db)

    def _say(self, *, tight: bool) -> None:
        if tight and not self._tight:
            kept = self._reserve // 1024 // 1024
            logger.error(
                "the disk is nearly full: no more events, as its last %d MiB are for letting old ones go", kept
            )
        elif self._tight and not tight:
            logger.info("the disk has room again")
        self._tight = tight


def probe(db: sqlite3.Connection, *, size: int) -> None:
    """Write so many bytes that mean nothing."""
    db.execute("UPDATE meta SET probe = zeroblob(?)", [size])
