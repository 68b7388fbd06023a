"""Whether what was written can still be relied on: a sync that failed is not made good by the next one.

The system may have dropped what it could not write, and the next sync does not say so
(https://wiki.postgresql.org/wiki/Fsync_Errors). So after one that failed nothing more is acknowledged, until the log is
opened anew: what is read then is written and synced once more.
"""

from __future__ import annotations

import logging
import sqlite3

from ...problems import LogUnavailable

logger = logging.getLogger("eventbus")

_FAILED = (sqlite3.SQLITE_IOERR_FSYNC, sqlite3.SQLITE_IOERR_DIR_FSYNC)


class Syncs:
    """Knows whether all syncs of a log have succeeded so far. All of its threads use it."""

    def __init__(self) -> None:
        self._failed = False

    def check(self) -> None:
        """Return if all have.

        Raises:
            LogUnavailable: One has not.
        """
        if self._failed:
            raise LogUnavailable(
                "the log cannot be written: a sync of the disk failed, so it is not certain what is on it; "
                "look after the disk, and restart the bus"
            )

    def met(self, error: BaseException | None) -> None:
        """Find out whether an error, or what caused it, was such a failure."""
        while error and getattr(error, "sqlite_errorcode", None) not in _FAILED:
            error = error.__cause__
        if error and not self._failed:
            self._failed = True
            logger.error("a sync of the disk failed: the log takes nothing more until the bus is restarted: %s", error)
