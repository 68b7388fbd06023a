"""What happens to an event that comes in: is it one, may its publisher publish it, and into the log with it."""

from __future__ import annotations

import msgspec

from .config import Settings
from .event import Draft, decode_draft
from .identities import Identities, address_of
from .log import Appended, Log, Publisher
from .patterns import OWN
from .problems import NoRight, NotAllowed
from .routing import Service


class Publishing:
    """The way into the log.

    Args:
        log: Where events go.
        identities: Whose clients may publish.
        settings: How large an event may be, and what clients may publish.
    """

    def __init__(self, *, log: Log, identities: Identities, settings: Settings) -> None:
        self._log = log
        self._identities = identities
        self._settings = settings

    async def publish(self, body: bytes, service: Service | None) -> Appended:
        """Append the event that a request holds; it is durable when this returns.

        Args:
            body: The event, as JSON.
            service: Who publishes; none for a client, which is told by the token in the event's context.

        Raises:
            Problem: What is wrong with the event, or with who publishes it.
        """
        draft = decode_draft(body, max_size=self._settings.max_event)
        publisher = await self._authorize(draft, service)
        [appended] = await self._log.append([(_addressed(draft), publisher)])
        return appended

    async def _authorize(self, draft: Draft, service: Service | None) -> Publisher:
        """Find out who publishes, and whether it may publish this.

        Raises:
            NoRight: No service, and no client's token in the context.
            NotAllowed: Not this name.
        """
        if service:
            publisher, names = Publisher(source=service.name, scope=f"service {service.name}"), service.publish
        else:
            publisher, names = await self._client(draft), self._settings.client_events
        if draft.name not in names or draft.name.startswith(OWN):
            raise NotAllowed(f"{publisher.source!r} may not publish {draft.name!r}, only {names}")
        return publisher

    async def _client(self, draft: Draft) -> Publisher:
        identifier = draft.context.get("identifier", "")
        if not await self._identities.use(identifier):
            raise NoRight(
                "context.identifier is not a token that the bus issued, or it has expired; "
                "identify over /ws to get one, or send a service's token as Authorization"
            )
        return Publisher(source="client", scope=address_of(identifier))


def _addressed(draft: Draft) -> Draft:
    """Write the client's address where its token stood, so that the log never holds a secret."""
    identifier = draft.context.get("identifier")
    if identifier is None:
        return draft
    return msgspec.structs.replace(draft, context=draft.context | {"identifier": address_of(identifier)})
