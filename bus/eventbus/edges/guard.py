"""Whom the bus hears at all: whatever its handlers do, they do not do it for pages of other sites."""

from __future__ import annotations

from aiohttp import web
from aiohttp.typedefs import Handler
from multidict import CIMultiDictProxy

from ..authorization import Authorization
from .cors import Cors
from .own_hosts import Hosts

FOR_EVERYBODY = ("/healthz", "/readyz")
"""They say nothing that is worth knowing, and are asked by whatever watches over the bus."""


class Guard:
    """Refuses requests by their ``Host``, and those that would add something by their ``Origin``.

    Args:
        hosts: The bus's names.
        cors: The pages that may use it.
        authorization: Services may call the bus by any name.
    """

    def __init__(self, *, hosts: Hosts, cors: Cors, authorization: Authorization) -> None:
        self._hosts = hosts
        self._cors = cors
        self._authorization = authorization

    def check(self, headers: CIMultiDictProxy[str], *, method: str, target: str = "") -> None:
        """Look at a request's headers.

        Args:
            headers: All of them.
            method: Such as ``"POST"``.
            target: The host in the request's target, if that is a whole URL.

        Raises:
            NotAllowed: The request is not for the bus, or comes from a page that is not allowed.
        """
        is_trusted = self._authorization.is_service(headers.getall("Authorization", []))
        self._hosts.check(headers.getall("Host", []), target=target, is_trusted=is_trusted)
        if method == "POST":
            self._cors.check(headers)

    @web.middleware
    async def middleware(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Look at every request before its handler does."""
        if request.path not in FOR_EVERYBODY:
            self.check(request.headers, method=request.method, target=_target(request))
        return await handler(request)


def _target(request: web.Request) -> str:
    """Tell the host in a request's target, if that is a whole URL."""
    is_url = "://" in request.raw_path and not request.raw_path.startswith("/")
    return request.url.host_subcomponent or "" if is_url else ""
