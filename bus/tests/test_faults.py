"""Everything is broken while events flow, and at the end nothing is lost, repeated, reordered or overheard.

`make soak` does the same for longer. What a run did is printed, and judged by `history`.
"""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientError, ClientWebSocketResponse
from bus_under_test import PATIENCE, BusProcess, Socket, StartProcess, free_port
from history import Connection, Report, Stored, judge

ROUNDS = int(os.environ.get("SOAK_ROUNDS", "5"))
LISTENER = Path(__file__).parent / "listener.py"
CLIENTS = ["anna", "ben", "cleo"]


@dataclass
class Run:
    """A bus that is killed and comes back, all who use it, and what they saw."""

    start_bus: Callable[[], Awaitable[BusProcess]]
    bus: BusProcess
    answered: dict[str, int] = field(default_factory=dict)
    refused: int = 0
    faults: int = 0
    connections: list[Connection] = field(default_factory=list)
    tokens: dict[str, str] = field(default_factory=dict)
    addresses: dict[str, str] = field(default_factory=dict)
    sockets: dict[str, ClientWebSocketResponse] = field(default_factory=dict)
    listener: asyncio.subprocess.Process | None = None
    publishing: bool = True
    _moved: asyncio.Event = field(default_factory=asyncio.Event)

    async def more(self, answers: int = 0, refusals: int = 0) -> None:
        """Wait until so many more events were answered 200, and so many requests 503."""
        answers, refusals = len(self.answered) + answers, self.refused + refusals
        async with asyncio.timeout(3 * PATIENCE):
            while len(self.answered) < answers or self.refused < refusals:
                self._moved.clear()
                await self._moved.wait()

    async def publish(self, name: str) -> None:
        """Publish one event after the other, each until it is answered 200; clients in their own name."""
        number = 0
        while self.publishing:
            number += 1
            owner = name if name in self.tokens else CLIENTS[number % len(CLIENTS)]
            event = {"name": "job", "id": f"{name}-{number}", "context": {"identifier": self.tokens[owner]}}
            while event["id"] not in self.answered:
                await self._try(event, None if name in self.tokens else "the-service")

    async def _try(self, event: dict[str, Any], authorization: str | None) -> None:
        with suppress(ClientError, OSError, TimeoutError):  # the bus is being killed, or started
            answer = await self.bus.post(event, authorization=authorization)
            if answer.status == 200:
                self.answered[event["id"]] = answer.json["seq"]
                self._moved.set()
                return
            assert answer.status == 503, answer
            self.refused += 1
            self._moved.set()
        await asyncio.sleep(0.02)  # before the next attempt

    async def subscribe(self, who: str, name: str, command: dict[str, Any], address: str | None = None) -> None:
        """Be connected for ever, as `who`: come back after the last event that was heard."""
        place: dict[str, Any] = {"after": 0}
        working: set[asyncio.Task[None]] = set()
        while True:
            with suppress(ClientError, OSError, TypeError):  # a socket that is closed gives no text
                async with self.bus.socket() as socket:
                    answer = await socket.ask(command | place)
                    assert not answer.get("gap"), answer
                    place["epoch"] = answer["epoch"]
                    self.sockets[who] = socket.ws
                    connection = Connection(name, address)
                    self.connections.append(connection)
                    while True:
                        event = await socket.ws.receive_json()
                        connection.heard.append((event["seq"], event["id"], event.get("delivery", 1)))
                        place["after"] = event["seq"]
                        if "group" in command:
                            working.add(asyncio.create_task(_work(socket, event["seq"])))
            await asyncio.sleep(0.02)

    # Faults.

    async def kill_the_bus(self) -> None:
        self.faults += 1
        await self.bus.kill()
        self.bus = await self.start_bus()

    def cut(self, who: str) -> None:
        """Break a connection as a network does: without a word."""
        self.faults += 1
        response = self.sockets[who]._response
        if response.connection and response.connection.transport:
            response.connection.transport.abort()

    @contextmanager
    def frozen_listener(self) -> Iterator[None]:
        self.faults += 1
        assert self.listener
        self.listener.send_signal(signal.SIGSTOP)
        yield
        self.listener.send_signal(signal.SIGCONT)

    @contextmanager
    def full_disk(self) -> Iterator[None]:
        """Let the bus write no byte more into any file."""
        self.faults += 1
        unlimited = resource.prlimit(self.bus.process.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(self.bus.process.pid, resource.RLIMIT_FSIZE, (0, unlimited[1]))
        yield
        resource.prlimit(self.bus.process.pid, resource.RLIMIT_FSIZE, unlimited)

    # The end.

    async def report(self) -> Report:
        log: list[Stored] = []
        while page := await self.bus.events(f"?limit=1000&after={log[-1].seq if log else 0}"):
            log += [Stored(event["seq"], event["id"], event["context"]["identifier"]) for event in page]
        return judge(self.answered, log, self.connections)

    def figures(self, report: Report) -> str:
        return (
            f"{report.stored} events stored, {len(self.answered)} answered 200, {self.refused} refused; "
            f"{self.faults} faults, {len(self.connections)} connections; "
            f"{report.delivered} deliveries, {report.redelivered} redeliveries; "
            f"lost {len(report.lost)}, repeated {len(report.repeated)}, reordered {len(report.reordered)}, "
            f"misdelivered {len(report.misdelivered)}"
        )


async def _work(socket: Socket, seq: int) -> None:
    """Do what a member has to do for an event, which takes a moment, and ack it."""
    await asyncio.sleep(0.03)
    with suppress(ClientError, OSError):
        await socket.say({"action": "ack", "seq": seq})


@pytest.fixture
async def a_run(run: StartProcess) -> AsyncIterator[Run]:
    settings = {"HTTP_EVENTBUS_SERVER_PORT": str(free_port()), "EVENTBUS_CLIENT_RATE": "0", "EVENTBUS_ACK_WAIT": "2"}

    async def start_bus() -> BusProcess:
        return await run(**settings)

    a_run = Run(start_bus, await start_bus())
    tasks = []
    for client in CLIENTS:
        async with a_run.bus.client() as socket:
            a_run.tokens[client], a_run.addresses[client] = socket.token, socket.address
        command = {"action": "identify", "token": a_run.tokens[client]}
        tasks.append(a_run.subscribe(client, client, command, a_run.addresses[client]))
    service = {"action": "authenticate", "credentials": "the-service"}
    tasks.append(a_run.subscribe("watcher", "watcher", service))
    members = [f"member {number}" for number in range(3)]
    tasks += [a_run.subscribe(member, "group", service | {"group": "g", "prefetch": 8}) for member in members]
    tasks += [a_run.publish(name) for name in ["anna", "ben", "service 1", "service 2"]]
    url = a_run.bus.url.replace("http", "ws", 1) + "/ws"
    a_run.listener = await asyncio.create_subprocess_exec(
        sys.executable, str(LISTENER), url, "the-service", stdout=asyncio.subprocess.PIPE, limit=2**20
    )
    running = [asyncio.create_task(task) for task in [*tasks, _listen(a_run)]]
    yield a_run
    a_run.listener.kill()
    await a_run.listener.wait()
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)


async def _listen(run: Run) -> None:
    """Write down what the listener prints."""
    assert run.listener
    assert run.listener.stdout
    async for line in run.listener.stdout:
        if line == b"connected\n":
            connection = Connection("listener")
            run.connections.append(connection)
        else:
            seq, event_id = line.decode().rstrip("\n").split(" ", 1)
            connection.heard.append((int(seq), event_id, 1))


async def test_whatever_breaks_nothing_is_lost_and_nothing_overheard(
    a_run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    await a_run.more(answers=50)
    for _ in range(ROUNDS):
        await a_run.kill_the_bus()
        await a_run.more(answers=50)
        for who in ("member 0", "anna", "watcher"):
            a_run.cut(who)
            await a_run.more(answers=20)
        with a_run.frozen_listener():
            await a_run.more(answers=100)
            a_run.cut("member 1")
            await a_run.kill_the_bus()
            await a_run.more(answers=100)
        with a_run.full_disk():
            await a_run.more(refusals=10)
        await a_run.more(answers=50)
    a_run.publishing = False

    report = await a_run.report()
    with suppress(TimeoutError):
        async with asyncio.timeout(3 * PATIENCE):
            while report.lost:  # it may still be on its way
                await asyncio.sleep(0.1)
                report = await a_run.report()

    with capsys.disabled():
        print("\n" + a_run.figures(report))  # noqa: T201 - what a reader of the tests' output wants to know
    assert report.wrong == []
    assert report.stored >= len(a_run.answered) > 300 * ROUNDS
    assert {each.subscriber for each in a_run.connections} == {*CLIENTS, "watcher", "group", "listener"}
