"""The outlet that is a WebSocket: it writes frames, says goodbye, and finds out whether the other side still lives."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress

from ..event import Event
from ..outlet import Piece
from .channel import CLOSING, Close
from .frames import close_frame, ping_frame, pong_frame, text_frame
from .heartbeat import Pulse

SHARE_OF_A_CLIENT = 1 / 16
"""Of the bytes that may wait for a service, which is trusted: one host may have a thousand clients that never read."""


class SocketOutlet:
    """One WebSocket, seen from the side that writes. Nothing here waits for the other side, but `drained`.

    Args:
        transport: The connection.
        drain: Returns once the transport takes more; raises ConnectionError when the other side has gone.
        send_buffer: Bytes; when more wait to be sent, it is full.

    Attributes:
        parting: Whether this is a goodbye: nothing more is sent.
        excused: Whether its end tells nothing of what was delivered.
    """

    __slots__ = ("_drain", "_pulse", "_send_buffer", "_transport", "_written", "excused", "parting")

    def __init__(self, transport: asyncio.Transport, drain: Callable[[], Awaitable[None]], *, send_buffer: int) -> None:
        self._transport = transport
        self._drain = drain
        self._send_buffer = send_buffer
        self._set_limit()
        self.parting = False
        self.excused = False
        self._pulse = Pulse()
        self._written = 0  # bytes

    def bound_as_client(self) -> None:
        """Let less wait than for a service."""
        self._send_buffer = int(self._send_buffer * SHARE_OF_A_CLIENT)
        self._set_limit()

    def _set_limit(self) -> None:
        self._transport.set_write_buffer_limits(high=self._send_buffer)

    @property
    def waiting(self) -> int:
        """Bytes that wait to be sent; none once the connection is ending."""
        # asyncio's transport over TLS cannot be asked any more once it was closed twice, as by both sides.
        if self._transport.is_closing():
            return 0
        return self._transport.get_write_buffer_size()

    @property
    def full(self) -> bool:
        """Is more waiting to be sent than it should, or is this a goodbye?"""
        return self.parting or self.waiting > self._send_buffer

    def write(self, piece: Piece) -> None:
        """Send events, each in a frame."""
        self._send(piece.encoded(_frames_of))

    def say(self, message: bytes) -> None:
        """Send a message that is no event."""
        self._send(text_frame(message))

    def pong(self, payload: bytes) -> None:
        """Answer a ping with what it carried."""
        self._send(pong_frame(payload))

    def _send(self, frames: bytes) -> None:
        if not self._transport.is_closing() and not self.parting:
            self._written += len(frames)
            self._transport.write(frames)

    async def drained(self) -> None:
        """Return once no more is waiting than should be; ConnectionResetError if nothing more will be sent."""
        await self._drain()
        if self.parting:
            raise ConnectionResetError

    def close(self, code: int, reason: str = "") -> None:
        """Say goodbye; a connection whose other side does not answer in a moment is cut.

        Args:
            code: One of `Close`, or what a reader of frames found (RFC 6455, 7.4.1).
            reason: What to say, in a few words.
        """
        # Nothing is waited for here: one frozen peer would hold up everything.
        if not self.parting:
            self._send(close_frame(code, reason))
            self.parting = True
            self.excused = self.excused or code in (Close.RESTART, Close.FAILED)
            asyncio.get_running_loop().call_later(CLOSING, _cut, self._transport)

    def hang_up(self) -> None:
        """End the connection: all has been said."""
        if not self._transport.is_closing():
            self._transport.close()

    def overtaken(self) -> None:
        """Say goodbye: what this subscriber had not got yet is gone. It is told how much when it comes back."""
        self.excused = True
        self.close(Close.TOOK_NOTHING, "retention passed your cursor")

    def failed(self) -> None:
        """Say goodbye: nothing more will come over this connection."""
        self.close(Close.FAILED, "a defect of the bus; its log tells more")

    def hear(self) -> None:
        """The other side gave a sign of life."""
        self._pulse.hear()

    def hear_goodbye(self, code: int | None) -> None:
        """The other side said goodbye with this code, or is gone without a word."""
        self.excused = self.excused or code == Close.GOING_AWAY

    def beat(self) -> None:
        """Send a ping; say goodbye to one that gives no sign of life."""
        if self._pulse.beat(written=self._written, waiting=self.waiting):
            self._send(ping_frame())
        else:
            self.close(Close.TOOK_NOTHING, "no sign of life")


def _cut(transport: asyncio.Transport) -> None:
    with suppress(AttributeError):  # closed twice, asyncio's transport over TLS can not even be aborted
        transport.abort()


def _frames_of(events: Sequence[Event]) -> bytes:
    return b"".join([text_frame(event.json) for event in events])
