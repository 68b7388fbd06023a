"""A witness of how far the log had come: a small file beside the database, which is asked when the log is opened.

SQLite does not notice that its newest commits are gone: a copy of the file was put back, its -wal file is missing or
was damaged, or power failed before they were synced. Their positions would then be given away a second time.

After each commit, and before anybody hears of it, the log's newest position is written here as well. That is not
synced, so no commit waits for it: `kill -9` takes nothing from it, and what a power cut leaves is an older position,
which raises no alarm. Only when a log is opened or closed is the file synced, each time in the other of two places, so
that one of them is whole whatever happens.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from zlib import crc32

import msgspec
from msgspec.structs import replace

_SLOT = 4096
"""Bytes from one place in the file to the next: a disk writes, and may tear, as many at once."""

_RECORD = 512
"""Bytes of what stands there, zeros behind it: no disk writes fewer."""

_UNSYNCED = 2
"""The place of what is written after each commit; before it are the two that are synced."""


class Sighting(msgspec.Struct, frozen=True, kw_only=True):
    """What the witness saw last.

    Attributes:
        number: The newest sighting has the largest.
        epoch: The log's name.
        head: Its newest position.
        sync: How it was written: ``"full"`` or ``"normal"``.
        born: When the database file was made; 0 if not known.
        closed: True if the log was closed after that.
    """

    number: int
    epoch: str
    head: int
    sync: str
    born: int
    closed: bool = False


class Witness:
    """Keeps what it sees in a file.

    Args:
        database: The log's file, beside which the other one is.

    Attributes:
        last: What it saw last; None if there is nothing, or nothing that can be read.
    """

    def __init__(self, database: Path) -> None:
        self._database = database
        self._file = os.open(f"{database}.head", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        synced = [_read(self._file, slot) for slot in range(_UNSYNCED)]
        self._older = synced.index(min(synced, key=_number))  # the place to be written next
        self.last = max(*synced, _read(self._file, _UNSYNCED), key=_number)
        self._begun = False

    def begin(self, *, epoch: str, head: int, sync: str, born: int) -> None:
        """The log was opened. Returns once that is on the disk."""
        self.last = Sighting(number=_number(self.last) + 1, epoch=epoch, head=head, sync=sync, born=born)
        self._write_synced(self.last)
        _sync(self._database.parent)  # the file may be new there
        self._begun = True

    def note(self, head: int) -> None:
        """There was a commit; it is durable, and nobody was told of it yet."""
        if self.last is None or head == self.last.head:
            return
        self.last = replace(self.last, number=self.last.number + 1, head=head)
        with suppress(OSError):  # an older one than could be is no harm
            _write(self._file, _UNSYNCED, self.last)

    def close(self) -> None:
        """The database was closed, if it had been opened."""
        if self.last is not None and self._begun:
            with suppress(OSError):  # then it is not certain what is on the disk
                _sync(self._database)
                with suppress(FileNotFoundError):  # it stays if another program has the database open
                    _sync(Path(f"{self._database}-wal"))
                self._write_synced(replace(self.last, number=self.last.number + 1, closed=True))
        os.close(self._file)

    def _write_synced(self, sighting: Sighting) -> None:
        _write(self._file, self._older, sighting)
        os.fsync(self._file)
        self._older = 1 - self._older


def doubt(last: Sighting | None, *, epoch: str, head: int, born: int, attended: bool) -> str:
    """Tell why the end of a log is not certain; an empty text if it is.

    Args:
        last: What its witness saw last.
        epoch: The log's name.
        head: Its newest position.
        born: When its file was made; 0 if not known.
        attended: Whether there must be a witness: earlier versions of the bus had none.
    """
    if last is None:
        return "its .head file is missing" if attended else ""
    if last.epoch != epoch:
        return "its .head file is another log's"
    if head < last.head:
        return f"its newest event is {head}, and was {last.head}"
    if last.closed and 0 != last.born != born != 0:
        return "its file is a copy"
    if not last.closed and last.sync != "full":
        return f"it was not closed, and sync={last.sync}"
    return ""


def _number(sighting: Sighting | None) -> int:
    return sighting.number if sighting else 0


def _read(file: int, slot: int) -> Sighting | None:
    """Read what stands in a place; None if that is nothing, or torn."""
    checksum, _, record = os.pread(file, _RECORD, slot * _SLOT).rstrip(b"\0").partition(b" ")
    if checksum != _checksum(record):
        return None
    return msgspec.json.decode(record, type=Sighting)


def _write(file: int, slot: int, sighting: Sighting) -> None:
    record = msgspec.json.encode(sighting)
    os.pwrite(file, (_checksum(record) + b" " + record).ljust(_RECORD, b"\0"), slot * _SLOT)


def _checksum(record: bytes) -> bytes:
    return b"%08x" % crc32(record)


def _sync(path: Path) -> None:
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(file)
    finally:
        os.close(file)
