"""A bus on a real port for each test that asks for one."""

from __future__ import annotations

import json
import logging
import socket
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from ssl import SSLContext
from typing import Any

import pytest
from aiohttp import ClientSession, ClientTimeout, TCPConnector
from bus_under_test import FAST_PATH, PATIENCE, Bus, BusProcess, StartBus, StartProcess, start_process
from eventbus.app import create_app
from eventbus.config import Settings
from eventbus.edges.websocket import Connection
from eventbus.log import Log
from eventbus.log.by_url import open_log
from eventbus.log.sqlite import indexes, tail
from eventbus.patterns import Patterns
from eventbus.routing import Service
from eventbus.server.running import create_runner, serve
from eventbus.services import Services

SERVICES = Services(
    {
        "the-service": Service(name="everything"),
        "the-answerer": Service(
            name="answerer", publish=Patterns(["*-completed"]), subscribe=Patterns(["check-*", "register-domain"])
        ),
    }
)


# Their tests start programs, fill disks or measure: `make test-fast` leaves them out.
SLOW = {
    "bench", "bench_peers", "capacity", "cost", "cost_fuzz", "disk", "epoch", "faults", "kill_9", "power_cut",
    "presence", "process", "retention", "runner", "stopping", "tls",
}  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.stem.removeprefix("test_") in SLOW:
            item.add_marker(pytest.mark.slow)


@pytest.fixture(autouse=True)
def no_traceback_is_logged(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Whatever a test does to the bus; one that expects a traceback clears `caplog` once it has seen it."""
    caplog.set_level(logging.INFO)
    yield
    assert not [record for record in caplog.get_records("call") if record.exc_info]


@pytest.fixture
async def http() -> AsyncIterator[ClientSession]:
    timeout = ClientTimeout(total=PATIENCE * 3)
    async with ClientSession(connector=TCPConnector(limit=0), timeout=timeout, auto_decompress=False) as session:
        yield session


@pytest.fixture(params=["memory", "sqlite", "sqlite-cold", "sqlite-indexed"])
def log_url(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Each kind of log there is, and two that have none of their newest events in memory: they read all from a file.

    One of these has entries in its indexes for none of them yet, the other at once.
    """
    if request.param == "memory":
        return "memory:"
    if request.param in ("sqlite-cold", "sqlite-indexed"):
        monkeypatch.setattr(tail, "MAX_EVENTS", 0)
    if request.param == "sqlite-indexed":
        monkeypatch.setattr(indexes, "EVERY", 1)
    return f"sqlite:{tmp_path}/log/events.db"


@pytest.fixture
def log(log_url: str) -> Log:
    """Closed by the bus that uses it, or by the test."""
    return open_log(log_url)


@pytest.fixture
async def start(http: ClientSession) -> AsyncIterator[StartBus]:
    """Start a bus in this process: `await start(log, settings)`."""
    async with AsyncExitStack() as stack:

        async def start(log: Log, settings: Any = None, *, tls: SSLContext | None = None) -> Bus:
            settings = replace(settings or Settings(), fast_path=FAST_PATH)
            runner = create_runner(create_app(log=log, services=SERVICES, settings=settings))
            await runner.setup()
            stack.push_async_callback(runner.cleanup)
            listening = socket.create_server(("127.0.0.1", 0))
            serving = await serve(runner, [listening], settings=settings, tls=tls)
            stack.push_async_callback(serving.stop)
            host, port = listening.getsockname()
            return Bus(f"{'https' if tls else 'http'}://{host}:{port}", http)

        yield start


@pytest.fixture
async def bus(start: StartBus) -> Bus:
    """A bus whose log is in memory; where the kind of log matters, a module has its own."""
    return await start(open_log("memory:"))


@pytest.fixture
def connections(monkeypatch: pytest.MonkeyPatch) -> list[Connection]:
    """The bus's side of each WebSocket, in the order they came."""
    known: list[Connection] = []

    class Known(Connection):
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)
            known.append(self)

    monkeypatch.setattr("eventbus.edges.websocket.Connection", Known)
    return known


@pytest.fixture
def services_file(tmp_path: Path) -> Path:
    """Two services, as in `SERVICES`."""
    path = tmp_path / "services.json"
    answerer = {"name": "answerer", "token": "the-answerer", "publish": ["*-completed"], "subscribe": ["check-*"]}
    path.write_text(json.dumps([{"name": "everything", "token": "the-service"}, answerer]))
    return path


@pytest.fixture
async def run(http: ClientSession, tmp_path: Path, services_file: Path) -> AsyncIterator[StartProcess]:
    """Start a bus in its own process, with its log in `tmp_path`: `await run(NAME="value")`."""
    processes: list[BusProcess] = []

    async def run(*, until_ready: bool = True, prefix: Sequence[str] = (), **environ: str) -> BusProcess:
        settings = {"EVENTBUS_LOG": f"sqlite:{tmp_path}/events.db", "EVENTBUS_SERVICES": str(services_file)}
        process = await start_process(http, settings | environ, prefix=prefix)
        processes.append(process)
        if until_ready:
            await process.said("bus ready")
        return process

    yield run
    for process in processes:
        await process.kill()
