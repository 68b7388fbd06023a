"""The HTTP edge: publishing events, and whether the bus lives.

A handler is a recipe; what its steps raise becomes an answer in `answer_problems`.
"""

from __future__ import annotations

from collections.abc import Callable

from aiohttp import web
from msgspec.json import encode
from multidict import CIMultiDictProxy

from ..authorization import Authorization
from ..log import Log
from ..problems import Stopping
from ..publishing import Publish
from ..routing import Service
from .requests import HoldBytes, read_body


class HttpApi:
    """The requests that the bus answers.

    Args:
        authorization: Which services may publish.
        publish_body: The way into the log.
        log: Where events are kept.
        hold_bytes: Bounds what requests may hold together.
        sender: Tells which host sent a request, perhaps by way of a proxy.

    Attributes:
        authorization: As above.
        publish_body: As above.
        hold_bytes: As above.
        stopping: True once the bus is about to stop: it takes nothing more.
    """

    def __init__(
        self,
        *,
        authorization: Authorization,
        publish_body: Publish,
        log: Log,
        hold_bytes: HoldBytes,
        sender: Callable[[web.Request], str],
    ) -> None:
        self.authorization = authorization
        self.publish_body = publish_body
        self.hold_bytes = hold_bytes
        self._log = log
        self._sender = sender
        self.stopping = False

    async def publish(self, request: web.Request) -> web.Response:
        """POST /: answer once the event is durable; delivery follows the log."""
        if self.stopping:
            raise Stopping("the bus is stopping; send the event again, with the same id")
        service = self.publisher(request.headers)
        host = self._sender(request)
        with self.hold_bytes(service, host=host) as hold:
            body = await read_body(request, hold)
            receipt = await self.publish_body(body, service, host=host)
            return _json(encode(receipt))

    def publisher(self, headers: CIMultiDictProxy[str]) -> Service | None:
        """Find out which service sends a request; None for a client, which says nothing in its headers."""
        authorization = headers.getall("Authorization", [])
        return self.authorization.service(authorization) if authorization else None

    async def healthz(self, _request: web.Request) -> web.Response:
        """GET /healthz: the process lives."""
        return _json(encode({"status": "alive"}))

    async def readyz(self, _request: web.Request) -> web.Response:
        """GET /readyz: the log can be written."""
        if self.stopping:
            raise Stopping("the bus is stopping")
        await self._log.check()
        return _json(encode({"status": "ready"}))


def _json(body: bytes) -> web.Response:
    return web.Response(body=body, content_type="application/json")
