"""Authorization: the one place where a token is judged, over HTTP and over WebSocket, and what its holder may publish.

A service proves itself with a token of the services file, a client with the token that the bus gave it.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import msgspec

from .event import Draft
from .identities import Identities, address_of
from .log import Entry, Publisher
from .patterns import OWN, Patterns
from .problems import NoRight, NotAllowed
from .routing import Service
from .services import Services

CLIENT = "client"
"""The ``source`` of clients' events."""


class Authorization:
    """Knows who may do what.

    Args:
        services: The services, each under its token.
        identities: The clients.
        client_events: Names that clients may publish.
    """

    def __init__(self, *, services: Services, identities: Identities, client_events: Patterns) -> None:
        self._services = services
        self._identities = identities
        self._client_events = client_events

    def is_service(self, authorization: Sequence[str]) -> bool:
        """Do these Authorization headers hold a service's token?"""
        return self._services.with_header(authorization) is not None

    def service(self, authorization: Sequence[str]) -> Service:
        """Find the service that sends these Authorization headers.

        Raises:
            NoRight: There is none.
        """
        service = self._services.with_header(authorization)
        if service is None:
            said = "holds no service's token" if authorization else "is missing"
            raise NoRight(f"the Authorization header {said}; the services file tells which there are")
        return service

    def service_with(self, credentials: object) -> Service:
        """Find the service that names these credentials over a WebSocket; only a string can be right.

        Raises:
            NoRight: There is none.
        """
        service = self._services.with_token(credentials) if isinstance(credentials, str) else None
        if service is None:
            raise NoRight("wrong credentials; see the services file")
        return service

    async def entry(self, draft: Draft, service: Service | None) -> Entry:
        """Decide who publishes an event, and whether that publisher may; make of it what the log stores.

        Args:
            draft: The event. A client's holds the client's token in its context.
            service: Who publishes; None for a client.

        Raises:
            NoRight: Neither a service, nor a client's token in the context.
            NotAllowed: The publisher may not publish this name.
        """
        identifier = draft.context.get("identifier", "")
        if service:
            publisher, names = _publisher_of_service(service.name), service.publish
            address = address_of(identifier)
        else:
            address = await self._client(identifier)
            publisher, names = Publisher(source=CLIENT, scope=address), self._client_events
        if draft.name.startswith(OWN):
            raise NotAllowed(f"nobody but the bus may publish {draft.name!r}: what begins with {OWN!r} is its own")
        if draft.name not in names:
            raise NotAllowed(f"{publisher.source!r} may not publish {draft.name!r}, only {names}")
        if address != identifier:  # a token: the log never holds a secret
            draft = msgspec.structs.replace(draft, context=draft.context | {"identifier": address})
        return draft, publisher

    async def _client(self, token: str) -> str:
        if address := await self._identities.use(token):
            return address
        raise NoRight(
            "context.identifier is not a token that the bus issued, or it has expired; "
            "identify over /ws to get one, or send a service's token as Authorization"
        )


@lru_cache(maxsize=1024)  # for each event of a service it is the same
def _publisher_of_service(name: str) -> Publisher:
    return Publisher(source=name, scope=f"service {name}")
