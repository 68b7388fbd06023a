"""Publishing: decodes the events of a request, authorizes their publisher, appends them to the log."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from .authorization import Authorization
from .batches import decode_batch, is_batch
from .event import decode_draft
from .log import Appended, Entry
from .problems import Problem
from .routing import Service


class Append(Protocol):
    """Appends to the log, all or none of the entries of one request."""

    async def __call__(self, entries: Sequence[Entry], *, host: str, size: int) -> list[Appended]:
        """Return once they are durable.

        Args:
            entries: The events, each with its publisher.
            host: The machine that the request came from.
            size: Bytes of the request.

        Raises:
            Problem: They cannot be appended now.
        """


class Publish(Protocol):
    """The way in for a request's body; see `Publishing.publish`."""

    async def __call__(self, body: bytes, service: Service | None, *, host: str) -> Appended | Receipts:
        """Publish what the body holds."""


class Receipts(msgspec.Struct, frozen=True):
    """The answer to a batch.

    Attributes:
        events: Where each of its events stands in the log, in their order.
    """

    events: list[Appended]


class Publishing:
    """The way into the log.

    Args:
        authorization: Who may publish what.
        append: Stores events.
        max_event: Largest event, in bytes of JSON.
        max_batch: Most events of a request.
    """

    def __init__(self, *, authorization: Authorization, append: Append, max_event: int, max_batch: int) -> None:
        self._authorization = authorization
        self._append = append
        self._max_event = max_event
        self._max_batch = max_batch

    async def publish(self, body: bytes, service: Service | None, *, host: str) -> Appended | Receipts:
        """Append the event, or all events of the batch, that a request holds; they are durable when this returns.

        Args:
            body: An event or an array of events, as JSON.
            service: Who publishes; None for a client, whose token is in the event's context.
            host: The machine that the request came from.

        Raises:
            Problem: What is wrong with the event, or with who publishes it. Of a batch nothing is appended then, and
                the first wrong event is named by its index, from 0.
        """
        if is_batch(body):
            entries = await self._entries(body, service)
            return Receipts(await self._append(entries, host=host, size=len(body)))
        draft = decode_draft(body, max_size=self._max_event)
        entry = await self._authorization.entry(draft, service)
        [appended] = await self._append([entry], host=host, size=len(body))
        return appended

    async def _entries(self, body: bytes, service: Service | None) -> list[Entry]:
        drafts = decode_batch(body, max_event=self._max_event, max_batch=self._max_batch)
        entries: list[Entry] = []
        try:
            for draft in drafts:
                entries.append(await self._authorization.entry(draft, service))  # noqa: PERF401 - counts the right ones
        except Problem as problem:
            problem.detail = f"event {len(entries)} of the batch: {problem.detail}"
            raise
        return entries
