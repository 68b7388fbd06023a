"""HTTP and WebSockets as the generator speaks them: raw bytes, so that it costs little beside what it measures."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable
from typing import Any

TEXT, PING, PONG = 0x1, 0x9, 0xA
_LENGTH = re.compile(rb"(?i)\r\ncontent-length: *(\d+)")
PATIENCE = 60
"""Seconds until an answer that does not come is a failure."""

Frame = tuple[int, bytes, int]
"""Opcode, payload, and where the frame ends."""


def split(data: bytes) -> tuple[list[Frame], int]:
    """Take a server's frames apart (RFC 6455, 5.2); return them, and how many bytes they are."""
    frames: list[Frame] = []
    start, size = 0, len(data)
    while size - start >= 2:
        length, head = data[start + 1], start + 2
        if length == 126:
            head = start + 4
            length = int.from_bytes(data[start + 2 : head])
        elif length == 127:
            head = start + 10
            length = int.from_bytes(data[start + 2 : head])
        if (end := head + length) > size or head > size:
            break
        frames.append((data[start] & 0x0F, data[head:end], end))
        start = end
    return frames, start


def frame(opcode: int, payload: bytes) -> bytes:
    """Write a client's frame, with a mask of zeros."""
    size = len(payload)
    length = bytes([0x80 | size]) if size < 126 else b"\xfe" + size.to_bytes(2)
    return bytes([0x80 | opcode]) + length + bytes(4) + payload


class Poster(asyncio.Protocol):
    """A connection that is kept: one request at a time; `answered` is called with each answer's status."""

    _lengths: dict[bytes, int] = {}  # noqa: RUF012 - of answers' bodies by their heads: all connections share it

    def __init__(self, port: int, token: str | None) -> None:
        self.answered: Callable[[int], None] = lambda _status: None
        self.lost: Callable[[], None] = lambda: None
        authorization = f"Authorization: {token}\r\n" if token else ""
        self._head = (
            f"POST / HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
            f"{authorization}Content-Length: %d\r\n\r\n"
        ).encode()
        self._rest = b""
        self._write: Callable[[bytes], None] = lambda _data: None
        self.transport: asyncio.BaseTransport | None = None

    @classmethod
    async def open(cls, port: int, token: str | None = None) -> Poster:
        """Connect; a client has no token here, it stands in its events."""
        loop = asyncio.get_running_loop()
        _, poster = await loop.create_connection(lambda: cls(port, token), "127.0.0.1", port)
        return poster

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember where to write."""
        self.transport = transport
        self._write = transport.write  # type: ignore[attr-defined]  # asyncio calls this one a BaseTransport

    def post(self, body: bytes) -> None:
        """Send one request."""
        self._write(self._head % len(body) + body)

    def data_received(self, data: bytes) -> None:
        """Wait for a whole answer."""
        if self._rest:
            data = self._rest + data
        end = data.find(b"\r\n\r\n")
        if end < 0:
            self._rest = data
            return
        head = data[:end]
        if (length := self._lengths.get(head)) is None:
            match = _LENGTH.search(head)
            length = self._lengths[head] = int(match[1]) if match else 0
        if len(data) < (total := end + 4 + length):
            self._rest = data
            return
        self._rest = data[total:]
        self.answered(int(head[9:12]))

    def connection_lost(self, _error: Exception | None) -> None:
        """Tell whoever waits."""
        self.lost()


class Socket(asyncio.Protocol):
    """A WebSocket; `fed` is called with the bytes that come after the answer to its first command."""

    def __init__(self) -> None:
        self._early: list[bytes] = []
        self.fed: Callable[[bytes], None] = self._early.append
        self._rest = b""
        self._answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._stage = "handshake"
        self.transport: asyncio.Transport | None = None
        self.lost: Callable[[], None] = lambda: None

    @classmethod
    async def open(cls, port: int, command: dict[str, Any]) -> tuple[Socket, dict[str, Any]]:
        """Connect and say who one is; return the answer too."""
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(PATIENCE):
            transport, socket = await loop.create_connection(cls, "127.0.0.1", port)
            transport.write(
                f"GET /ws HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
            )
            head = await socket._answer
            if not head.startswith(b"HTTP/1.1 101"):
                raise ConnectionError(head.decode(errors="replace"))
            socket._answer = loop.create_future()
            socket.send(TEXT, json.dumps(command).encode())
            answer = json.loads(await socket._answer)
        return socket, answer

    def listen(self, fed: Callable[[bytes], None]) -> None:
        """Call `fed` with all that comes, and with what has come already."""
        self.fed = fed
        if self._early:
            fed(b"".join(self._early))

    def send(self, opcode: int, payload: bytes) -> None:
        """Send one frame."""
        if self.transport:
            self.transport.write(frame(opcode, payload))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember where to write."""
        self.transport = transport  # type: ignore[assignment]  # asyncio calls this one a BaseTransport

    def data_received(self, data: bytes) -> None:
        """Take the handshake's answer, then the command's; then hand on what comes."""
        if self._stage == "open":
            self.fed(data)
            return
        self._rest += data
        if self._stage == "handshake":
            head, found, rest = self._rest.partition(b"\r\n\r\n")
            if found:
                self._rest, self._stage = rest, "command"
                self._answer.set_result(head)
            return
        frames, _ = split(self._rest)
        for opcode, payload, end in frames:
            if opcode == PING:
                self.send(PONG, payload)
                continue
            rest, self._rest, self._stage = self._rest[end:], b"", "open"
            if opcode == TEXT:
                self._answer.set_result(payload)
            else:
                self._answer.set_exception(ConnectionError(f"closed: {payload!r}"))
            if rest:
                self.fed(rest)
            return

    def connection_lost(self, _error: Exception | None) -> None:
        """Tell whoever waits."""
        self.lost()
        if not self._answer.done():
            self._answer.set_exception(ConnectionError("the server hung up"))
