"""Which program listens on a port, where the system tells: Linux does in /proc (man 5 proc)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

PROC = Path("/proc")

_LISTENING = "0A"  # the state, in the system's table of sockets


def port_holder(port: int) -> str:
    """Name a program that listens on a port, such as ``"python3, process 4711"``; an empty text if it is not known."""
    sockets = {f"socket:[{inode}]" for inode in _listening(port)}
    for process in PROC.glob("[0-9]*"):
        with suppress(OSError):  # it is another user's, or has ended
            if any(str(file.readlink()) in sockets for file in (process / "fd").iterdir()):
                return f"{(process / 'comm').read_text(errors='replace').strip()}, process {process.name}"
    return ""


def _listening(port: int) -> Iterator[str]:
    """Give the inodes of the sockets that listen on a port."""
    for table in ("tcp", "tcp6"):
        with suppress(OSError):
            for line in (PROC / "net" / table).read_text().splitlines()[1:]:
                (
                    _,
                    local,
                    _,
                    state,
                    *_,
                ) = fields = line.split()
                if state == _LISTENING and int(local.rpartition(":")[2], 16) == port:
                    yield fields[9]
