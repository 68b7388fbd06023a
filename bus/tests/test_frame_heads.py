"""The heads of frames are found wherever the stream is cut; what has no mask is found before it is heard."""

from __future__ import annotations

import math
import struct

import pytest
from eventbus.server.frame_heads import FrameHeads
from hypothesis import given
from hypothesis import strategies as st

LENGTHS = st.sampled_from([0, 1, 2, 124, 125, 126, 127, 200, 65535, 65536, 70_000])
PONG = 0xA


def frame(opcode: int, length: int, *, masked: bool = True, fin: bool = True) -> bytes:
    mask = 0x80 if masked else 0
    first = (0x80 if fin else 0) | opcode
    if length < 126:
        head = struct.pack("!BB", first, mask | length)
    elif length < 65536:
        head = struct.pack("!BBH", first, mask | 126, length)
    else:
        head = struct.pack("!BBQ", first, mask | 127, length)
    return head + (b"\xff\x00\x81\x05" if masked else b"") + b"\x81\x01" * (length // 2) + b"\x00" * (length % 2)


def cut(stream: bytes, places: list[int]) -> list[bytes]:
    ends = sorted({*(place % (len(stream) + 1) for place in places), len(stream)})
    return [stream[begin:end] for begin, end in zip([0, *ends], ends, strict=False)]


FRAMES = st.lists(st.tuples(st.sampled_from([0, 1, 2, 8, 9, PONG, 3, 15]), LENGTHS, st.booleans()), max_size=8)
PLACES = st.lists(st.integers(0, 200_000) | st.integers(0, 40), max_size=20)


@given(FRAMES, PLACES)
def test_each_frame_is_counted_once_however_the_stream_is_cut(
    frames: list[tuple[int, int, bool]], places: list[int]
) -> None:
    stream = b"".join(frame(opcode, length, fin=fin) for opcode, length, fin in frames)
    heads = FrameHeads()

    found = [heads.find(piece, most=math.inf) for piece in cut(stream, places)]

    assert sum(each.frames for each in found) == len(frames)
    assert sum(each.pongs for each in found) == sum(opcode == PONG for opcode, _, _ in frames)
    assert all(each.unmasked_at is None for each in found)


@given(FRAMES, LENGTHS, PLACES)
def test_what_stands_before_a_frame_without_a_mask_is_told_from_it(
    frames: list[tuple[int, int, bool]], length: int, places: list[int]
) -> None:
    good = b"".join(frame(opcode, length, fin=fin) for opcode, length, fin in frames)
    pieces = cut(good + frame(1, length, masked=False) + b"more", places)
    heads, passed, counted = FrameHeads(), b"", 0

    for piece in pieces:
        found = heads.find(piece, most=math.inf)
        passed += piece[: found.unmasked_at]
        counted += found.frames
        if found.unmasked_at is not None:
            break

    assert found.unmasked_at is not None
    assert passed in (good, good + b"\x81")  # the head may have been cut before its mask
    assert counted == len(frames)


def test_a_stream_that_comes_byte_by_byte_is_the_same_stream() -> None:
    stream = frame(1, 3) + frame(PONG, 0) + frame(2, 70_000) + frame(9, 125)
    heads = FrameHeads()

    found = [heads.find(stream[place : place + 1], most=math.inf) for place in range(len(stream))]

    assert (sum(each.frames for each in found), sum(each.pongs for each in found)) == (4, 1)


@pytest.mark.parametrize("most", [0, 1, 200])
def test_no_more_heads_are_read_than_may_be(most: int) -> None:
    assert FrameHeads().find(frame(1, 0) * 10_000, most=most).frames == most + 1


def test_the_largest_length_that_a_head_can_tell_is_no_trouble() -> None:
    heads = FrameHeads()

    assert heads.find(b"\x81\xff" + b"\xff" * 8 + b"mask" + b"x" * 100, most=math.inf).frames == 1
    assert heads.find(b"\x81\x01" * 1000, most=math.inf) == (0, 0, None)
