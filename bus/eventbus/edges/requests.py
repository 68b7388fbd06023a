"""What comes with a request: its body, what stands behind the question mark, and which host sent it."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from contextlib import AbstractContextManager
from typing import Protocol, cast

from aiohttp import web

from ..limits.hosts import Network, sending_host
from ..patterns import Patterns
from ..problems import AnotherLog, NotJson, TooLarge
from ..routing import Service
from ..server.http_protocol import HttpProtocol
from .refusals import BadParameter, TooManyChunks, TooSlow

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


def _too_many_chunks(request: web.Request) -> TooManyChunks:
    """Say so, and read nothing more of the connection: the rest would cost as much."""
    cast(HttpProtocol, request.protocol).hear_no_more()
    return TooManyChunks(f"the body has more than {MAX_CHUNKS} chunks, which is the limit; send it in larger ones")


def sender(request: web.Request, *, trusted_proxies: Collection[Network]) -> str:
    """Tell the address of the host that sent a request, perhaps by way of a proxy."""
    forwarded = request.headers.getall("X-Forwarded-For", [])
    return sending_host(request.remote or "", forwarded, trusted=trusted_proxies)


def names_within(request: web.Request, subscribed: Patterns) -> Patterns:
    """Read ``name=PATTERN``, which narrows what a service may read.

    Raises:
        BadParameter: It is no pattern.
    """
    if "name" not in request.query:
        return subscribed
    try:
        return Patterns([request.query["name"]], within=subscribed)
    except ValueError as error:
        raise BadParameter(f"name={request.query['name']}: {error}") from None


def check_epoch(request: web.Request, epoch: str) -> None:
    """Compare ``epoch=NAME``, if it is there, with the log's.

    Raises:
        AnotherLog: It is not the same.
    """
    asked = request.query.get("epoch", epoch)
    if asked != epoch:
        raise AnotherLog(f"epoch={asked}: the log is {epoch} now, where positions mean something else")


def whole_number(request: web.Request, name: str, default: int) -> int:
    """Read ``name=NUMBER``.

    Raises:
        BadParameter: It is no whole number of at most 18 digits.
    """
    value = request.query.get(name, str(default))
    if not (value.isascii() and value.isdigit() and len(value) <= 18):
        raise BadParameter(f"{name}={value}: expected a whole number, 0 or more")
    return int(value)
