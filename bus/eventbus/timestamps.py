"""How times are written, wherever the system's clock has leapt to."""

from __future__ import annotations

import time
from functools import lru_cache

_LAST = 253_402_300_799.0  # 9999-12-31T23:59:59Z


def within_calendar(unix_time: float) -> float:
    """Return the nearest time that can be written: calendars of programs know the years 1970 to 9999."""
    return min(max(unix_time, 0.0), _LAST)


def timestamp(unix_time: float) -> str:
    """Write a Unix time in seconds as RFC 3339 in UTC with milliseconds."""
    return _timestamp(int(unix_time * 1000))


@lru_cache(maxsize=16)  # on a busy bus many ask in the same millisecond
def _timestamp(milliseconds: int) -> str:
    seconds, rest = divmod(milliseconds, 1000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(within_calendar(seconds)))}.{rest:03}Z"
