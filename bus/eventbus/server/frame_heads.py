"""Follows the frames in what a connection sends by their heads alone (RFC 6455, 5.2): how many, and all masked?"""

from __future__ import annotations

import math
from typing import NamedTuple

from aiohttp.http_websocket import WebSocketError

from ..edges.channel import Close
from ..limits.frame_rate import Stranger
from ..problems import TooFast

_MASKED = 0x80
_PONG = 0xA
_SIZES = {126: 2, 127: 8}
"""Bytes of a longer length, by what stands in a head in its place."""


class Found(NamedTuple):
    """What a piece of the stream holds.

    Attributes:
        frames: How many heads ended in it.
        pongs: How many of these are pongs.
        unmasked_at: Where a frame without a mask begins, after which nothing was looked at; None if there is none.
    """

    frames: int
    pongs: int
    unmasked_at: int | None


class FrameCounter:
    """Counts the frames of a connection that no service is known to be at.

    Args:
        stranger: Who is there; None for a service, whose frames do not count.

    Attributes:
        stranger: As above.
        rest: Seconds for which no more should be read, after the last piece.
    """

    __slots__ = ("_heads", "_is_deaf", "rest", "stranger")

    def __init__(self, stranger: Stranger | None) -> None:
        self.stranger = stranger
        self.rest = 0.0
        self._heads = FrameHeads()
        self._is_deaf = False

    def count(self, piece: bytes) -> tuple[int | None, WebSocketError | None]:
        """Count the frames in the next piece of the stream; after something wrong nothing more may be read.

        Returns:
            How many bytes of the piece may be read, None for all; and what is wrong with the rest, if anything.
        """
        if self._is_deaf:
            return 0, None
        stranger = self.stranger
        found = self._heads.find(piece, most=stranger.most_at_once if stranger else math.inf)
        try:
            self.rest = stranger.take(found.frames, pongs=found.pongs, size=len(piece)) if stranger else 0.0
        except TooFast as problem:
            self._is_deaf = True
            return 0, WebSocketError(Close.TOO_FAST, problem.detail)
        if found.unmasked_at is not None:
            self._is_deaf = True
            return found.unmasked_at, WebSocketError(Close.BROKEN, "a frame without a mask")
        return None, None


class FrameHeads:
    """Where in a stream of frames the next head begins; the stream may be cut anywhere."""

    __slots__ = ("_begun", "_skip")

    def __init__(self) -> None:
        self._begun = b""  # a head that has not ended
        self._skip = 0  # bytes until the next one

    def find(self, piece: bytes, *, most: float) -> Found:
        """Read the heads in the next piece.

        Args:
            piece: What has come.
            most: After more heads than these nothing more is looked at: the stream cannot be followed any further.
        """
        data, at = self._begun + piece, self._skip
        frames = pongs = 0
        while at + 2 <= len(data) and frames <= most:
            if not data[at + 1] & _MASKED:
                return Found(frames, pongs, max(0, at - len(self._begun)))
            flag = data[at + 1] & ~_MASKED
            begin = at + 2 + _SIZES.get(flag, 0)
            if begin > len(data):
                break
            length = int.from_bytes(data[at + 2 : begin]) if flag in _SIZES else flag
            frames += 1
            pongs += data[at] & 0xF == _PONG
            at = begin + 4 + length
        self._begun, self._skip = data[at:], max(0, at - len(data))
        return Found(frames, pongs, None)
