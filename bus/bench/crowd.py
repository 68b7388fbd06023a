"""Checks many subscribers that must all get the same, at little more than the cost of one.

The first to read a frame has it checked, the others' bytes are compared with it. Whoever gets other bytes has a checker
of its own from there on.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping

from .checker import Checker, Origin
from .wire import PING, TEXT, Frame, split


class Crowd:
    """Subscribers that must all get the same bytes; `slowest` is how many events each of them has at least.

    The stream that they share begins at the byte `_base`. `_ends`, `_frames` and `_sent` say of each frame in it where
    it ends, which event it is, and when that was sent; `_dropped` frames before them are not needed any more.
    """

    def __init__(self, checker: Checker, size: int, split: Callable[[bytes], tuple[list[Frame], int]] = split) -> None:
        self.checker = checker
        self.split = split
        self.members = [Member(self) for _ in range(size)]
        self.slowest = 0
        self._at_slowest = size
        self._base = 0
        self._stream = bytearray()
        self._parsed = 0
        self._dropped = 0
        self._ends: list[int] = []
        self._frames: list[tuple[Origin, int]] = []
        self._sent: list[int] = []

    @property
    def received(self) -> int:
        """All members' deliveries together."""
        return sum(member.received for member in self.members)

    def part(self) -> None:
        """Let each member go alone from the start: who leaves later does not know what may still come late."""
        for member in self.members:
            member.alone = self.checker.before(())

    def finish(self, owed: Mapping[Origin, int]) -> None:
        """Count what is missing at the end, for each member."""
        for member in self.members:
            member.finish(owed)

    def moved(self, before: int) -> bool:
        """Note that a member went on from so many events; return whether the slowest did."""
        if before != self.slowest:
            return False
        self._at_slowest -= 1
        if self._at_slowest > 0:
            return False
        counts = [member.received for member in self.members]
        self.slowest = min(counts)
        self._at_slowest = counts.count(self.slowest)
        self._forget()
        return True

    def _extend(self, data: bytes) -> list[bytes]:
        """Check what nobody had yet; return the pings in it."""
        self._stream += data
        frames, consumed = self.split(bytes(self._stream[self._parsed :]))
        pings = []
        for opcode, payload, end in frames:
            if opcode == PING:
                pings.append(payload)
            elif opcode == TEXT and (taken := self.checker.take(payload)):
                origin, number, sent = taken
                self._ends.append(self._base + self._parsed + end)
                self._frames.append((origin, number))
                self._sent.append(sent)
        self._parsed += consumed
        return pings

    def _forget(self) -> None:
        """Drop what all members have; not each time, as it moves the rest."""
        if len(self._stream) < 1 << 20:
            return
        at = min([member.at for member in self.members if not member.alone] or [self._base + self._parsed])
        gone = bisect_right(self._ends, at)
        start = self._ends[gone - 1] if gone else self._base
        for frames in (self._ends, self._frames, self._sent):
            del frames[:gone]
        del self._stream[: start - self._base]
        self._parsed -= start - self._base
        self._base, self._dropped = start, self._dropped + gone


class Member:
    """One of a crowd: `at` is its place in the crowd's stream, until it gets other bytes than the others."""

    def __init__(self, crowd: Crowd) -> None:
        self.received = 0
        self.at = 0
        self.alone: Checker | None = None
        self._crowd = crowd
        self._rest = b""

    def feed(self, data: bytes) -> tuple[list[int], list[bytes]]:
        """Take what the socket got; return when the events in it were sent, and the pings in it."""
        if self.alone:
            return self._feed_alone(self.alone, data)
        crowd = self._crowd
        start = self.at - crowd._base
        known = crowd._stream[start : start + len(data)]
        if known != data[: len(known)]:
            return self._leave(data)
        pings = crowd._extend(data[len(known) :]) if len(known) < len(data) else []
        self.at += len(data)
        first = self.received - crowd._dropped
        last = bisect_right(crowd._ends, self.at, first)
        self.received = crowd._dropped + last
        return crowd._sent[first:last], pings

    def finish(self, owed: Mapping[Origin, int]) -> None:
        """Count what is missing at the end."""
        crowd = self._crowd
        checker = self.alone or crowd.checker.before(crowd._frames[self.received - crowd._dropped :])
        checker.finish(owed)

    def _leave(self, data: bytes) -> tuple[list[int], list[bytes]]:
        """Go on alone, from the end of the last whole frame."""
        crowd = self._crowd
        first = self.received - crowd._dropped
        self.alone = crowd.checker.before(crowd._frames[first:])
        start = crowd._ends[first - 1] if first else crowd._base
        self._rest = bytes(crowd._stream[start - crowd._base : self.at - crowd._base])
        return self._feed_alone(self.alone, data)

    def _feed_alone(self, checker: Checker, data: bytes) -> tuple[list[int], list[bytes]]:
        data = self._rest + data
        frames, consumed = self._crowd.split(data)
        self._rest = data[consumed:]
        taken = [checker.take(payload) for opcode, payload, _ in frames if opcode == TEXT]
        self.received = checker.received
        return [found[2] for found in taken if found], [payload for opcode, payload, _ in frames if opcode == PING]
