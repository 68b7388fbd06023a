"""Tries what `aiohttp_inside` assumes of the aiohttp and the Python that are installed, before the bus relies on it."""

from __future__ import annotations

import asyncio
from asyncio import sslproto
from collections.abc import Callable, Iterator

from aiohttp import WSMsgType, web
from aiohttp.http_websocket import WebSocketError

from .aiohttp_inside import FrameReader, HttpProtocol, parse_head

_HEAD = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n"
_MESSAGE = b"\x81\x82\0\0\0\0hi"  # "hi", masked with zeros (RFC 6455, 5.2)
_ATTRIBUTES = (
    "_buffer_paused", "_close", "_current_request", "_force_close", "_lingering_time", "_messages", "_payload_parser",
    "_reading_paused", "_request_count", "_upgraded", "_waiter", "close", "force_close", "set_parser", "transport",
)  # fmt: skip
"""What `HttpProtocol` reads and sets of aiohttp's handler."""


async def broken_assumptions() -> list[str]:
    """Return what does not hold, in a few words each; nothing, if all does."""
    return [promise for promise, holds in _ASSUMPTIONS.items() if not await _holds(holds)]


async def _holds(assumption: Callable[[], Iterator[bool]]) -> bool:
    """Try an assumption; one turn of the loop passes between its steps."""
    try:
        for step in assumption():
            if not step:
                return False
            await asyncio.sleep(0)
    except Exception:  # whatever is raised: what it stands on is another one
        return False
    return True


def _a_head_can_be_read_alone() -> Iterator[bool]:
    message = parse_head(_HEAD)
    yield message is not None and (message.method, message.path, message.headers["Host"]) == ("POST", "/", "localhost")
    yield parse_head(_HEAD + b"GET") is None or parse_head(b"\0" + _HEAD) is None


def _frames_can_be_read_alone() -> Iterator[bool]:
    reader = FrameReader()
    reader.feed(_MESSAGE[:3])
    reader.feed(_MESSAGE[3:])
    read = asyncio.ensure_future(reader.read())
    yield not read.done()
    yield read.done() and (read.result().type, read.result().data) == (WSMsgType.TEXT, "hi")
    reader.fail(WebSocketError(1002, "broken"))
    failed = asyncio.ensure_future(reader.read())
    yield True
    yield isinstance(failed.exception(), WebSocketError)


def _the_handler_is_what_it_was() -> Iterator[bool]:
    handler = web.RequestHandler(web.Server(_nobody), loop=asyncio.get_running_loop())
    yield all(hasattr(handler, name) for name in _ATTRIBUTES)
    yield all(hasattr(HttpProtocol, name) for name in ("_pause_transport_reading", "_resume_transport_reading"))


def _tls_has_a_buffer_of_a_size() -> Iterator[bool]:
    yield isinstance(sslproto.SSLProtocol.max_size, int)


async def _nobody(_request: web.BaseRequest) -> web.StreamResponse:
    return web.Response()


_ASSUMPTIONS: dict[str, Callable[[], Iterator[bool]]] = {
    "a request's head can be read alone": _a_head_can_be_read_alone,
    "WebSocket frames can be read alone": _frames_can_be_read_alone,
    "aiohttp's handler has the parts that it had": _the_handler_is_what_it_was,
    "asyncio's TLS has a buffer of a size that can be set": _tls_has_a_buffer_of_a_size,
}
