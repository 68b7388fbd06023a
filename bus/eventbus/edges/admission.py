"""Admission: finds out who a connection is, and from where in the log it goes on. Knows no sockets."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace

from msgspec import UNSET, UnsetType

from ..authorization import Authorization
from ..groups import Groups, Member
from ..hub import Hub
from ..identities import Identities, address_of
from ..log import Log
from ..outlet import Outlet
from ..patterns import Patterns
from ..problems import TooFast
from ..routing import Client, Service
from .messages import Authenticate, Authenticated, BadCommand, Identified, Identify

CONNECTIONS_OF_A_CLIENT = 20
"""Each gets each of its events, so more would multiply what one client can make the bus send."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Admitted:
    """What to tell a connection, and how to let it in.

    Attributes:
        answer: To be sent before any event.
        join: Delivers to an outlet until its context is left; gives a group's member its membership.
    """

    answer: Identified | Authenticated
    join: Callable[[Outlet], AbstractContextManager[Member | None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Start:
    """Where delivery begins.

    Attributes:
        after: After this ``seq``.
        gap: Something may be gone that the subscriber has not got.
        oldest: With a gap, the first ``seq`` that may still be there.
    """

    after: int
    gap: bool | UnsetType = UNSET
    oldest: int | UnsetType = UNSET


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What a connection is told, so that no client guesses.

    Attributes:
        max_event: Largest event, in bytes of JSON.
        ack_wait: Seconds that a member of a group has to ack an event, or to say that it is working on it.
        heartbeat: Seconds between pings.
    """

    max_event: int
    ack_wait: float
    heartbeat: float


class Admission:
    """Admits clients and services.

    Args:
        log: Its head is where live events begin.
        hub: Delivers to clients and services.
        groups: Deliver to members of groups.
        identities: Gives clients theirs.
        authorization: Which services may connect.
        issue: Makes a new identity for a client at a host, and returns its token.
        told: What every connection is told of the bus's settings.
    """

    def __init__(
        self,
        *,
        log: Log,
        hub: Hub,
        groups: Groups,
        identities: Identities,
        authorization: Authorization,
        issue: Callable[[str], Awaitable[str]],
        told: Told,
    ) -> None:
        self._log = log
        self._hub = hub
        self._groups = groups
        self._identities = identities
        self._authorization = authorization
        self._issue = issue
        self._told = told

    async def identify(self, command: Identify, *, host: str) -> Admitted:
        """Give a client its identity back, or a new one; `host` is where it is.

        Raises:
            BadCommand: It is connected too often, or its host gets new identities too fast.
            LogUnavailable: The log cannot be read or written.
        """
        token = command.token or ""
        address = await self._identities.use(token)
        resumed = address is not None
        if address is None:
            token = await self._new_identity(host)
            address = address_of(token)
        client = Client(address)
        start = await self._start(command, address=client.address)
        if self._hub.has(client.address, CONNECTIONS_OF_A_CLIENT):
            raise BadCommand("identify", f"this client has {CONNECTIONS_OF_A_CLIENT} connections already; close some")
        if not resumed:
            start = replace(start, after=self._log.head)  # nothing can be waiting for a new client
        answer = Identified(
            token=token,
            address=client.address,
            resumed=resumed,
            seq=self._log.head,
            epoch=self._log.epoch,
            max_event=self._told.max_event,
            gap=start.gap,
            oldest=start.oldest,
        )
        return Admitted(answer=answer, join=lambda outlet: self._hub.connected(client, outlet, after=start.after))

    async def _new_identity(self, host: str) -> str:
        try:
            return await self._issue(host)
        except TooFast as problem:
            raise BadCommand("identify", problem.detail) from None

    async def authenticate(self, command: Authenticate) -> Admitted:
        """Find the service that has these credentials.

        Raises:
            NoRight: There is none.
            BadCommand: One of the names is no pattern.
            LogUnavailable: The log cannot be read or written.
        """
        service = _narrowed(self._authorization.service_with(command.credentials), command.names)
        if command.group is not None:
            return await self._join_group(service, command, command.group)
        start = await self._start(command)
        return Admitted(
            answer=self._authenticated(service, start),
            join=lambda outlet: self._hub.connected(service, outlet, after=start.after),
        )

    async def _join_group(self, service: Service, command: Authenticate, name: str) -> Admitted:
        group = await self._groups.find((service.name, name))
        if group is None:
            start = await self._start(command)
            group = await self._groups.create((service.name, name), after=start.after)
        elif group.pass_over_what_is_gone():
            start = self._gap()
        elif self._is_another(command.epoch):  # the group goes on all the same; what it had done of the lost is lost
            start = _Start(after=group.cursor, gap=True, oldest=group.cursor + 1)
        else:
            start = _Start(after=group.cursor)
        joined, names, prefetch = group.joined, service.subscribe, command.prefetch
        working = command.working if command.epoch == self._log.epoch else []
        return Admitted(
            answer=self._authenticated(service, start),
            join=lambda outlet: joined(outlet, names=names, prefetch=prefetch, working=working),
        )

    async def _start(self, command: Identify | Authenticate, *, address: str | None = None) -> _Start:
        """Where one goes on that has got everything up to `after` in the log called `epoch`."""
        after, head = command.after, self._log.head
        if after is None:
            return _Start(after=head)
        in_another_log = self._is_another(command.epoch) or after > head
        if in_another_log or await self._log.has_lost(after=after, address=address):
            return self._gap()
        return _Start(after=after)

    def _is_another(self, epoch: str | None) -> bool:
        """Is this the name of another log than ours, or of ours before it lost its end?"""
        return epoch not in (None, self._log.epoch)

    def _gap(self) -> _Start:
        return _Start(after=self._log.trimmed, gap=True, oldest=self._log.trimmed + 1)

    def _authenticated(self, service: Service, start: _Start) -> Authenticated:
        return Authenticated(
            service=service.name,
            seq=self._log.head,
            epoch=self._log.epoch,
            ack_wait=self._told.ack_wait,
            heartbeat=self._told.heartbeat,
            gap=start.gap,
            oldest=start.oldest,
        )


def _narrowed(service: Service, names: list[str] | None) -> Service:
    """The same service, that gets only what it asked for."""
    if names is None:
        return service
    try:
        return replace(service, subscribe=Patterns(names, within=service.subscribe))
    except ValueError as error:
        raise BadCommand("authenticate", f"names: {error}") from None
