"""The HTTP edge: publishing and reading events, and whether the bus lives.

A handler is a recipe; what its steps raise becomes an answer in `answer_problems`.
"""

from __future__ import annotations

import asyncio
import logging

import msgspec
from aiohttp import web

from .config import Settings
from .event import Draft, decode_draft, encode_event
from .identities import Identities, address_of
from .log import Appended, Log, Publisher
from .problems import NoRight, NotAllowed, NotJson, TooLarge, TooSlow, Unavailable
from .query import names_within, whole_number
from .routing import Service
from .services import Services

logger = logging.getLogger("eventbus")

OWN_NAMES = "eventbus."
"""The bus's own events begin with this; nobody else may publish one."""

BODY_TIMEOUT = 30.0
"""Seconds that a body may take to come."""


class HttpApi:
    """The requests that the bus answers.

    Args:
        log: Where events go.
        identities: Whose clients may publish.
        services: Which services may publish and read.
        settings: Limits, and what clients may publish.

    Attributes:
        draining: True once the bus is about to stop: it takes nothing more.
    """

    def __init__(self, *, log: Log, identities: Identities, services: Services, settings: Settings) -> None:
        self._log = log
        self._identities = identities
        self._services = services
        self._settings = settings
        self.draining = False

    async def publish(self, request: web.Request) -> web.Response:
        """POST /: answer once the event is durable; delivery follows the log."""
        if self.draining:
            raise Unavailable("the bus is stopping; send the event again, with the same id")
        draft = decode_draft(await _body(request), max_size=self._settings.max_event)
        publisher = await self._authorize(request, draft)
        [appended] = await self._log.append([(_addressed(draft), publisher)])
        return _json(_receipt(appended))

    async def read(self, request: web.Request) -> web.Response:
        """GET /events: what the log holds, for services."""
        service = self._service(request)
        after, limit = whole_number(request, "after", 0), whole_number(request, "limit", 100)
        names, address = names_within(request, service.subscribe), request.query.get("identifier")
        events = await self._log.read(after=after, limit=min(limit, 1000), names=names, address=address)
        return web.Response(body=b"[%b]" % b",".join(map(encode_event, events)), content_type="application/json")

    async def healthz(self, _request: web.Request) -> web.Response:
        """GET /healthz: the process lives."""
        return _json({"status": "alive"})

    async def readyz(self, _request: web.Request) -> web.Response:
        """GET /readyz: the log can be written."""
        if self.draining:
            raise Unavailable("the bus is stopping")
        await self._log.check()
        return _json({"status": "ready"})

    async def _authorize(self, request: web.Request, draft: Draft) -> Publisher:
        """Find out who publishes, and whether it may publish this.

        Raises:
            NoRight: No service's token in the header, and no client's in the context.
            NotAllowed: Not this name.
        """
        if "Authorization" in request.headers:
            service = self._service(request)
            publisher, names = Publisher(source=service.name, scope=f"service {service.name}"), service.publish
        else:
            publisher, names = await self._client(draft), self._settings.client_events
        if draft.name not in names or draft.name.startswith(OWN_NAMES):
            raise NotAllowed(f"{publisher.source!r} may not publish {draft.name!r}, only {names}")
        return publisher

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

    async def _client(self, draft: Draft) -> Publisher:
        identifier = draft.context.get("identifier", "")
        if not await self._identities.use(identifier):
            raise NoRight(
                "context.identifier is not a token that the bus issued, or it has expired; "
                "identify over /ws to get one, or send a service's token as Authorization"
            )
        return Publisher(source="client", scope=address_of(identifier))


def _json(value: object) -> web.Response:
    return web.Response(body=msgspec.json.encode(value), content_type="application/json")


def _receipt(appended: Appended) -> dict[str, str | int | bool]:
    receipt: dict[str, str | int | bool] = {"id": appended.id, "seq": appended.seq}
    return receipt | {"duplicate": True} if appended.duplicate else receipt


async def _body(request: web.Request) -> bytes:
    encoding = request.headers.get("Content-Encoding", "identity")
    if encoding.lower() != "identity":  # a small body could unfold to a huge one, and keep the bus busy with it
        raise NotJson(f"the body is compressed ({encoding!r}); send it as it is")
    try:
        async with asyncio.timeout(BODY_TIMEOUT):
            return await request.read()
    except web.HTTPRequestEntityTooLarge as error:
        raise TooLarge(str(error.text)) from None
    except TimeoutError:
        raise TooSlow(f"the body was not complete after {BODY_TIMEOUT} s") from None
    except (web.RequestPayloadError, ConnectionError) as error:
        raise NotJson(f"the body could not be read: {error}") from None


def _addressed(draft: Draft) -> Draft:
    """Write the client's address where its token stood, so that the log never holds a secret."""
    identifier = draft.context.get("identifier")
    if identifier is None:
        return draft
    return msgspec.structs.replace(draft, context=draft.context | {"identifier": address_of(identifier)})
