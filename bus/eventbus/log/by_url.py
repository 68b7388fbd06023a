"""Which log there is: the one that a setting names."""

from __future__ import annotations

import errno

from ..environment import ConfigError
from . import Log
from .memory import MemoryLog
from .sqlite import SqliteLog


def open_log(url: str) -> Log:
    """Open the log that a setting names.

    Args:
        url: ``memory:``, ``sqlite:PATH`` or ``sqlite:PATH?sync=normal``.

    Raises:
        ConfigError: It names no log, or one that cannot be opened.
    """
    kind, _, rest = url.partition(":")
    path, _, option = rest.partition("?")
    if url == "memory:":
        return MemoryLog()
    if kind == "sqlite" and path and option in ("", "sync=normal", "sync=full"):
        try:
            return SqliteLog(path, sync=option.removeprefix("sync=") or "full")
        except OSError as error:
            reason = _reason(error)
            raise ConfigError(f"EVENTBUS_LOG={url}: {reason}") from None
    raise ConfigError(f"EVENTBUS_LOG={url}: expected memory:, sqlite:PATH or sqlite:PATH?sync=normal")


def _reason(error: OSError) -> str:
    if error.errno == errno.ENOSPC:
        return "the disk is full; make room on it, and start the bus again"
    return f"{error.filename}: {error.strerror}; name a file that can be made" if error.errno else str(error)
