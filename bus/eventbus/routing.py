"""Routing: who receives an event. The whole rule, without sockets, clock or log."""

from __future__ import annotations

from dataclasses import dataclass

from .event import Event
from .patterns import EVERYTHING, Patterns


@dataclass(frozen=True, slots=True)
class Client:
    """A browser or native program that identified itself.

    Attributes:
        address: Its public name, as in an event's ``context.identifier``.
    """

    address: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """Back-end code that authenticated itself, as the services file describes it.

    Attributes:
        name: As in the ``source`` of its events.
        publish: Names that it may publish.
        subscribe: Names that it gets.
    """

    name: str
    publish: Patterns = EVERYTHING
    subscribe: Patterns = EVERYTHING


def receives(subscriber: Client | Service, event: Event) -> bool:
    """Should this subscriber receive this event?

    A service gets every event that it subscribes to; a client what is addressed to it, its own questions too.
    """
    match subscriber:
        case Service(subscribe=names):
            return event.name in names
        case Client(address=address):
            return event.identifier == address
