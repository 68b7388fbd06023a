"""The bus without one of the things that make it fast, to see what that one gives: `python -m bench.without LEVER`.

Its settings come from the environment, like the bus's own.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from eventbus import __main__ as program
from eventbus import batches, subscription
from eventbus.log import sqlite
from eventbus.log.sqlite import checkpoints, commits, indexes, opening, rows, tail
from eventbus.outlet import Piece
from eventbus.server import plain_requests
from eventbus.server import running as serving
from msgspec import json, structs


@dataclass(frozen=True, slots=True)
class Lever:
    """Something that makes the bus fast.

    Attributes:
        title: What it is.
        take_out: Makes this program's bus do without.
        server: The log with which it matters.
        measures: Where it matters.
    """

    title: str
    take_out: Callable[[], None]
    server: str
    measures: Sequence[str]


def _short_cut() -> None:
    os.environ["EVENTBUS_FAST_PATH"] = "off"


def _one_write() -> None:
    def write(self: subscription.Subscription, piece: Piece) -> bool:
        for event in piece.events:
            if self._outlet.full:
                return False
            self._outlet.write(Piece([event]))
            self.cursor = event.seq
        return True

    _replace(subscription.Subscription, "_write", write)


def _one_encoding() -> None:
    def write(self: subscription.Subscription, piece: Piece) -> bool:
        if self._outlet.full:
            return False
        own = [structs.replace(event, json=json.encode(json.decode(event.json))) for event in piece.events]
        self._outlet.write(Piece(own))
        self.cursor = own[-1].seq
        return True

    _replace(subscription.Subscription, "_write", write)


def _upgrade() -> None:
    _replace(plain_requests, "shake_hands", lambda *_: None)  # every handshake is aiohttp's


def _whole_batch() -> None:
    _replace(batches, "_decode_many", lambda _: None)


def _group_commit() -> None:
    async def write(self: commits.Committer[Any, Any]) -> None:
        while self._waiting:
            await self._commit_alone(self._waiting.pop(0))

    _replace(commits.Committer, "_write", write)


def _one_statement() -> None:
    _replace(rows, "MOST_AT_ONCE", 1)
    _replace(sqlite, "MOST_AT_ONCE", 1)


def _ids() -> None:
    row_of = rows.row_of
    _replace(sqlite, "row_of", lambda *of: row_of(*of)._replace(is_new=False))


def _turns() -> None:
    _replace(commits, "TURNS", 0)


def _indexes() -> None:
    _replace(indexes, "EVERY", 1)


def _tail() -> None:
    _replace(tail, "MAX_EVENTS", 0)


def _checkpoints() -> None:
    _replace(checkpoints, "EVERY", sys.maxsize)
    _replace(opening, "WITHIN_COMMITS", 1000)  # SQLite's own default


def _collector() -> None:
    _replace(program, "look_rarely", lambda: None)


def _queue() -> None:
    _replace(serving, "BACKLOG", 128)


def _replace(owner: object, name: str, by: object) -> None:
    if not hasattr(owner, name):
        raise AttributeError(f"there is no {name} to take out")
    setattr(owner, name, by)


LEVERS = {
    "short-cut": Lever("the short cut below aiohttp", _short_cut, "memory", ["publish-32"]),
    "one-write": Lever("one write a socket, for all that there is", _one_write, "memory", ["deliver-4", "deliver-100"]),
    "one-encoding": Lever("an event is encoded once", _one_encoding, "memory", ["deliver-4", "deliver-100"]),
    "upgrade": Lever("a WebSocket leaves aiohttp's hands", _upgrade, "memory", ["idle"]),
    "whole-batch": Lever("a batch is read at once", _whole_batch, "normal", ["batches"]),
    "group-commit": Lever("one commit for all that wait", _group_commit, "full", ["publish-32"]),
    "turns": Lever("who was answered shares the next commit", _turns, "full", ["publish-32", "round-trip-10"]),
    "one-statement": Lever("one statement for all events of a commit", _one_statement, "normal", ["publish-32"]),
    "ids": Lever("ids that the bus made are not looked up", _ids, "normal", ["publish-32", "batches"]),
    "indexes": Lever("entries in the indexes, many at a time", _indexes, "normal", ["publish-32", "batches"]),
    "tail": Lever("the newest events are in memory", _tail, "normal", ["deliver-4"]),
    "checkpoints": Lever("checkpoints beside the commits", _checkpoints, "normal", ["publish-32", "round-trip-10"]),
    "collector": Lever("the collector looks less often", _collector, "normal", ["return"]),
    "queue": Lever("a long queue for those who connect", _queue, "normal", ["return"]),
}


if __name__ == "__main__":
    LEVERS[sys.argv.pop(1)].take_out()
    program.main()
