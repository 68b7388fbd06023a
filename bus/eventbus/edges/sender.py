"""Which host sent a request, perhaps by way of a web server that stands in front of the bus."""

from __future__ import annotations

from collections.abc import Collection

from aiohttp import web

from ..limits.hosts import Network, sending_host


class Sender:
    """Tells the address of the host.

    Args:
        proxies: Where web servers may stand that speak for others.
    """

    def __init__(self, proxies: Collection[Network]) -> None:
        self._proxies = proxies

    def __call__(self, request: web.Request) -> str:
        """Tell which host a request counts for."""
        forwarded = request.headers.getall("X-Forwarded-For", [])
        return sending_host(request.remote or "", forwarded, trusted=self._proxies)
