"""Was everything delivered, once, in order, to the right one, unchanged?

A `Checker` looks at what one subscriber gets; `crowd` has what is cheaper for many that get the same.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass

import msgspec

from .events import EVENT, PAD

WHOLE = 16
"""The whole document is looked at in one event of so many."""

Origin = tuple[bytes, int]
"""Kind and publisher: each origin numbers its events to a subscriber from 0."""


@dataclass(slots=True)
class Faults:
    """What went wrong; any at all fails a run.

    Attributes:
        lost: Answered with 200, and never delivered.
        repeated: Delivered before.
        out_of_order: Delivered after a later one of the same publisher, or below an earlier position in the log.
        misdelivered: For somebody else, or published by nobody.
        changed: Not the document that was published.
    """

    lost: int = 0
    repeated: int = 0
    out_of_order: int = 0
    misdelivered: int = 0
    changed: int = 0

    def counts(self) -> dict[str, int]:
        """Return each by its name."""
        return asdict(self)


class Checker:
    """Checks what one subscriber gets; `received` counts it.

    Attributes:
        to: The client's number. None for a service, which gets what is for anybody.
        identifiers: What may stand in the context. None for a service that sees many clients'.
    """

    def __init__(self, faults: Faults, *, to: int | None = None, identifiers: Collection[str] | None = None) -> None:
        self.received = 0
        self._faults = faults
        self._to = to
        self._identifiers = identifiers
        self._next: dict[Origin, int] = defaultdict(int)
        self._missing: dict[Origin, set[int]] = defaultdict(set)
        self._position = 0

    def take(self, payload: bytes) -> tuple[Origin, int, int] | None:
        """Check one message; return the event's origin, number and time, or None if it is none of ours."""
        match = EVENT.search(payload)
        if match is None:
            self._faults.changed += 1
            return None
        kind, number, publisher, sent, to = match[1], int(match[2]), int(match[3]), int(match[4]), int(match[5])
        if number % WHOLE == 0 and not self._whole(payload, match):
            self._faults.changed += 1
            return None
        if self._to is not None and to != self._to:
            self._faults.misdelivered += 1
            return None
        self._number((kind, publisher), number)
        return (kind, publisher), number, sent

    def finish(self, owed: Mapping[Origin, int]) -> None:
        """Count what is missing at the end: `owed` says how many events of each origin were answered with 200."""
        for origin in owed.keys() | self._next.keys():
            missing = owed.get(origin, 0) - self._next[origin]
            self._faults.lost += max(missing, 0) + len(self._missing[origin])
            self._faults.misdelivered += max(-missing, 0)

    def before(self, frames: Collection[tuple[Origin, int]]) -> Checker:
        """Return a checker that has not seen these newest frames, and all before them."""
        other = Checker(self._faults, to=self._to, identifiers=self._identifiers)
        other.received = self.received - len(frames)
        other._next.update(self._next)
        for origin, number in reversed([*frames]):
            other._next[origin] = number
        return other

    def _number(self, origin: Origin, number: int) -> None:
        expected = self._next[origin]
        if number >= expected:
            if number > expected:
                self._missing[origin].update(range(expected, number))
            self._next[origin] = number + 1
            self.received += 1
        elif number in self._missing[origin]:
            self._missing[origin].remove(number)
            self._faults.out_of_order += 1
            self.received += 1
        else:
            self._faults.repeated += 1

    def _whole(self, payload: bytes, match: re.Match[bytes]) -> bool:
        """Look at the whole document, and at its place in the log if it has one."""
        kind, number, publisher, sent, to = match.groups()
        try:
            event = msgspec.json.decode(payload)
            data, context = event["data"], event["context"]
            pad = data.pop("pad")
        except (msgspec.DecodeError, KeyError, TypeError, AttributeError, UnicodeDecodeError):
            return False
        position = event.get("seq", self._position + 1)
        if position <= self._position:
            self._faults.out_of_order += 1
        self._position = position
        return bool(
            event["name"] == f"bench.{kind.decode()}"
            and data == {"publisher": int(publisher), "to": int(to), "number": int(number), "sent": int(sent)}
            and pad == PAD.decode()
            and context.keys() == {"identifier"}
            and (self._identifiers is None or context["identifier"] in self._identifiers)
        )
