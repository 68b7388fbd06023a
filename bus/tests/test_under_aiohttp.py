"""The bus under aiohttp's own runner: complete without all that stands below its public API."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from aiohttp import ClientSession, ClientWebSocketResponse, WSMsgType, web
from eventbus.app import create_app
from eventbus.log.memory import MemoryLog


@pytest.fixture
async def bus() -> AsyncIterator[ClientSession]:
    """A running bus, and an HTTP client that talks to it."""
    runner = web.AppRunner(create_app(log=MemoryLog()))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    async with ClientSession(f"http://{host}:{port}") as client:
        yield client
    await runner.cleanup()


async def identify(client: ClientWebSocketResponse) -> str:
    await client.send_json({"action": "identify"})
    return str((await client.receive_json(timeout=1))["token"])


async def test_a_client_receives_an_event_addressed_to_it(bus: ClientSession) -> None:
    async with bus.ws_connect("/ws") as anna:
        token = await identify(anna)

        await bus.post("/", json={"name": "hi", "context": {"identifier": token}})

        assert (await anna.receive_json(timeout=1))["name"] == "hi"


async def test_clients_are_told_that_the_bus_stops() -> None:
    runner = web.AppRunner(create_app(log=MemoryLog()))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    async with ClientSession(f"http://{host}:{port}") as client, client.ws_connect("/ws") as anna:
        assert await identify(anna)

        stopping = asyncio.create_task(runner.cleanup())

        assert (await anna.receive(timeout=5)).type is WSMsgType.CLOSE
        assert anna.close_code == 1012
        await stopping


async def test_what_is_no_handshake_is_a_problem(bus: ClientSession) -> None:
    answer = await bus.get("/ws")

    assert (answer.status, answer.content_type) == (400, "application/problem+json")
