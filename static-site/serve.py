"""The static site without Docker: serves `public/` with the headers that nginx gives it in the container.

`nginx.conf.template` is its twin; `tests/test_headers.py` holds the two together.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from pathlib import Path

import eventbus  # noqa: F401 - before aiohttp: see its key_log

# isort: split
from aiohttp import web
from eventbus.config import WILDCARD_HOSTS, Settings
from eventbus.environment import ConfigError, origin
from eventbus.server.command_line import read_command_line
from eventbus.server.listening import listen
from eventbus.server.runner import end_with
from eventbus.server.running import create_runner, serve
from eventbus.server.stopping import stop_signal
from eventbus.server.tls import open_tls

PUBLIC = Path(__file__).resolve().parent / "public"

logger = logging.getLogger("static-site")


def main() -> None:
    """Run until SIGTERM or SIGINT: exit status 0. A wrong setting: one line, exit status 2."""
    read_command_line("serve.py", "Serve the page, and tell it where the bus is.")
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        asyncio.run(_serve(Settings.from_env(os.environ)))
    except ConfigError as error:
        logger.error("%s", error)  # noqa: TRY400 - one line, no traceback
        sys.exit(2)


async def _serve(settings: Settings) -> None:
    stop = stop_signal()  # before the first word: whoever reads it may send the signal
    end_with(settings.runner)
    tls = open_tls(settings)
    sockets = listen(settings.file_server_host, settings.file_server_port, setting="HTTP_FILE_SERVER")
    runner = create_runner(create_app(settings.public_url))
    await runner.setup()
    serving = await serve(runner, sockets, settings=settings, tls=tls)
    try:
        logger.info("Open %s in a browser", _address(settings))
        await stop.wait()
    finally:
        await serving.stop()
        await runner.cleanup()


def _address(settings: Settings) -> str:
    """Name an address of this site that the bus lets pages come from: from another one a page could not connect."""
    host = "localhost" if settings.file_server_host in WILDCARD_HOSTS else settings.file_server_host
    own = origin(host, settings.file_server_port, settings.scheme)
    return own if own in settings.allowed_origins else min(settings.allowed_origins)


def create_app(bus_url: str) -> web.Application:
    """Serve `public/`, and tell browsers where the bus is, such as ``"http://localhost:3001"``."""
    headers = site_headers(bus_url)

    async def config(_request: web.Request) -> web.Response:
        return web.json_response({"eventbus": bus_url}, headers={"Cache-Control": "no-store"})

    async def file(request: web.Request) -> web.FileResponse:
        path = PUBLIC / (request.match_info["path"] or "index.html")
        if not _is_servable(path):
            raise web.HTTPNotFound
        return web.FileResponse(path)

    async def add_headers(_request: web.Request, response: web.StreamResponse) -> None:
        for name, value in headers.items():
            response.headers.setdefault(name, value)

    app = web.Application()
    app.router.add_get("/config.json", config)
    app.router.add_get("/{path:.*}", file)
    app.on_response_prepare.append(add_headers)  # errors, too, come this way
    return app


def site_headers(bus_url: str) -> dict[str, str]:
    """Make the headers of every response. The policy names the bus's HTTP and WebSocket URLs, which CSP tells apart."""
    websocket_url = "ws" + bus_url.removeprefix("http")
    return {
        "Access-Control-Allow-Origin": bus_url,
        "Access-Control-Allow-Headers": "Content-Type",
        "Content-Security-Policy": (
            "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
            f"connect-src 'self' {bus_url} {websocket_url}; "
            "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        ),
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cache-Control": "no-cache",  # names hold no hash: ask each time, and 304 is the usual answer
    }


def _is_servable(path: Path) -> bool:
    """Whether this is a plain file in `public/`: no dotfile, no link wherever it leads, no way up."""
    try:
        if not path.is_file() or path.resolve() != path or not path.is_relative_to(PUBLIC):
            return False
    except (OSError, ValueError):  # no file can have such a name: it is too long, or holds a NUL
        return False
    return not any(part.startswith(".") for part in path.relative_to(PUBLIC).parts)


if __name__ == "__main__":
    main()
