"""A channel: one WebSocket after its handshake, whatever serves it, as the edge that speaks with it needs it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from enum import IntEnum
from typing import Protocol

from aiohttp import WSMessage

from ..outlet import Outlet

CLOSING = 1.0
"""Seconds that the other side has to answer a close."""

MAX_MESSAGE = 64 * 1024
"""Bytes of a message that comes; a longer one ends the connection (close code 1009)."""


class Close(IntEnum):
    """Why a connection is closed (RFC 6455, 7.4; from 4000 on our own)."""

    NORMAL = 1000
    GOING_AWAY = 1001
    BROKEN = 1002
    UNSUPPORTED = 1003
    NOT_A_COMMAND = 1007
    TOO_FAST = 1008
    FAILED = 1011
    RESTART = 1012
    NEVER_IDENTIFIED = 4401
    WRONG_CREDENTIALS = 4403
    TOOK_NOTHING = 4408


def reason_of(fault: int) -> str:
    """Say what was wrong with what came."""
    return "too many frames; come back later" if fault == Close.TOO_FAST else "this breaks RFC 6455"


class Channel(Protocol):
    """Gives what comes, and knows when more may be written; what is written goes to the connection's transport.

    Attributes:
        goodbye: The close code that the other side gave; None before it said goodbye, and if it gave none.
    """

    goodbye: int | None

    def messages(self) -> AsyncIterator[WSMessage]:
        """Give what comes, until the other side says goodbye or is gone.

        The last one is of the type ERROR if the other side broke the protocol, with what was wrong.
        """

    async def drained(self) -> None:
        """Return once no more waits to be sent than should. Raises ConnectionError when the other side has gone."""

    def expect_pong(self) -> None:
        """The bus sends a ping; the answer to it does not count against the other side's rate."""

    def trust(self) -> None:
        """The other side is a service: from now on it may be as fast as it likes."""


class Line(Outlet, Protocol):
    """The outlet of a connection, which says more than events.

    Attributes:
        parting: Whether it has said goodbye: nothing more is sent.
    """

    parting: bool

    def say(self, message: bytes) -> None:
        """Send a message that is no event."""

    def pong(self, payload: bytes) -> None:
        """Answer a ping with what it carried."""

    def close(self, code: int, reason: str = "") -> None:
        """Say goodbye; a connection whose other side does not answer in a moment is cut."""

    def hang_up(self) -> None:
        """End the connection: all has been said."""

    def hear(self) -> None:
        """The other side gave a sign of life."""

    def hear_goodbye(self, code: int | None) -> None:
        """The other side said goodbye with this code, or is gone without a word."""

    def beat(self) -> None:
        """Ask for a sign of life; say goodbye if there was none for too long."""

    def bound_as_client(self) -> None:
        """Let less wait than for a service."""


def may_be_said(close_code: int) -> bool:
    """May a close code be sent? aiohttp's reader refuses most that may not (RFC 6455, 7.4)."""
    return close_code <= 4999 and close_code != 1006
