"""Start the bus: ``eventbus``, or ``python -m eventbus``. Its settings come from the environment alone."""

from __future__ import annotations

import asyncio
import logging
import os
import sys

from aiohttp import web

from .app import TASKS, create_app
from .config import WILDCARD_HOSTS, Settings, is_loopback
from .environment import ConfigError, origin
from .log.by_url import open_log
from .server.command_line import read_command_line
from .server.garbage import look_rarely
from .server.listening import listen
from .server.runner import end_with
from .server.running import Serving, create_runner, expect_many_connections, serve
from .server.stopping import stop_signal
from .server.tls import open_tls
from .services_file import load_services

logger = logging.getLogger("eventbus")


def main() -> None:
    """Run until SIGTERM or SIGINT, and drain: exit status 0. A wrong setting: one line, exit status 2."""
    read_command_line("eventbus", "Run the event bus: HTTP in, a durable log, WebSockets out.")
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        asyncio.run(_serve(Settings.from_env(os.environ)))
    except ConfigError as error:
        logger.error("%s", error)  # noqa: TRY400 - one line, no traceback
        sys.exit(2)


async def _serve(settings: Settings) -> None:
    stop = stop_signal()  # before the log starts a thread
    end_with(settings.runner)
    for line in settings.unknown:
        logger.warning("%s", line)
    may_be_known = settings.allow_workshop_token or is_loopback(settings.host)
    reached = "" if may_be_known else f"HTTP_EVENTBUS_SERVER_HOST={settings.host}"
    services = load_services(settings.services, os.environ, reached_by_others=reached)
    tls = open_tls(settings)
    sockets = listen(settings.host, settings.port, setting="HTTP_EVENTBUS_SERVER")
    log = open_log(settings.log)
    app = create_app(log=log, services=services, settings=settings)
    expect_many_connections()
    runner = create_runner(app)
    await runner.setup()
    look_rarely()
    serving: Serving | None = None
    try:
        serving = await serve(runner, sockets, settings=settings, services=services, tls=tls)
        logger.info("bus ready at %s, log in %s", _where(settings), settings.log)
        await _until_stopped(app, stop)
        logger.info("bus stopping")
        await runner.shutdown()  # while it still listens, so that new publishes are answered: not now
    finally:
        if serving:
            await serving.stop()
        await runner.cleanup()


def _where(settings: Settings) -> str:
    """Say where browsers find the bus and, if that is another place, where it listens."""
    host, own = settings.host, origin(settings.host, settings.port, settings.scheme)
    if host not in WILDCARD_HOSTS and settings.public_url == own:
        return own
    return f"{settings.public_url}, listening on {host} port {settings.port}"


async def _until_stopped(app: web.Application, stop: asyncio.Event) -> None:
    """Wait for a signal; if something that must run for ever ends, that is a defect, and raised."""
    stopped = asyncio.create_task(stop.wait())
    done, _ = await asyncio.wait([stopped, *app[TASKS]], return_when=asyncio.FIRST_COMPLETED)
    for task in done - {stopped}:
        task.result()


if __name__ == "__main__":
    main()
