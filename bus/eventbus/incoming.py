"""What comes with a request: its body, what stands behind the question mark, and which host sent it."""

from __future__ import annotations

import asyncio
from collections.abc import Collection

from aiohttp import web

from .forwarded import Network, sending_host
from .patterns import Patterns
from .problems import BadParameter, NotJson, TooLarge, TooSlow

BODY_TIMEOUT = 30.0
"""Seconds that a body may take to come."""


def size_of_body(request: web.Request) -> int:
    """Tell how many bytes a body has at most, before it has come."""
    most, announced = request.client_max_size, request.content_length
    return most if announced is None else min(announced, most)


async def read_body(request: web.Request) -> bytes:
    """Wait for the whole body.

    Raises:
        NotJson: It is compressed, or broke off.
        TooLarge: It is larger than the app allows.
        TooSlow: It did not come in time.
    """
    encoding = request.headers.get("Content-Encoding", "identity")
    if encoding.lower() != "identity":  # a small body could unfold to a huge one, and keep the bus busy with it
        raise NotJson(f"the body is compressed ({encoding!r}); send it as it is")
    body, most = bytearray(), request.client_max_size
    try:
        # Not by `request.read`, which keeps it: aiohttp keeps the request until the connection's next one.
        async with asyncio.timeout(BODY_TIMEOUT):
            async for chunk in request.content.iter_any():
                body += chunk
                if len(body) > most:
                    raise TooLarge(f"the body has more than {most} bytes, which is the limit")
        return bytes(body)
    except TimeoutError:
        raise TooSlow(f"the body was not complete after {BODY_TIMEOUT} s") from None
    except (web.RequestPayloadError, ConnectionError) as error:
        raise NotJson(f"the body could not be read: {error}") from None
    finally:
        body.clear()  # of one that broke off, it would stay until the collector comes


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


def whole_number(request: web.Request, name: str, default: int) -> int:
    """Read ``name=NUMBER``.

    Raises:
        BadParameter: It is no whole number of at most 18 digits.
    """
    value = request.query.get(name, str(default))
    if not (value.isascii() and value.isdigit() and len(value) <= 18):
        raise BadParameter(f"{name}={value}: expected a whole number, 0 or more")
    return int(value)
