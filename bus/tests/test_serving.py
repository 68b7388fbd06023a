"""How serving ends: what comes at that moment is either a connection like any other, or none."""

from __future__ import annotations

import asyncio
import socket
from contextlib import closing
from typing import Any

from aiohttp import web
from bus_under_test import PATIENCE
from eventbus.config import Settings
from eventbus.server.running import create_runner, serve


async def test_what_comes_as_it_stops_is_made_whole_or_not_at_all() -> None:
    loop, complaints = asyncio.get_running_loop(), list[dict[str, Any]]()
    loop.set_exception_handler(lambda _, context: complaints.append(context))
    loop.set_debug(True)  # else asyncio keeps it to itself that it could not make a connection

    outcomes = [await _connect_and_stop(turns) for turns in range(6)]

    assert not complaints
    assert set(outcomes) == {b"", b"HTTP/1.1 404 Not Found"}


async def _connect_and_stop(turns: int) -> bytes:
    """Stop so many turns of the loop after somebody connected; return what was said to them."""
    listening = socket.create_server(("127.0.0.1", 0))
    runner = create_runner(web.Application())
    await runner.setup()
    serving = await serve(runner, [listening], settings=Settings())
    with closing(socket.create_connection(listening.getsockname())) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        client.setblocking(False)
        for _ in range(turns):
            await asyncio.sleep(0)
        await serving.stop()
        async with asyncio.timeout(PATIENCE):
            try:
                said = await asyncio.get_running_loop().sock_recv(client, 100)
            except ConnectionResetError:
                said = b""
    await runner.cleanup()
    return said.partition(b"\r\n")[0]
