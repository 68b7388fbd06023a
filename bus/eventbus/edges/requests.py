"""What comes with a request: its body, bounded in bytes, in pieces and in time."""

from __future__ import annotations

import asyncio
from contextlib import AbstractContextManager
from typing import Protocol, runtime_checkable

from aiohttp import web

from ..problems import NotJson, TooLarge, TooManyChunks, TooSlow
from ..routing import Service

BODY_TIMEOUT = 30.0
"""Seconds that a body may take to come."""

COUNTED_AT_ONCE = 1024
"""Bytes of a body that come before they are counted: a chunk may be as small as one."""

MAX_CHUNKS = 64 * 1024
"""Pieces in which a body may come whose length was not announced: each costs, however small it is."""


class Hold(Protocol):
    """Counts the bytes that one request holds."""

    def grow(self, more: int) -> None:
        """Count so many bytes that have come.

        Raises:
            Overloaded: They are too many beside those of other requests.
        """


class HoldBytes(Protocol):
    """Counts the bytes of a request until the block is left."""

    def __call__(self, service: Service | None, *, host: str) -> AbstractContextManager[Hold]:
        """Begin with none, for a service or for a client at this host."""


async def read_body(request: web.Request, hold: Hold) -> bytes:
    """Wait for the whole body.

    Args:
        request: Its body has not been read yet.
        hold: Counts what has come.

    Raises:
        NotJson: It is compressed, or broke off.
        TooLarge: It is larger than the app allows.
        TooSlow: It did not come in time.
        Overloaded: The bus holds too much already.
    """
    encoding = request.headers.get("Content-Encoding", "identity")
    if encoding.lower() != "identity":  # a small body could unfold to a huge one, and keep the bus busy with it
        raise NotJson(f"the body is compressed ({encoding!r}); send it as it is")
    if not request.body_exists:
        return b""
    body, most, chunks, held = bytearray(), request.client_max_size, 0, 0
    try:
        # Not by `request.read`, which keeps it: aiohttp keeps the request until the connection's next one.
        async with asyncio.timeout(BODY_TIMEOUT):
            async for piece, is_end_of_chunk in request.content.iter_chunks():
                body += piece
                if len(body) - held >= COUNTED_AT_ONCE:
                    hold.grow(len(body) - held)
                    held = len(body)
                chunks += is_end_of_chunk
                if len(body) > most:
                    raise TooLarge(f"the body has more than {most} bytes, which is the limit")
                if chunks > MAX_CHUNKS:
                    raise _too_many_chunks(request)
        hold.grow(len(body) - held)
        return bytes(body)
    except TimeoutError:
        raise TooSlow(f"the body was not complete after {BODY_TIMEOUT} s") from None
    except (web.RequestPayloadError, ConnectionError) as error:
        raise NotJson(f"the body could not be read: {error}") from None
    finally:
        body.clear()  # of one that broke off, it would stay until the collector comes


@runtime_checkable
class Deafens(Protocol):
    """What serves a connection, if it can pass over the rest of a request."""

    def hear_no_more(self) -> None:
        """Pass over all that comes from now on; the connection ends soon after the answer to its request."""


def _too_many_chunks(request: web.Request) -> TooManyChunks:
    """Say so, and read nothing more of the connection, if that is possible: the rest would cost as much."""
    if isinstance(request.protocol, Deafens):
        request.protocol.hear_no_more()
    return TooManyChunks(f"the body has more than {MAX_CHUNKS} chunks, which is the limit; send it in larger ones")
