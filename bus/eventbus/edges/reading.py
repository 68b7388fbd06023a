"""Reading the log over HTTP: ``GET /events``, for services."""

from __future__ import annotations

from aiohttp import web

from ..authorization import Authorization
from ..log import Log
from .queries import check_epoch, names_within, whole_number


class Reading:
    """Answers what the log holds.

    Args:
        authorization: Which services may read.
        log: Where events are read.
    """

    def __init__(self, *, authorization: Authorization, log: Log) -> None:
        self._authorization = authorization
        self._log = log

    async def read(self, request: web.Request) -> web.Response:
        """GET /events: what the log holds, for services."""
        service = self._authorization.service(request.headers.getall("Authorization", []))
        check_epoch(request, self._log.epoch)
        after, limit = whole_number(request, "after", 0), whole_number(request, "limit", 100)
        names, address = names_within(request, service.subscribe), request.query.get("identifier")
        events = await self._log.read(after=after, limit=min(limit, 1000), names=names, address=address)
        body = b"[%b]" % b",".join([event.json for event in events])
        epoch = {"EventBus-Epoch": self._log.epoch}
        return web.Response(body=body, content_type="application/json", headers=epoch)
