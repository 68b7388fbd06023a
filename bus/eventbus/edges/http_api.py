"""The HTTP edge: publishing and reading events, and whether the bus lives.

A handler is a recipe; what its steps raise becomes an answer in `answer_problems`.
"""

from __future__ import annotations

from collections.abc import Collection

from aiohttp import web
from msgspec.json import encode
from multidict import CIMultiDictProxy

from ..limits.hosts import Network
from ..log import Appended, Log
from ..problems import NoRight, Stopping
from ..publishing import Publishing, is_batch
from ..routing import Service
from ..services import Services
from .requests import check_epoch, names_within, read_body, sender, whole_number


class HttpApi:
    """The requests that the bus answers.

    Args:
        publishing: What happens to an event that comes in.
        log: Where events are read.
        services: Which services may publish and read.
        proxies: Where web servers may stand that speak for others.

    Attributes:
        publishing: As above.
        draining: True once the bus is about to stop: it takes nothing more.
    """

    def __init__(self, *, publishing: Publishing, log: Log, services: Services, proxies: Collection[Network]) -> None:
        self.publishing = publishing
        self._log = log
        self._services = services
        self._proxies = proxies
        self.draining = False

    async def publish(self, request: web.Request) -> web.Response:
        """POST /: answer once the event is durable; delivery follows the log."""
        if self.draining:
            raise Stopping("the bus is stopping; send the event again, with the same id")
        service, host = self.publisher(request.headers), sender(request, trusted_proxies=self._proxies)
        with self.publishing.room(service, host=host) as hold:
            return _json(await self.publish_body(await read_body(request, hold), service, host=host))

    async def publish_body(self, body: bytes, service: Service | None, *, host: str) -> bytes:
        """Publish the event, or the batch of events, that a body holds; return the answer as JSON."""
        if is_batch(body):
            appended = await self.publishing.publish_batch(body, service, host=host)
            return encode({"events": [_receipt(each) for each in appended]})
        return encode(_receipt(await self.publishing.publish(body, service, host=host)))

    async def read(self, request: web.Request) -> web.Response:
        """GET /events: what the log holds, for services."""
        service = self._service(request.headers)
        check_epoch(request, self._log.epoch)
        after, limit = whole_number(request, "after", 0), whole_number(request, "limit", 100)
        names, address = names_within(request, service.subscribe), request.query.get("identifier")
        events = await self._log.read(after=after, limit=min(limit, 1000), names=names, address=address)
        return _json(b"[%b]" % b",".join([event.json for event in events]), {"EventBus-Epoch": self._log.epoch})

    async def healthz(self, _request: web.Request) -> web.Response:
        """GET /healthz: the process lives."""
        return _json(encode({"status": "alive"}))

    async def readyz(self, _request: web.Request) -> web.Response:
        """GET /readyz: the log can be written."""
        if self.draining:
            raise Stopping("the bus is stopping")
        await self._log.check()
        return _json(encode({"status": "ready"}))

    def publisher(self, headers: CIMultiDictProxy[str]) -> Service | None:
        """Find out which service sends a request; None for a client, which says nothing in its headers."""
        return self._service(headers) if "Authorization" in headers else None

    def _service(self, headers: CIMultiDictProxy[str]) -> Service:
        service = self._services.with_header(headers.getall("Authorization", []))
        if service is None:
            said = "holds no service's token" if "Authorization" in headers else "is missing"
            raise NoRight(f"the Authorization header {said}; the services file tells which there are")
        return service


def _json(body: bytes, headers: dict[str, str] | None = None) -> web.Response:
    return web.Response(body=body, content_type="application/json", headers=headers)


def _receipt(appended: Appended) -> dict[str, str | int | bool]:
    receipt: dict[str, str | int | bool] = {"id": appended.id, "seq": appended.seq}
    return receipt | {"duplicate": True} if appended.duplicate else receipt
