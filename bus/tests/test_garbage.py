"""What connections leave behind does not pile up, and is not looked for while they only come."""

from __future__ import annotations

import gc
from typing import Any
from weakref import WeakSet, ref

import pytest
from bus_under_test import Bus, below_aiohttp
from eventbus.edges.guard import Guard
from eventbus.server import garbage
from eventbus.server.garbage import Garbage
from eventbus.server.websocket_protocol import WebSocketProtocol


@pytest.mark.parametrize(("living", "ended"), [(0, 250), (999, 250), (5000, 1250)])
def test_all_is_looked_through_once_a_quarter_as_many_connections_have_ended_as_there_are(
    monkeypatch: pytest.MonkeyPatch, living: int, ended: int
) -> None:
    looks: list[int] = []
    monkeypatch.setattr(gc, "collect", lambda: looks.append(0))
    counting = Garbage()

    for _ in range(2 * ended):
        counting.connection_ended(living)

    assert len(looks) == 2


async def test_what_connections_left_behind_is_gone_when_enough_have_ended(
    bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(garbage, "AT_LEAST", 20)
    connections = WeakSet[WebSocketProtocol]()
    made = WebSocketProtocol.__init__

    def make(self: WebSocketProtocol, *arguments: Any, **options: Any) -> None:
        made(self, *arguments, **options)
        connections.add(self)

    monkeypatch.setattr(WebSocketProtocol, "__init__", make)
    gc.disable()
    try:
        for _ in range(100):
            async with bus.client():
                pass
    finally:
        gc.enable()

    assert len(connections) < 50


@below_aiohttp
async def test_an_open_websocket_keeps_nothing_of_its_request(bus: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    heads = list[ref[Any]]()
    check = Guard.check

    def remember(self: Guard, headers: Any, **options: Any) -> None:
        heads.append(ref(headers))
        check(self, headers, **options)

    monkeypatch.setattr(Guard, "check", remember)
    gc.collect()
    gc.disable()
    try:
        async with bus.client():
            assert [head() for head in heads] == [None]
    finally:
        gc.enable()
