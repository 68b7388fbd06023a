"""What happens to events that come in: are they some, may their publisher publish them, and into the log with them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache

import msgspec

from .config import Settings
from .event import Draft, check, decode_draft, decode_text
from .identities import Identities, address_of
from .limits import request_bytes as budget
from .limits.publish_rate import ClientRate
from .log import Appended, Entry, Log, Publisher
from .patterns import OWN
from .problems import LogUnavailable, NoRight, NotAllowed, NotAnEvent, NotJson, Problem, TooLarge
from .routing import Service

CLIENT = "client"
"""The ``source`` of clients' events."""

_many = msgspec.json.Decoder(list[Draft])
_split = msgspec.json.Decoder(list[msgspec.Raw])


def is_batch(body: bytes) -> bool:
    """Is this an array of events, not one event?"""
    return body.lstrip(b" \t\r\n").startswith(b"[")


class Publishing:
    """The way into the log.

    Args:
        log: Where events go.
        identities: Whose clients may publish.
        rate: How fast clients may publish.
        settings: How much a request may hold, and what clients may publish.
    """

    def __init__(self, *, log: Log, identities: Identities, rate: ClientRate, settings: Settings) -> None:
        self._log = log
        self._identities = identities
        self._settings = settings
        self._rate = rate
        self._services = budget.Budget(budget.MAX_HELD)
        self._others = budget.Budget(budget.MAX_HELD, share=1 / 8)

    def room(self, service: Service | None, *, host: str) -> budget.Hold:
        """Keep room for a request, as much as has come of it, until it is answered.

        Services have theirs apart, and a host has a share: anybody at all can begin to send a body and never end.
        """
        return (self._services if service else self._others).hold(host=host)

    async def publish(self, body: bytes, service: Service | None, *, host: str) -> Appended:
        """Append the event that a request holds; it is durable when this returns.

        Args:
            body: The event, as JSON.
            service: Who publishes; none for a client, which is told by the token in the event's context.
            host: The machine that the request came from.

        Raises:
            Problem: What is wrong with the event, or with who publishes it.
        """
        draft = decode_draft(body, max_size=self._settings.max_event)
        [appended] = await self._append([await self._entry(draft, service)], host=host, size=len(body))
        return appended

    async def publish_batch(self, body: bytes, service: Service | None, *, host: str) -> list[Appended]:
        """Append all events of an array, or none of them; otherwise like `publish`.

        Raises:
            Problem: What is wrong with the first wrong one, which is named by its index from 0.
        """
        drafts = self._drafts(body)
        entries: list[Entry] = []
        try:
            for draft in drafts:
                entries.append(await self._entry(draft, service))  # noqa: PERF401 - their number names the wrong one
        except Problem as problem:
            problem.detail = f"event {len(entries)} of the batch: {problem.detail}"
            raise
        return await self._append(entries, host=host, size=len(body))

    def _drafts(self, body: bytes) -> Iterable[Draft]:
        """Read the events of a batch; if one is wrong, that is raised when it is its turn."""
        text, most = decode_text(body), self._settings.max_event
        if len(body) <= most and (drafts := _decode_many(text)) is not None:
            self._check_count(drafts)
            return drafts
        parts = _split_batch(text)
        self._check_count(parts)
        return (decode_draft(part, max_size=most) for part in parts)

    def _check_count(self, batch: Sequence[object]) -> None:
        if not batch:
            raise NotAnEvent("the batch is empty; it holds one event or more")
        if len(batch) > self._settings.max_batch:
            raise TooLarge(f"the batch has {len(batch)} events; the limit is {self._settings.max_batch}")

    async def _entry(self, draft: Draft, service: Service | None) -> Entry:
        """Find out who publishes, and whether it may publish this.

        Raises:
            NoRight: No service, and no client's token in the context.
            NotAllowed: Not this name.
        """
        identifier = draft.context.get("identifier", "")
        if service:
            publisher, names = _publisher_of_service(service.name), service.publish
            address = address_of(identifier)
        else:
            address = await self._client(identifier)
            publisher, names = Publisher(source=CLIENT, scope=address), self._settings.client_events
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

    async def _append(self, entries: list[Entry], *, host: str, size: int) -> list[Appended]:
        """Append, unless clients are too fast.

        Raises:
            TooFast: A client, or all of a host.
            LogUnavailable: The log cannot take it now.
        """
        counted = _clients_of(entries)
        if counted:
            self._rate.take(counted, host=host, size=size)
        try:
            return await self._log.append(entries)
        except LogUnavailable:
            self._rate.give_back(counted, host=host, size=size)
            raise


@lru_cache(maxsize=1024)  # for each event of a service it is the same
def _publisher_of_service(name: str) -> Publisher:
    return Publisher(source=name, scope=f"service {name}")


def _decode_many(text: str) -> list[Draft] | None:
    """Read an array of events at once, in half the time; None if one of them is wrong, which `decode_draft` tells."""
    try:
        drafts = _many.decode(text)
        for draft in drafts:
            check(draft)
    except (msgspec.DecodeError, NotAnEvent):
        return None
    return drafts


def _split_batch(text: str) -> list[msgspec.Raw]:
    try:
        return _split.decode(text)
    except msgspec.DecodeError as error:
        raise NotJson(str(error)) from None


def _clients_of(entries: Sequence[Entry]) -> Mapping[str, int]:
    """Count the events of each client; most requests are of services, and a `Counter` takes as long as all the rest."""
    scopes = [publisher.scope for _, publisher in entries if publisher.source == CLIENT]
    return Counter(scopes) if scopes else {}
