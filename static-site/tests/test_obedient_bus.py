"""The stand-in bus ends well, whoever is still talking to it: else other tests would pay for what it left behind."""

from __future__ import annotations

import socket
from contextlib import ExitStack
from pathlib import Path

import pytest
from obedient_bus import ObedientBus

PUBLIC = Path(__file__).parent.parent / "public"
UPGRADE = (
    b"GET /ws HTTP/1.1\r\nHost: bus\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n\r\n"
)


@pytest.mark.parametrize("said", [b"", b"GET /blank HTTP/1.1\r\n", UPGRADE], ids=["nothing", "half", "handshake"])
def test_it_ends_at_once_while_connections_come_in(said: bytes) -> None:
    with ExitStack() as clients:
        with ObedientBus(PUBLIC) as bus:
            host, port = bus.url.removeprefix("http://").split(":")
            for _ in range(50):
                client = clients.enter_context(socket.create_connection((host, int(port))))
                client.sendall(said)

        assert bus.connections == 0
