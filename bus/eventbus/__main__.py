"""Start the bus: ``eventbus``, or ``python -m eventbus``. Its settings come from the environment alone."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import Sequence

from aiohttp import web

from .app import TASKS, create_app, protocol_of
from .config import WILDCARD_HOSTS, ConfigError, Settings, origin
from .garbage import look_rarely
from .listening import listen
from .log import open_log
from .services import load_services
from .serving import create_runner, expect_many_connections, serve, stop_signal
from .tls import open_tls

STOPPING = 3.5
"""Seconds until an end that is not reached well is made: process managers kill after 5."""

logger = logging.getLogger("eventbus")


def main() -> None:
    """Run until SIGTERM or SIGINT, and drain: exit status 0. A wrong setting: one line, exit status 2."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        asyncio.run(_serve(Settings.from_env(os.environ)))
    except ConfigError as error:
        logger.error("%s", error)  # noqa: TRY400 - one line, no traceback
        sys.exit(2)


async def _serve(settings: Settings) -> None:
    for line in settings.unknown:
        logger.warning("%s", line)
    services = load_services(settings.services, os.environ)
    tls = open_tls(settings)
    sockets = listen(settings.host, settings.port, setting="HTTP_EVENTBUS_SERVER")
    log = open_log(settings.log, window=settings.deduplication_seconds)
    app = create_app(log=log, services=services, settings=settings)
    stop = stop_signal()
    expect_many_connections()
    runner = create_runner(app)
    await runner.setup()
    look_rarely()
    servers: list[asyncio.Server] = []
    try:
        servers += await serve(protocol_of(runner), sockets, settings=settings, tls=tls)
        logger.info("bus ready at %s, log in %s", _where(settings), settings.log)
        await _until_stopped(app, stop)
        logger.info("bus stopping")
        await _stop(runner, servers)
    finally:
        for server in servers:
            server.close()
        await runner.cleanup()


def _where(settings: Settings) -> str:
    """Say where browsers find the bus and, if that is another place, where it listens."""
    host, own = settings.host, origin(settings.host, settings.port, settings.scheme)
    if host not in WILDCARD_HOSTS and settings.public_url == own:
        return own
    return f"{settings.public_url}, listening on {host} port {settings.port}"


async def _stop(runner: web.AppRunner, servers: Sequence[asyncio.Server]) -> None:
    """Drain, and end in time: a process manager would kill a second later, and what is answered is on the disk."""
    try:
        async with asyncio.timeout(STOPPING):
            await runner.shutdown()  # while it still listens, so that new publishes are answered: not now
            for server in servers:
                server.close()
            await runner.cleanup()
    except TimeoutError:
        logger.warning("bus stopped before everything was closed")
        logging.shutdown()
        os._exit(0)  # a thread that waits for the disk would hold up any other way out


async def _until_stopped(app: web.Application, stop: asyncio.Event) -> None:
    """Wait for a signal; if something that must run for ever ends, that is a defect, and raised."""
    stopped = asyncio.create_task(stop.wait())
    done, _ = await asyncio.wait([stopped, *app[TASKS]], return_when=asyncio.FIRST_COMPLETED)
    for task in done - {stopped}:
        task.result()


if __name__ == "__main__":
    main()
