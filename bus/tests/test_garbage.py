"""What connections leave behind does not pile up, and is not looked for while they only come."""

from __future__ import annotations

import gc
from weakref import WeakSet

import pytest
from aiohttp import web
from bus_under_test import Bus
from eventbus import garbage
from eventbus.garbage import Garbage


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
    sockets = WeakSet[web.WebSocketResponse]()
    made = web.WebSocketResponse.__init__
    monkeypatch.setattr(
        web.WebSocketResponse, "__init__", lambda self, **options: (made(self, **options), sockets.add(self))[0]
    )
    gc.disable()
    try:
        for _ in range(100):
            async with bus.client():
                pass
    finally:
        gc.enable()

    assert len(sockets) < 50
