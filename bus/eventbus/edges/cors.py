"""CORS: which pages, by their origin, a browser lets talk to the bus (https://fetch.spec.whatwg.org/#http-cors-protocol)."""

from __future__ import annotations

from aiohttp import web
from multidict import CIMultiDictProxy

from ..problems import NotAllowed
from .once import Once
from .refusals import OF_ALL_ANSWERS

MAX_AGE = 7200
"""Seconds that a browser may keep a preflight's answer; no browser keeps it longer."""


class Cors:
    """The origins that are allowed, each named back alone: never ``*``, and ``null`` is not one.

    Args:
        origins: Such as ``{"http://localhost:3000"}``.
    """

    def __init__(self, origins: frozenset[str]) -> None:
        self._origins = origins
        self._once = Once()

    def refuses(self, headers: CIMultiDictProxy[str]) -> bool:
        """Does a request come from a page that is not allowed? Programs other than browsers send no origin."""
        return not self._origins.issuperset(headers.getall("Origin", []))

    def check(self, headers: CIMultiDictProxy[str]) -> None:
        """Say once for each page that it is refused: a browser tells nobody why a WebSocket failed.

        Raises:
            NotAllowed: The page is not allowed.
        """
        if not self.refuses(headers):
            return
        refusal = f"pages from {headers['Origin']} may not connect; see EVENTBUS_ALLOWED_ORIGINS"
        raise NotAllowed(self._once.warn(refusal))

    def headers(self, headers: CIMultiDictProxy[str]) -> dict[str, str]:
        """Make what lets the page read the answer to a request that has these headers."""
        allowed = {"Vary": "Origin"}
        if "Origin" in headers and not self.refuses(headers):
            allowed["Access-Control-Allow-Origin"] = headers["Origin"]
            allowed["Access-Control-Expose-Headers"] = "Retry-After"
        return allowed

    async def add_headers(self, request: web.Request, response: web.StreamResponse) -> None:
        """Let the page read the response: on errors too, or the browser hides them."""
        response.headers.update({**OF_ALL_ANSWERS, **self.headers(request.headers)})

    async def preflight(self, request: web.Request) -> web.Response:
        """OPTIONS: tell a browser what a page may send; without an allowed origin it will send nothing."""
        headers = {
            "Access-Control-Allow-Methods": "GET, POST, OPTIONS",
            "Access-Control-Allow-Headers": "Content-Type, Authorization",
            "Access-Control-Max-Age": str(MAX_AGE),
        }
        return web.Response(status=204, headers={} if self.refuses(request.headers) else headers)
