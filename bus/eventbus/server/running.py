"""How an app is served: aiohttp's runner, and what it may write into the program's log."""

from __future__ import annotations

import asyncio
import logging
import resource
from asyncio import sslproto
from collections.abc import Callable, Iterable
from contextlib import suppress
from socket import socket
from ssl import SSLContext
from typing import Any, cast

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from ..config import Settings
from ..limits.open_files import capacity_of
from ..limits.turns import Turns
from ..limits.websockets import share_of_a_host
from ..services import Services
from .door import FIRST_WORD, GOODBYE, Acceptor
from .http_protocol import HttpProtocol
from .listening import BACKLOG

FINISHING = 1.0
"""Seconds that a request under way has to finish when the server stops."""

KEEP_ALIVE = 75.0
"""Seconds that a connection may stay open between two requests."""

READ_AHEAD = 64 * 1024
"""Bytes of a body that wait to be taken, twice of which no more is read."""

ACCEPTED_AT_ONCE = 32
"""Connections that are accepted before everything else has its turn."""

TURNS_TO_CONNECT = 2
"""Turns of the event loop from an accepted connection to a protocol that knows of it."""

TELL_EVERY = 10.0
"""Seconds between two lines about the same shortage."""

MANY_FILES = 10_240
"""As many as macOS lets a process have open."""

logger = logging.getLogger("eventbus.http")


def create_runner(app: web.Application) -> web.AppRunner:
    """Make the runner that serves an app: no line for each request, and none for what others do wrong."""
    logger.addFilter(_tells_of_a_defect)
    logging.getLogger("asyncio").addFilter(_tells_of_more_than_a_loss)
    logging.getLogger("aiohttp.websocket").setLevel(logging.ERROR)  # its warnings repeat what came: a token, perhaps
    return web.AppRunner(app, shutdown_timeout=FINISHING)


def http_protocols(runner: web.AppRunner) -> Callable[[], HttpProtocol]:
    """Return what makes the protocol that speaks HTTP with the other side of a connection to a runner's app."""
    server, turns = cast(web.Server, runner.server), Turns()
    return lambda: HttpProtocol(
        server,
        turns,
        access_log=None,
        logger=logger,
        keepalive_timeout=KEEP_ALIVE,
        read_bufsize=READ_AHEAD,
        auto_decompress=False,  # a small body could unfold to a huge one
    )


async def serve(
    protocol: Callable[[], asyncio.Protocol],
    sockets: Iterable[socket],
    *,
    settings: Settings,
    services: Services | None = None,
    tls: SSLContext | None = None,
) -> list[asyncio.Server]:
    """Take the connections that come to these sockets, which share one count for each host.

    Args:
        protocol: Makes what speaks with the other side of a connection at first.
        sockets: They listen.
        settings: Limits.
        services: They find room where others do not.
        tls: How to encrypt, if at all.
    """
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    total = capacity_of(files if files > 0 else MANY_FILES)
    # As many again as a host may have WebSockets, but never all that there may be.
    most = min(2 * share_of_a_host(settings.max_connections), total * 3 // 4)
    proxies = settings.trusted_proxies
    acceptor = Acceptor(protocol, most=most, total=total, services=services, proxies=proxies)
    loop = asyncio.get_running_loop()
    servers = []
    for listening in sockets:
        server = await loop.create_server(
            acceptor,
            sock=listening,
            backlog=ACCEPTED_AT_ONCE,
            ssl=tls,
            ssl_handshake_timeout=FIRST_WORD if tls else None,
            ssl_shutdown_timeout=GOODBYE if tls else None,
        )
        listening.listen(BACKLOG)  # asyncio takes what it was told for both, and set this to it
        servers.append(server)
    return servers


async def stop_listening(servers: Iterable[asyncio.Server]) -> None:
    """Take no more connections; each that has been accepted is made first, so that it can be ended like the others.

    A server that is closed meanwhile would lose it, with a traceback (python/cpython#109564).
    """
    loop = asyncio.get_running_loop()
    for server in servers:
        for listening in server.sockets:
            loop.remove_reader(listening)
    for _ in range(TURNS_TO_CONNECT):
        await asyncio.sleep(0)
    for server in servers:
        server.close()


def expect_many_connections() -> None:
    """Let this process have as many open files as it may, and bear it calmly when they are not enough."""
    allowed, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MANY_FILES if most == resource.RLIM_INFINITY else most  # macOS says so, and does not mean it
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(wanted, allowed), most))
    asyncio.get_running_loop().set_exception_handler(_Shortages())
    # Each TLS connection has a buffer of this size as long as it lives, a quarter of a MiB if nothing is said; no TLS
    # record holds more than 16 KiB (RFC 8446, 5.1).
    sslproto.SSLProtocol.max_size = 16 * 1024


class _Shortages:
    """Says that a connection could not be accepted in one line now and then; asyncio would fill the disk with them."""

    def __init__(self) -> None:
        self._silent_until = 0.0

    def __call__(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        if not isinstance(context.get("exception"), OSError) or "accept" not in context["message"]:
            loop.default_exception_handler(context)
        elif loop.time() >= self._silent_until:
            self._silent_until = loop.time() + TELL_EVERY
            logger.error("no more connections can be accepted: %s", context["exception"])


def _tells_of_a_defect(record: logging.LogRecord) -> bool:
    """Broken HTTP is no defect of ours, and aiohttp would show it as it came: a token, perhaps."""
    error = record.exc_info[1] if record.exc_info else None
    return not isinstance(error, HttpProcessingError | web.RequestPayloadError | ConnectionError)


def _tells_of_more_than_a_loss(record: logging.LogRecord) -> bool:
    """What is written to one who has just gone is lost in silence; over TLS, asyncio says so for each piece."""
    return record.msg not in ("socket.send() raised exception.", "SSL connection is closed")
