"""What the short cut assumes of aiohttp and Python: it is tried at the start; where it fails, the bus does without."""

from __future__ import annotations

from asyncio import sslproto
from collections.abc import Callable
from typing import Any

import pytest
from aiohttp.base_protocol import BaseProtocol
from bus_under_test import StartBus, below_aiohttp
from eventbus.log.by_url import open_log
from eventbus.server import aiohttp_inside
from eventbus.server.assumptions import broken_assumptions

Break = Callable[[pytest.MonkeyPatch], None]


def another_parser(patch: pytest.MonkeyPatch) -> None:
    def parser(*_: Any) -> None:
        raise TypeError("a parser needs something else by now")

    patch.setattr(aiohttp_inside, "HttpRequestParser", parser)


def another_reader(patch: pytest.MonkeyPatch) -> None:
    class Reader:
        def __init__(self, *_: Any, **__: Any) -> None:
            pass

        def feed_data(self, data: bytes) -> None:
            """It is read in another way by now."""

    patch.setattr(aiohttp_inside, "WebSocketReader", Reader)


def another_handler(patch: pytest.MonkeyPatch) -> None:
    patch.delattr(BaseProtocol, "_pause_transport_reading")


def another_tls(patch: pytest.MonkeyPatch) -> None:
    patch.delattr(sslproto.SSLProtocol, "max_size")


async def test_what_is_installed_is_as_expected() -> None:
    assert await broken_assumptions() == []


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (another_parser, "a request's head can be read alone"),
        (another_reader, "WebSocket frames can be read alone"),
        (another_handler, "aiohttp's handler has the parts that it had"),
        (another_tls, "asyncio's TLS has a buffer of a size that can be set"),
    ],
)
async def test_each_assumption_that_fails_is_named(change: Break, named: str, monkeypatch: pytest.MonkeyPatch) -> None:
    change(monkeypatch)

    assert named in await broken_assumptions()


@below_aiohttp
async def test_a_bus_whose_assumptions_fail_says_so_once_and_is_complete(
    start: StartBus, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    another_parser(monkeypatch)
    bus = await start(open_log("memory:"))

    async with bus.client() as anna:
        await bus.publish("hi", token=anna.token)
        assert await anna.hear_names(1) == ["hi"]

    [line] = [record.getMessage() for record in caplog.records if "is not as expected" in record.getMessage()]
    assert line.endswith("a request's head can be read alone no longer; the bus does without, slower")
