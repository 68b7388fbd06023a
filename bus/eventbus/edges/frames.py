"""WebSocket frames, as the bus writes them: unmasked, uncompressed, whole (RFC 6455, 5.2). Reading is aiohttp's."""

from __future__ import annotations

import struct


def text_frame(payload: bytes) -> bytes:
    """Wrap a message."""
    return _frame(0x1, payload)


def close_frame(code: int, reason: str) -> bytes:
    """Make the last frame (5.5.1); the reason is shorter than 124 bytes."""
    return _frame(0x8, struct.pack("!H", code) + reason.encode())


def ping_frame() -> bytes:
    """Ask the other side for a pong (5.5.2)."""
    return _frame(0x9, b"")


def pong_frame(payload: bytes) -> bytes:
    """Answer a ping with what it carried (5.5.3)."""
    return _frame(0xA, payload)


def _frame(opcode: int, payload: bytes) -> bytes:
    first, length = 0x80 | opcode, len(payload)
    if length < 126:
        return struct.pack("!BB", first, length) + payload
    if length < 65536:
        return struct.pack("!BBH", first, 126, length) + payload
    return struct.pack("!BBQ", first, 127, length) + payload
