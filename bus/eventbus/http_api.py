"""The HTTP edge: publishing and reading events, and whether the bus lives.

A handler is a recipe; what its steps raise becomes an answer in `answer_problems`.
"""

from __future__ import annotations

from collections.abc import Collection

import msgspec
from aiohttp import web

from .forwarded import Network
from .incoming import names_within, read_body, sender, size_of_body, whole_number
from .log import Appended, Log
from .problems import NoRight, Unavailable
from .publishing import Publishing, is_batch
from .routing import Service
from .services import Services


class HttpApi:
    """The requests that the bus answers.

    Args:
        publishing: What happens to an event that comes in.
        log: Where events are read.
        services: Which services may publish and read.
        proxies: Where web servers may stand that speak for others.

    Attributes:
        draining: True once the bus is about to stop: it takes nothing more.
    """

    def __init__(self, *, publishing: Publishing, log: Log, services: Services, proxies: Collection[Network]) -> None:
        self._publishing = publishing
        self._log = log
        self._services = services
        self._proxies = proxies
        self.draining = False

    async def publish(self, request: web.Request) -> web.Response:
        """POST /: answer once the event is durable; delivery follows the log."""
        if self.draining:
            raise Unavailable("the bus is stopping; send the event again, with the same id")
        service = self._service(request) if "Authorization" in request.headers else None
        host = sender(request, trusted_proxies=self._proxies)
        with self._publishing.room(size_of_body(request), service, host=host):
            body = await read_body(request)
            if is_batch(body):
                appended = await self._publishing.publish_batch(body, service, host=host)
                return _json({"events": [_receipt(each) for each in appended]})
            return _json(_receipt(await self._publishing.publish(body, service, host=host)))

    async def read(self, request: web.Request) -> web.Response:
        """GET /events: what the log holds, for services."""
        service = self._service(request)
        after, limit = whole_number(request, "after", 0), whole_number(request, "limit", 100)
        names, address = names_within(request, service.subscribe), request.query.get("identifier")
        events = await self._log.read(after=after, limit=min(limit, 1000), names=names, address=address)
        return web.Response(body=b"[%b]" % b",".join([event.json for event in events]), content_type="application/json")

    async def healthz(self, _request: web.Request) -> web.Response:
        """GET /healthz: the process lives."""
        return _json({"status": "alive"})

    async def readyz(self, _request: web.Request) -> web.Response:
        """GET /readyz: the log can be written."""
        if self.draining:
            raise Unavailable("the bus is stopping")
        await self._log.check()
        return _json({"status": "ready"})

    def _service(self, request: web.Request) -> Service:
        """Find the service by ``TOKEN``, as in 2014, or ``Bearer TOKEN`` (RFC 6750, 2.1)."""
        headers = request.headers.getall("Authorization", [])
        authorization = headers[0] if len(headers) == 1 else ""
        scheme, _, rest = authorization.partition(" ")
        token = rest.strip() if scheme.lower() == "bearer" else authorization
        service = self._services.with_token(token)
        if service is None:
            raise NoRight("there is no Authorization header with a service's token; see the services file")
        return service


def _json(value: object) -> web.Response:
    return web.Response(body=msgspec.json.encode(value), content_type="application/json")


def _receipt(appended: Appended) -> dict[str, str | int | bool]:
    receipt: dict[str, str | int | bool] = {"id": appended.id, "seq": appended.seq}
    return receipt | {"duplicate": True} if appended.duplicate else receipt
