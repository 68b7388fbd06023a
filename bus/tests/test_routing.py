"""The routing rule, whole: services get what they subscribe to, clients what is addressed to them."""

from __future__ import annotations

import pytest
from eventbus.event import Draft, Event, logged
from eventbus.patterns import Patterns
from eventbus.routing import Client, Service, receives


def event(name: str = "check-domain", **context: str) -> Event:
    return logged(Draft(name=name, context=context), id="1", seq=1, time="2026-11-23T09:00:00.123Z", source="client")


@pytest.mark.parametrize("context", [{}, {"identifier": "client-anna"}, {"identifier": "nobody"}])
def test_a_service_receives_whatever_it_subscribes_to(context: dict[str, str]) -> None:
    assert receives(Service(name="all"), event(**context))
    assert receives(Service(name="some", subscribe=Patterns(["check-*"])), event(**context))


def test_a_service_receives_nothing_else() -> None:
    assert not receives(Service(name="some", subscribe=Patterns(["register-*"])), event(identifier="some"))


def test_a_client_receives_what_is_addressed_to_it() -> None:
    assert receives(Client("client-anna"), event(identifier="client-anna"))


@pytest.mark.parametrize("identifier", ["client-bert", "client-ann", "client-anna ", "", "*"])
def test_a_client_receives_nothing_that_is_addressed_to_somebody_else(identifier: str) -> None:
    assert not receives(Client("client-anna"), event(identifier=identifier))


def test_a_client_receives_nothing_that_is_addressed_to_nobody() -> None:
    assert not receives(Client("client-anna"), event(cause="client-anna"))
    assert not receives(Client(""), event())
