"""What the tests talk to: a stand-in for the bus that can fail at will, and programs in processes of their own."""

from __future__ import annotations

import asyncio
import json
import os
import re
import socket
import ssl
import sys
from asyncio.subprocess import PIPE, Process, create_subprocess_exec
from collections import deque
from contextlib import AsyncExitStack, suppress

import aiohttp
import pytest
from aiohttp import web
from domain_service.registry import RegistryFile
from eventbus_client.config import Settings
from eventbus_client.publisher import open_session
from eventbus_client.service import Service

TOKEN = "secret"
SETTINGS = ("AUTHORIZATION_TOKEN", "DOMAIN_SERVICE_", "EVENTBUS_", "HTTP_EVENTBUS_", "HTTP_FILE_", "SSL_CERT_")
SERVICES = [
    {"name": "domain service", "token": "secret", "publish": ["*-completed"], "subscribe": ["*-domain"]},
    {"name": "shouter", "token": "louder", "publish": ["shout-completed"]},
    {"name": "calculator", "token": "calculate"},
]
SECONDS = 10  # for whatever a test waits for: long enough for a slow machine, and only a failure takes so long


# Their tests start programs: `make test-fast` leaves them out.
SLOW = {"attempts", "domain_service", "program", "serve", "tls"}


def pytest_collection_modifyitems(items):
    for item in items:
        if item.path.stem.removeprefix("test_") in SLOW:
            item.add_marker(pytest.mark.slow)


async def soon(awaitable):
    """Wait, but not for ever."""
    async with asyncio.timeout(SECONDS):
        return await awaitable


class FakeBus:
    """Speaks the bus's protocol, but answers what a test tells it to; over TLS if it is given a certificate."""

    def __init__(self, port: int, tls: ssl.SSLContext | None = None) -> None:
        self.port = port
        self.tls = tls
        self.url = f"{'https' if tls else 'http'}://localhost:{port}"
        self.epoch = "e1"
        self.published: asyncio.Queue[dict] = asyncio.Queue()
        self.headers: list[dict] = []
        self.handshakes: list[dict] = []
        # How to answer the next requests to publish, and the next connections; as the bus does when there are no more.
        self.replies: deque = deque()
        self.greetings: deque = deque()
        self.said: list[dict] = []
        self.commands: asyncio.Queue[dict] = asyncio.Queue()  # what services say once they are connected
        self._services: asyncio.Queue[web.WebSocketResponse] = asyncio.Queue()
        app = web.Application()
        app.add_routes([web.post("/", self._publish), web.get("/ws", self._connect)])
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)

    async def start(self) -> None:
        await self._runner.setup()
        await web.TCPSite(self._runner, "localhost", self.port, ssl_context=self.tls).start()

    async def stop(self) -> None:
        await self._runner.cleanup()

    async def service(self) -> web.WebSocketResponse:
        """Wait until a service is connected; give its socket."""
        return await soon(self._services.get())

    async def answer(self) -> dict:
        """Wait until an event is published."""
        return await soon(self.published.get())

    async def command(self) -> dict:
        """Wait until a service that is connected says something."""
        return await soon(self.commands.get())

    async def _publish(self, request: web.Request) -> web.Response:
        self.headers.append(dict(request.headers))
        await self.published.put(await request.json())
        reply = self.replies.popleft() if self.replies else 200
        if callable(reply):
            return await reply(request)
        return web.json_response({"seq": len(self.headers)} if reply == 200 else {}, status=reply)

    async def _connect(self, request: web.Request) -> web.WebSocketResponse:
        self.handshakes.append(dict(request.headers))
        service = web.WebSocketResponse()
        await service.prepare(request)
        self.said.append(await service.receive_json())
        if self.greetings:
            await self.greetings.popleft()(service)
        else:
            answer = {"action": "authenticate", "authenticated": True, "service": "shouter", "seq": 0}
            await service.send_json(answer | {"epoch": self.epoch})
        await self._services.put(service)
        async for message in service:
            await self.commands.put(message.json())
        return service


class Box:
    """Stands between a service and a bus; while `passes` is false it keeps its sides open and passes nothing on."""

    def __init__(self, port):
        self._port = port
        self.passes = True
        self._pipes = set()
        self._writers = []

    async def __aenter__(self):
        self._server = await asyncio.start_server(self._connected, "localhost", 0)
        _, port = self._server.sockets[0].getsockname()[:2]
        self.url = f"http://localhost:{port}"
        return self

    async def __aexit__(self, *_):
        self._server.close()
        for pipe in self._pipes:
            pipe.cancel()
        await asyncio.gather(*self._pipes, return_exceptions=True)
        for writer in self._writers:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()

    async def _connected(self, reader, writer):
        there, back = await asyncio.open_connection("localhost", self._port)
        self._writers += [writer, back]
        self._pipes |= {asyncio.create_task(self._pass_on(*pair)) for pair in ((reader, back), (there, writer))}

    async def _pass_on(self, reader, writer):
        while data := await reader.read(64 * 1024):
            if self.passes:
                writer.write(data)


class Program:
    """A program in a process of its own, and what it wrote."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self.output = ""

    async def line(self, pattern: str) -> str:
        """Wait for a line of the output that fits; only what comes after the last one found is looked at."""
        return await soon(self._line(pattern))

    async def _line(self, pattern: str) -> str:
        while written := (await self.process.stderr.readline()).decode():
            self.output += written
            if re.search(pattern, written):
                return written.rstrip("\n")
        raise AssertionError(f"the program ended before {pattern!r}; it wrote:\n{self.output}")

    async def end(self, signal_number: int | None = None) -> int:
        """Wait for its end, after a signal if one is given; tell the exit code."""
        if signal_number:
            self.process.send_signal(signal_number)
        self.output += (await soon(self.process.stderr.read())).decode()
        return await soon(self.process.wait())

    def kill(self) -> None:
        """End it at once if it still runs."""
        if self.process.returncode is None:
            self.process.kill()


class Visitor:
    """A client of the bus."""

    def __init__(self, http, url, socket, identity):
        self.http, self.url, self.socket = http, url, socket
        self.token, self.address = identity["token"], identity["address"]

    async def ask(self, name, data, **context):
        event = {"name": name, "data": data, "context": {"identifier": self.token, **context}}
        async with self.http.post(self.url, json=event) as response:
            assert response.status == 200
            return (await response.json())["seq"]

    async def answers(self, count):
        """Wait for so many answers; what was asked comes back too, and is left out."""
        found = []
        while len(found) < count:
            event = await self.socket.receive_json(timeout=10)
            found += [event] if event["name"].endswith("-completed") else []
        return found


@pytest.fixture
def registry(tmp_path):
    registry = RegistryFile(tmp_path / "registry.db")
    yield registry
    registry.close()


@pytest.fixture
def free_port():
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return probe.getsockname()[1]


@pytest.fixture
async def start_bus(free_port):
    """Start a stand-in for the bus, over TLS if it is given a certificate."""
    async with AsyncExitStack() as stack:

        async def start(tls=None):
            bus = FakeBus(free_port, tls)
            await bus.start()
            stack.push_async_callback(bus.stop)
            return bus

        yield start


@pytest.fixture
async def bus(start_bus):
    return await start_bus()


@pytest.fixture
async def box():
    """Put a box before a port: `await box(port)`."""
    async with AsyncExitStack() as stack:

        async def box(port):
            return await stack.enter_async_context(Box(port))

        yield box


@pytest.fixture
async def run():
    """Run services in this process, with the settings given; they never wait before another attempt."""
    async with AsyncExitStack() as stack:

        async def start(bus, handlers, *, backoff=lambda _: 0.0, **settings):
            settings = Settings(eventbus_url=bus.url, token=TOKEN, **settings)
            http = await stack.enter_async_context(open_session(settings.token))
            service = Service(settings, http, handlers, group="shouter", backoff=backoff)
            listening = asyncio.create_task(service.listen())
            stack.callback(listening.cancel)
            return service, listening

        yield start


@pytest.fixture
async def spawn(tmp_path):
    """Start programs in processes of their own, in an empty folder, with no settings but those given."""
    programs = []

    async def start(*command, **environ):
        kept = {name: value for name, value in os.environ.items() if not name.startswith(SETTINGS)}
        process = await create_subprocess_exec(
            sys.executable, *command, cwd=tmp_path, env=kept | environ, stderr=PIPE, limit=1024 * 1024
        )
        programs.append(Program(process))
        return programs[-1]

    yield start
    for program in programs:
        if program.process.returncode is None:
            program.process.terminate()
        try:
            await program.end()
        finally:
            program.kill()


@pytest.fixture
async def real_bus(spawn, tmp_path, free_port):
    """Start the bus, as often as a test wants it: on the same port and with the same log."""
    (tmp_path / "services.json").write_text(json.dumps(SERVICES))

    async def start(**settings):
        bus = await spawn("-m", "eventbus", HTTP_EVENTBUS_SERVER_PORT=str(free_port), **settings)
        await bus.line("bus ready")
        return bus

    start.port = free_port
    start.url = f"http://localhost:{free_port}"
    return start


@pytest.fixture
async def visit(real_bus):
    async with aiohttp.ClientSession() as http:

        async def visit():
            socket = await http.ws_connect(f"{real_bus.url}/ws")
            await socket.send_json({"action": "identify"})
            return Visitor(http, real_bus.url, socket, await socket.receive_json())

        yield visit
