"""Whom the bus hears at all: whatever its handlers do, they do not do it for pages of other sites."""

from __future__ import annotations

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from ..services import Services
from .cors import Cors
from .own_hosts import Hosts

FOR_EVERYBODY = ("/healthz", "/readyz")
"""They say nothing that is worth knowing, and are asked by whatever watches over the bus."""


def guard(*, hosts: Hosts, cors: Cors, services: Services) -> Middleware:
    """Make what refuses requests by their ``Host``, and those that would add something by their ``Origin``.

    Args:
        hosts: The bus's names.
        cors: The pages that may use it.
        services: They may call it by any name.
    """

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path not in FOR_EVERYBODY:
            is_trusted = services.with_header(request.headers.getall("Authorization", [])) is not None
            said = request.headers.getall("Host", [])
            hosts.check(said, target=_target(request), is_trusted=is_trusted)
            if request.method == "POST":
                cors.check(request.headers)
        return await handler(request)

    return check


def _target(request: web.Request) -> str:
    """Tell the host in a request's target, if that is a whole URL."""
    is_url = "://" in request.raw_path and not request.raw_path.startswith("/")
    return request.url.host_subcomponent or "" if is_url else ""
