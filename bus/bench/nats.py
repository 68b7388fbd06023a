"""NATS as the generator speaks it, under the names that `wire` has: https://docs.nats.io/reference/nats-protocol.

One stream takes all events, in a file, and acks each to its publisher. Whoever subscribes gets them by a plain
subscription beside the stream, which does not wait for it.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import socket
from collections.abc import Callable
from typing import Any

import msgspec

from . import wire
from .wire import PATIENCE, PING, PONG, TEXT, Frame

SUBJECT = "bench"
STREAM = {"name": "bench", "subjects": [SUBJECT], "storage": "file"}
_HELLO = 'CONNECT {"verbose":false,"pedantic":false}\r\nSUB %s 1\r\nPING\r\n'


def split(data: bytes) -> tuple[list[Frame], int]:
    """Take what a server sent apart; return messages and pings, and how many bytes they and all else are."""
    frames: list[Frame] = []
    start = 0
    while (line := data.find(b"\r\n", start)) >= 0:
        end = line + 2
        if data.startswith(b"MSG ", start):
            head, size = end, int(data[data.rfind(b" ", start, line) : line])
            if (end := head + size + 2) > len(data):
                break
            frames.append((TEXT, data[head : head + size], end))
        elif data.startswith(b"PING", start):
            frames.append((PING, b"", end))
        start = end
    return frames, start


class Socket(wire.Socket):
    """A connection with one subscription; `fed` is called with the bytes that come once the server knows of it."""

    @classmethod
    async def open(cls, port: int, command: dict[str, Any]) -> tuple[Socket, dict[str, Any]]:
        """Connect and subscribe to all events, or to the command's `subject`; nobody asks who one is."""
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(PATIENCE):
            transport, opened = await loop.create_connection(cls, "127.0.0.1", port)
            transport.write((_HELLO % command.get("subject", SUBJECT)).encode())
            await opened._answer
        return opened, {"authenticated": True}

    def send(self, opcode: int, payload: bytes) -> None:
        """Send a pong, or lines of the protocol."""
        if self.transport:
            self.transport.write(b"PONG\r\n" if opcode == PONG else payload)

    def data_received(self, data: bytes) -> None:
        """Take what the server says of itself, and its answer to the ping; then hand on what comes."""
        if self._stage == "open":
            self.fed(data)
            return
        self._rest += data
        _, found, rest = self._rest.partition(b"PONG\r\n")
        if found:
            self._stage = "open"
            self._answer.set_result(b"")
            if rest:
                self.fed(rest)


class Poster:
    """A publisher: one event at a time; `answered` is called with 200 for an ack, or with the code of an error."""

    def __init__(self, opened: Socket, inbox: str) -> None:
        self.answered: Callable[[int], None] = lambda _status: None
        self.lost: Callable[[], None] = lambda: None
        self._head = f"PUB {SUBJECT} {inbox} %d\r\n".encode()
        self._rest = b""
        self._socket = opened
        opened.lost = lambda: self.lost()
        opened.listen(self._fed)

    @classmethod
    async def open(cls, port: int, _token: str | None = None) -> Poster:
        """Connect, with an inbox for the acks."""
        inbox = f"_INBOX.{secrets.token_hex(8)}"
        opened, _ = await Socket.open(port, {"subject": inbox})
        return cls(opened, inbox)

    def post(self, body: bytes) -> None:
        """Send one event."""
        self._socket.send(TEXT, self._head % len(body) + body + b"\r\n")

    def _fed(self, data: bytes) -> None:
        data = self._rest + data
        frames, consumed = split(data)
        self._rest = data[consumed:]
        for opcode, payload, _ in frames:
            if opcode == PING:
                self._socket.send(PONG, b"")
            else:
                self.answered(msgspec.json.decode(payload).get("error", {}).get("code", 200))


def create_stream(port: int) -> None:
    """Let a server that has just started keep all events.

    Raises:
        OSError: It does not listen yet.
        RuntimeError: It refused.
    """
    config = json.dumps(STREAM)
    lines = f"{_HELLO % 'answer'}PUB $JS.API.STREAM.CREATE.{STREAM['name']} answer {len(config)}\r\n{config}\r\n"
    with socket.create_connection(("127.0.0.1", port), PATIENCE) as opened, opened.makefile("rb") as said:
        opened.sendall(lines.encode())
        answer = next((next(said) for line in said if line.startswith(b"MSG ")), b"it hung up")
    if b'"created"' not in answer:
        raise RuntimeError(f"NATS made no stream: {answer.decode()}")
