"""How serving ends: what comes at that moment is either a connection like any other, or none."""

from __future__ import annotations

import asyncio
import socket
from contextlib import closing
from typing import Any

from bus_under_test import PATIENCE
from eventbus.config import Settings
from eventbus.server.running import serve, stop_listening


class Parting(asyncio.Protocol):
    """Tells whoever connects that it is in time, and hangs up."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.write(b"in time")
        transport.close()


async def test_what_comes_as_it_stops_is_made_whole_or_not_at_all() -> None:
    loop, complaints = asyncio.get_running_loop(), list[dict[str, Any]]()
    loop.set_exception_handler(lambda _, context: complaints.append(context))
    loop.set_debug(True)  # else asyncio keeps it to itself that it could not make a connection

    outcomes = [await _connect_and_stop(turns) for turns in range(6)]

    assert not complaints
    assert set(outcomes) == {b"", b"in time"}


async def _connect_and_stop(turns: int) -> bytes:
    """Stop so many turns of the loop after somebody connected; return what was said to them."""
    listening = socket.create_server(("127.0.0.1", 0))
    servers = await serve(Parting, [listening], settings=Settings())
    with closing(socket.create_connection(listening.getsockname())) as client:
        client.setblocking(False)
        for _ in range(turns):
            await asyncio.sleep(0)
        await stop_listening(servers)
        async with asyncio.timeout(PATIENCE):
            try:
                return await asyncio.get_running_loop().sock_recv(client, 100)
            except ConnectionResetError:
                return b""
