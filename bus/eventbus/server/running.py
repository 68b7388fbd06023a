"""How an app is served: aiohttp's runner, and what it may write into the program's log."""

from __future__ import annotations

import asyncio
import logging
import resource
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from socket import socket
from ssl import SSLContext
from typing import Any, cast

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from ..config import Settings
from ..edges.parts import EDGES
from ..edges.refusals import ProblemHandler
from ..limits.open_files import capacity_of
from ..limits.turns import Turns
from ..limits.websockets import share_of_a_host
from ..services import Services
from .aiohttp_inside import HttpProtocol, shrink_tls_buffers
from .assumptions import broken_assumptions
from .door import Connection, Door
from .listening import BACKLOG
from .plain_requests import KEEP_ALIVE, ShortCut

FINISHING = 1.0
"""Seconds that a request under way has to finish when the server stops."""

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
    return web.AppRunner(app, shutdown_timeout=FINISHING, **_http_options())


class Serving:
    """An app that takes connections.

    Args:
        servers: They listen.
        short_cut: The connections that it answers past aiohttp, if it does.
    """

    def __init__(self, servers: Sequence[asyncio.Server], short_cut: ShortCut | None) -> None:
        self._servers = servers
        self._short_cut = short_cut

    async def stop(self) -> None:
        """Take no more connections; each that has been accepted is made first, so that it can be ended like the others.

        A server that is closed meanwhile would lose it, with a traceback (python/cpython#109564).
        """
        loop = asyncio.get_running_loop()
        for server in self._servers:
            for listening in server.sockets:
                loop.remove_reader(listening)
        for _ in range(TURNS_TO_CONNECT):
            await asyncio.sleep(0)
        for server in self._servers:
            server.close()
        if self._short_cut:
            await self._short_cut.close()


async def serve(
    runner: web.AppRunner,
    sockets: Iterable[socket],
    *,
    settings: Settings,
    services: Services | None = None,
    tls: SSLContext | None = None,
) -> Serving:
    """Take the connections that come to these sockets, which share one count for each host.

    Args:
        runner: It runs an app. The bus's is answered past aiohttp where that may be, and a setting does not forbid it.
        sockets: They listen.
        settings: Limits.
        services: They find room where others do not.
        tls: How to encrypt, if at all.
    """
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    total = capacity_of(files if files > 0 else MANY_FILES)
    # As many again as a host may have WebSockets, but never all that there may be.
    most = min(2 * share_of_a_host(settings.max_connections), total * 3 // 4)
    broken = await broken_assumptions() if settings.fast_path else []
    for assumption in broken:
        logger.warning(
            "this aiohttp or Python is not as expected: %s no longer; the bus does without, slower", assumption
        )
    first, short_cut = _stages(runner, fast_path=settings.fast_path and not broken)
    door = Door(first, most=most, total=total, services=services, proxies=settings.trusted_proxies, tls=tls)
    loop = asyncio.get_running_loop()
    servers = []
    for listening in sockets:
        server = await loop.create_server(
            door,
            sock=listening,
            backlog=ACCEPTED_AT_ONCE,
        )
        listening.listen(BACKLOG)  # asyncio takes what it was told for both, and set this to it
        servers.append(server)
    return Serving(servers, short_cut)


class _PublicHandler(ProblemHandler):
    """aiohttp's own side of a connection."""

    def __init__(self, server: web.Server, connection: Connection) -> None:
        super().__init__(server, loop=asyncio.get_running_loop(), **_http_options())
        self._connection = connection

    def data_received(self, data: bytes) -> None:
        if b"\r\n\r\n" in data:
            self._connection.asked()
        super().data_received(data)


def _http_options() -> dict[str, Any]:
    return {
        "access_log": None,
        "logger": logger,
        "keepalive_timeout": KEEP_ALIVE,
        "read_bufsize": READ_AHEAD,
        "auto_decompress": False,  # a small body could unfold to a huge one
    }


def _stages(
    runner: web.AppRunner, *, fast_path: bool
) -> tuple[Callable[[Connection], asyncio.Protocol], ShortCut | None]:
    """Tell what speaks with the other side of a connection at first."""
    server = cast(web.Server, runner.server)
    if not fast_path:
        return lambda connection: _PublicHandler(server, connection), None
    turns = Turns()

    def http(connection: Connection) -> HttpProtocol:
        return HttpProtocol(server, turns, connection, **_http_options())

    edges = runner.app.get(EDGES)
    short_cut = ShortCut(edges, http) if edges else None
    return short_cut or http, short_cut


def expect_many_connections() -> None:
    """Let this process have as many open files as it may, and bear it calmly when they are not enough."""
    allowed, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MANY_FILES if most == resource.RLIM_INFINITY else most  # macOS says so, and does not mean it
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(wanted, allowed), most))
    asyncio.get_running_loop().set_exception_handler(_Shortages())
    shrink_tls_buffers()


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
