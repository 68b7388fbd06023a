"""A bus to test, in this process or in one of its own, and what publishers and subscribers say to it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

import pytest
from aiohttp import ClientSession, ClientWebSocketResponse, WSMsgType

ORIGIN = "http://localhost:3000"

HANDSHAKE = (
    b"GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
)
KEY = b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
"""The last of a handshake's headers, as in the example of RFC 6455, 1.3."""

PATIENCE = 10  # seconds until a wait is a failure

FAST_PATH = os.environ.get("EVENTBUS_FAST_PATH", "on") == "on"
"""Tests pass with it and without, but for those of what aiohttp's public API cannot do."""

below_aiohttp = pytest.mark.skipif(not FAST_PATH, reason="aiohttp's public API does not tell")


@dataclass(frozen=True)
class Answer:
    """What the bus answered over HTTP."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Socket:
    """A WebSocket to the bus; `token` and `address` are set once it identified itself."""

    def __init__(self, ws: ClientWebSocketResponse) -> None:
        self.ws = ws
        self.token = self.address = ""

    async def say(self, command: object) -> None:
        await self.ws.send_json(command)

    async def hear(self) -> Any:
        """Wait for one message."""
        return await self.ws.receive_json(timeout=PATIENCE)

    async def ask(self, command: object) -> Any:
        await self.say(command)
        return await self.hear()

    async def hear_names(self, count: int) -> list[str]:
        """Wait for so many events; return their names."""
        return [(await self.hear())["name"] for _ in range(count)]

    async def close_code(self) -> int | None:
        """Wait until the bus hangs up."""
        message = await self.ws.receive(timeout=PATIENCE)
        assert message.type in (WSMsgType.CLOSE, WSMsgType.CLOSED), message
        return self.ws.close_code


class Bus:
    """A running bus, seen from outside."""

    def __init__(self, url: str, http: ClientSession) -> None:
        self.url = url
        self.http = http

    @property
    def address(self) -> tuple[str, int]:
        host, port = self.url.partition("://")[2].split(":")
        return host, int(port)

    async def request(self, method: str, path: str, **options: Any) -> Answer:
        async with asyncio.timeout(PATIENCE), self.http.request(method, self.url + path, **options) as response:
            return Answer(response.status, response.headers, await response.read())

    async def post(self, body: object, *, authorization: str | None = None, **headers: str) -> Answer:
        """Send a body as it is, or any other value as JSON."""
        if authorization is not None:
            headers["Authorization"] = authorization
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return await self.request("POST", "/", data=data, headers=headers)

    async def publish(self, name: str, *, token: str | None = None, service: str | None = None, **fields: Any) -> Any:
        """Publish as a client (`token`) or a service; return the receipt."""
        context = {"identifier": token} if token else {}
        answer = await self.post({"name": name, "context": context, **fields}, authorization=service)
        assert answer.status == 200, answer
        return answer.json

    async def events(self, query: str = "?limit=1000", *, authorization: str = "the-service") -> list[Any]:
        """What the log holds, as the bus tells a service."""
        answer = await self.request("GET", "/events" + query, headers={"Authorization": authorization})
        assert answer.status == 200, answer
        return list(answer.json)

    @asynccontextmanager
    async def socket(self, **options: Any) -> AsyncIterator[Socket]:
        async with self.http.ws_connect(self.url + "/ws", **options) as ws:
            yield Socket(ws)

    @asynccontextmanager
    async def client(self, token: str | None = None) -> AsyncIterator[Socket]:
        """A client that has identified itself."""
        async with self.socket() as connected:
            answer = await connected.ask({"action": "identify"} | ({"token": token} if token else {}))
            connected.token, connected.address = answer["token"], answer["address"]
            yield connected

    @asynccontextmanager
    async def service(self, token: str = "the-service") -> AsyncIterator[Socket]:
        """A service that has authenticated itself."""
        async with self.socket() as connected:
            answer = await connected.ask({"action": "authenticate", "credentials": token})
            assert answer["authenticated"], answer
            yield connected

    async def new_token(self) -> str:
        async with self.client() as client:
            return client.token

    async def raw(self, request: bytes, *, then_hang_up: bool = False) -> bytes:
        """Send bytes, and return what comes back until the bus hangs up."""
        reader, writer = await asyncio.open_connection(*self.address)
        try:
            writer.write(request)
            if then_hang_up:
                writer.write_eof()
            async with asyncio.timeout(PATIENCE):
                return await reader.read()
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()


class BusProcess(Bus):
    """A bus in a process of its own; `output` is all that it wrote so far."""

    def __init__(self, process: asyncio.subprocess.Process, url: str, http: ClientSession) -> None:
        super().__init__(url, http)
        self.process = process
        self.output = ""
        self._moved = asyncio.Event()
        self._collecting = asyncio.create_task(self._collect())

    async def said(self, text: str) -> None:
        """Wait until the output holds `text`."""
        async with asyncio.timeout(PATIENCE):
            while text not in self.output:
                assert not self._collecting.done(), self.output
                self._moved.clear()
                await self._moved.wait()

    async def exit_status(self) -> int:
        async with asyncio.timeout(PATIENCE):
            await self._collecting
            return await self.process.wait()

    async def stop(self) -> int:
        """Ask it to stop; return its exit status."""
        self.process.send_signal(signal.SIGTERM)
        return await self.exit_status()

    async def kill(self) -> None:
        """`kill -9`, if it still lives."""
        if self.process.returncode is None:
            self.process.kill()
        await self.exit_status()

    async def _collect(self) -> None:
        assert self.process.stdout
        while line := await self.process.stdout.readline():
            self.output += line.decode()
            self._moved.set()
        self._moved.set()


StartBus = Callable[..., Awaitable[Bus]]
StartProcess = Callable[..., Awaitable[BusProcess]]


async def start_process(http: ClientSession, environ: Mapping[str, str], *, prefix: Sequence[str] = ()) -> BusProcess:
    """Run `python -m eventbus` with these settings beside the environment's own; ready or not."""
    port = environ.get("HTTP_EVENTBUS_SERVER_PORT") or str(free_port())
    settings = {"HTTP_EVENTBUS_SERVER_HOST": "127.0.0.1", "HTTP_EVENTBUS_SERVER_PORT": port, **environ}
    settings.setdefault("EVENTBUS_FAST_PATH", "on" if FAST_PATH else "off")
    process = await asyncio.create_subprocess_exec(
        *prefix,
        sys.executable,
        "-m",
        "eventbus",
        env=_without_settings(os.environ) | settings,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    scheme = "https" if "EVENTBUS_TLS_CERT" in environ else "http"
    return BusProcess(process, f"{scheme}://127.0.0.1:{port}", http)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def _without_settings(environ: Mapping[str, str]) -> dict[str, str]:
    """Leave out what a developer's shell may have set for a bus."""
    return {n: v for n, v in environ.items() if not n.startswith(("EVENTBUS_", "HTTP_")) and n != "AUTHORIZATION_TOKEN"}


def payloads(frames: bytes) -> list[bytes]:
    """Take WebSocket frames apart, such as the bus writes them (RFC 6455, 5.2)."""
    found = []
    while frames:
        length, start = frames[1], 2
        if length >= 126:
            start = 4 if length == 126 else 10
            length = int.from_bytes(frames[2:start])
        found.append(frames[start : start + length])
        frames = frames[start + length :]
    return found
