"""What a person sees who opens the bus itself in a browser."""

from __future__ import annotations

from aiohttp import web
from aiohttp.typedefs import Handler

from ..config import WILDCARD_HOSTS, Settings
from ..environment import origin


def welcome(settings: Settings, otherwise: Handler) -> Handler:
    """Make what answers ``GET /``: a browser is told where the page is, everybody else gets what it gets otherwise."""
    words = f"This is an event bus: it speaks with programs. The page is at {_page(settings)}\n"

    async def answer(request: web.Request) -> web.StreamResponse:
        if "text/html" in request.headers.get("Accept", "") and "Authorization" not in request.headers:
            return web.Response(text=words)
        return await otherwise(request)

    return answer


def _page(settings: Settings) -> str:
    """Tell where the page is: at the static site, unless only pages from elsewhere may use the bus."""
    host = "localhost" if settings.file_server_host in WILDCARD_HOSTS else settings.file_server_host
    own = origin(host, settings.file_server_port, settings.scheme)
    return own if own in settings.allowed_origins else min(settings.allowed_origins)
