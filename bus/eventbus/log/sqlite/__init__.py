"""The log in one SQLite file: survives ``kill -9`` and power loss (https://sqlite.org/wal.html)."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import partial

from ...event import Event, place
from ...patterns import EVERYTHING, Patterns
from ...problems import LogUnavailable
from ...timestamps import timestamp
from .. import READ_BYTES, TRIM_BYTES, TRIM_STEP, Appended, Entry, GroupKey, oldest, take, wanted
from ..head import Head
from .checkpoints import Checkpoints
from .commits import Committer
from .disk_reserve import Room, probe
from .identities import IdentityTable
from .indexes import Indexes
from .opening import newest, open_files, refusal
from .queries import FORGET, OLDEST, SCAN, SELECT, SELECT_INDEXED, event_of, select_events
from .reader import Reader, one
from .rows import MOST_AT_ONCE, Row, insert, row_of
from .syncs import Syncs
from .tail import Tail

_PROBE = 1 << 20  # bytes


class SqliteLog:
    """Each write returns once its commit is on the disk; one commit takes all that wait (group commit).

    Args:
        path: The database file; its folder is made if need be.
        sync: ``"full"`` syncs at each commit; ``"normal"`` does not: it survives ``kill -9``, not power loss.

    Raises:
        OSError: The file cannot be opened, is not a log, or another bus has it.
    """

    epoch: str
    trimmed: int
    most_bytes = 0  # but for retention

    def __init__(self, path: str, *, sync: str = "full") -> None:
        syncs = Syncs()
        with ExitStack() as opened:
            try:
                files = open_files(path, opened, sync=sync)
                self._writer = files.writer
                self.epoch, self.trimmed = files.epoch, files.trimmed
                self._values, self._events = Reader(files.values, "log-values"), Reader(files.events, "log-events")
                self._head = Head(files.head)
                self._room = Room(files.database, may_shrink=files.presence.may_shrink)
                self._witness, self._presence = files.witness, files.presence
                self._stored = files.head  # the newest position of the commit that is under way
                self._committer = Committer(
                    self._writer,
                    store=self._store,
                    at_once=MOST_AT_ONCE,
                    durable=self._durable,
                    committed=self._committed,
                    prepare=self._prepare,
                    syncs=syncs,
                )
                self._indexes = Indexes(self._writer, newest=self.head, commit=self._committer.commit)
                self._tail = Tail(self._indexes.upto)  # what has no entries yet is found there
                left_out = self._writer.execute(f"{SELECT} ORDER BY seq", [self._indexes.upto, self.head])
                self._tail.extend(map(event_of, left_out))
            except sqlite3.Error as error:
                raise OSError(refusal(error, path)) from None
            self._opened = opened.pop_all()
        self._size = files.size  # bytes of all events
        self._ids_from = 0  # ids of events up to here may be used again
        self._gone, self._trim_step = self.trimmed, TRIM_STEP
        self._failing = False  # since an append could not be written
        self._identities = IdentityTable(self._values, commit=self._committer.commit, room=self._room)
        self._checkpoints = Checkpoints(
            files.checkpointer, between_commits=self._committer.between_commits, syncs=syncs
        )

    @property
    def head(self) -> int:
        return self._head.seq

    async def append(self, entries: Sequence[Entry]) -> list[Appended]:
        came = timestamp(time.time())
        rows = [row_of(draft, publisher, came) for draft, publisher in entries]
        try:
            appended = await self._committer.append(rows)
        except LogUnavailable:
            self._failing = True
            raise
        self._failing = False
        return appended

    async def read(
        self, *, after: int, limit: int, names: Patterns | None = None, address: str | None = None
    ) -> list[Event]:
        upto = self.head  # a commit can be read a moment before the head has moved
        start = max(after, min(self.trimmed, upto))
        events: list[Event] = []
        size = 0
        while start < upto and len(events) < limit and size < READ_BYTES:
            found, start = await self._read_some(start, upto, limit - len(events), names, address)
            events += found
            size += sum(len(event.json) for event in found)
        return events

    async def _read_some(
        self, after: int, upto: int, limit: int, names: Patterns | None, address: str | None
    ) -> tuple[list[Event], int]:
        """Read some of the events between two positions; return what is wanted of them, and where they end."""
        if after >= self._tail.after:
            return take(wanted(self._tail.between(after, upto, address=address), names), limit), upto
        if address is not None and after < self._indexes.upto:
            query, upto = SELECT_INDEXED, min(upto, self._indexes.upto)
        else:
            query, upto = SELECT, min(upto, self._tail.after)
            if address is not None or names not in (None, EVERYTHING):
                upto = min(upto, after + SCAN)
        return await self._events.ask(select_events, query, after, upto, limit, names, address), upto

    async def wait_beyond(self, seq: int) -> None:
        await self._head.wait_beyond(seq)

    async def has_lost(self, *, after: int, address: str | None = None) -> bool:
        trimmed = self.trimmed
        if address is None or after >= trimmed:
            return after < trimmed
        # In one statement: what goes is counted as lost by the commit that takes it, and is passed over before that.
        return after < await self._identities.lost(address, upto=trimmed)

    def forget_ids(self, *, upto: int) -> None:
        self._ids_from = upto

    async def trim(self, *, upto: int = 0, keep: int | None = None, keep_bytes: int | None = None) -> bool:
        def trim(db: sqlite3.Connection) -> tuple[int, int, int]:
            sizes = db.execute(OLDEST, [self._indexes.upto, step]).fetchall()  # what has no entries can wait
            # Not what this commit adds, which may come to nothing yet.
            end = upto if keep is None else max(upto, newest(db) - keep)
            surplus = 0 if keep_bytes is None else self._size - keep_bytes
            last, size = oldest(sizes, upto=end, surplus=surplus)
            if last:
                self.trimmed = max(
                    self.trimmed, last
                )  # before the commit: a concurrent reader may already not find them
                db.execute(FORGET, {"upto": last})
                self._indexes.remove(db, upto=last)
                db.execute("DELETE FROM events WHERE seq <= ?", [last])
                db.execute("UPDATE meta SET trimmed = ?", [last])
            return sum(seq <= last for seq, _ in sizes), size, last

        if self.head == self._gone:
            return False
        step = self._trim_step
        if self._indexes.upto < min(self.trimmed + TRIM_STEP, self.head):
            await self._indexes.catch_up(most=TRIM_STEP)
        try:
            count, size, last = await self._committer.commit(trim)
        except LogUnavailable:
            self._trim_step = max(1, step // 4)  # there may be too little room for a step, but enough for a small one
            raise
        self._trim_step = min(2 * step, TRIM_STEP)
        self._size -= size
        self._gone = max(self._gone, last)
        return count == step or size >= TRIM_BYTES

    async def group_place(self, group: GroupKey) -> bytes | None:
        return await self._values.ask(one, "SELECT place FROM group_places WHERE service = ? AND name = ?", *group)

    async def keep_group_places(self, places: Mapping[GroupKey, bytes]) -> None:
        rows = [(*group, place) for group, place in places.items()]
        await self._committer.commit(
            lambda db: db.executemany("INSERT OR REPLACE INTO group_places VALUES (?, ?, ?)", rows)
        )

    async def identity_expiry(self, address: str) -> float:
        return await self._identities.expiry(address)

    async def keep_identities(self, expiries: Mapping[str, float], *, now: float) -> bool:
        return await self._identities.keep(expiries, now=now)

    async def check(self) -> None:
        await asyncio.to_thread(self._presence.check)
        await self._committer.between_commits(partial(self._room.take, size=_PROBE if self._failing else 0))
        # A nearly full disk has room for a little, not for what was refused: only as much as a request may hold counts.
        for size in (_PROBE, 0) if self._failing else (0,):
            await self._committer.commit(partial(probe, size=size))
        self._failing = False

    async def close(self) -> None:
        await self._checkpoints.close()
        await self._indexes.close()
        await self._committer.close()
        await self._values.close()
        await self._events.close()
        await asyncio.to_thread(self._opened.close)  # the last to close makes a checkpoint, and the disk may be slow

    def _prepare(self, db: sqlite3.Connection, rows: Sequence[Row]) -> None:
        self._presence.check()
        if rows:
            self._room.take(db, sum(len(row.json) for row in rows))
        else:
            self._room.tidy(db)

    def _store(self, db: sqlite3.Connection, rows: Sequence[Row]) -> list[Appended]:
        """Give each event that is not a duplicate the next place, and write it there."""
        seq = self.head  # nothing else moves it while a commit is under way
        chosen = [row for row in rows if not row.is_new]
        known = self._indexes.known(db, chosen, after=self._ids_from)
        appended: list[Appended] = []
        placed: list[tuple[int, Row]] = []
        for row in rows:
            key = row.scope, row.id
            if key in known:
                appended.append(Appended(id=row.id, seq=known[key], duplicate=True))
                continue
            seq += 1
            known[key] = seq
            appended.append(Appended(id=row.id, seq=seq))
            placed.append((seq, row))
        insert(db, placed)
        self._stored = seq
        return appended

    def _durable(self) -> None:
        """Make sure that a restart finds the commit that is on the disk now, and notices if it is lost later."""
        self._presence.check()
        self._witness.note(self._stored)

    def _committed(self, rows: Sequence[Row], appended: Sequence[Appended]) -> None:
        end = max((each.seq for each in appended), default=0)
        added = [(row, each.seq) for row, each in zip(rows, appended, strict=True) if not each.duplicate]
        try:
            self._tail.extend(
                Event(seq=seq, name=row.name, identifier=row.identifier, json=place(row.json, seq))
                for row, seq in added
            )
            self._indexes.committed(rows, appended)
            self._size += (size := sum(len(row.json) for row, _ in added))
            self._checkpoints.committed(size)
        except Exception:
            self._tail = Tail(end)  # what it should have had is read from the file
            raise
        finally:
            self._head.advance(end)  # which is so, whatever breaks here
