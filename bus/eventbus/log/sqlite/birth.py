"""When a file was made, which none of its copies has in common with it."""

from __future__ import annotations

import ctypes
import os
import struct
from pathlib import Path

_AT_FDCWD = -100
_STATX_BTIME = 0x800
_SIZE = 256  # bytes of a `struct statx`, the same on every machine (man 2 statx)
_MASK, _BTIME = 0, 80  # where in it


def born(path: Path) -> int:
    """Return when a file was made, in nanoseconds since 1970; 0 where the system or the disk does not tell."""
    told = getattr(path.stat(), "st_birthtime", None)  # macOS, and Linux from Python 3.15 on
    return int(told * 1_000_000_000) if told is not None else _ask_linux(path)


def _ask_linux(path: Path) -> int:
    statx = getattr(ctypes.CDLL(None), "statx", None)
    answer = ctypes.create_string_buffer(_SIZE)
    if statx is None or statx(_AT_FDCWD, os.fsencode(path), 0, _STATX_BTIME, answer) != 0:
        return 0
    (told,) = struct.unpack_from("=I", answer, _MASK)
    seconds, nanoseconds = struct.unpack_from("=qI", answer, _BTIME)
    return int(seconds * 1_000_000_000 + nanoseconds) if told & _STATX_BTIME else 0
