"""Everything is broken while events flow, and at the end nothing is lost, repeated, reordered, overheard or undone.

`make soak` does the same for longer. What a run did is printed, and judged by `history`.
"""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientError, ClientWebSocketResponse
from bus_under_test import PATIENCE, BusProcess, Socket, StartProcess, free_port
from history import Connection, Report, Stored, judge

ROUNDS = int(os.environ.get("SOAK_ROUNDS", "5"))
pytestmark = pytest.mark.timeout(120 + 20 * ROUNDS)
LISTENER = Path(__file__).parent / "listener.py"
CLIENTS = ["anna", "ben", "cleo"]
PUBLISHERS = ["anna", "ben", "service-1", "service-2"]
NAMES = ["job", "note", "report"]
SOME = ["note"]  # what one service subscribes to
WORK = ["job", "report"]  # and what the group does
LARGE = "x" * 4000  # so that what is sent to somebody who is frozen fills the bus's buffers
AHEAD = 500  # events that publishers may be beyond what is waited for, or a long run would fill the disk with them


@dataclass
class Run:
    """A bus that is killed and comes back, all who use it, and what they saw."""

    start_bus: Callable[[], Awaitable[BusProcess]]
    bus: BusProcess
    answered: dict[str, int] = field(default_factory=dict)
    refused: int = 0
    nacked: int = 0
    undone: set[int] = field(default_factory=set)  # what the group has to do, and no member has acked yet
    faults: int = 0
    connections: list[Connection] = field(default_factory=list)
    tokens: dict[str, str] = field(default_factory=dict)
    addresses: dict[str, str] = field(default_factory=dict)
    sockets: dict[str, ClientWebSocketResponse] = field(default_factory=dict)
    listener: asyncio.subprocess.Process | None = None
    listener_has: int = 0  # the newest `seq` that it printed
    publishing: bool = True
    tasks: set[asyncio.Task[None]] = field(default_factory=set)
    failures: list[BaseException] = field(default_factory=list)
    _acked: set[int] = field(default_factory=set)
    _moved: asyncio.Event = field(default_factory=asyncio.Event)
    _most: int = AHEAD  # answers that are wanted by now
    _wanted: asyncio.Event = field(default_factory=asyncio.Event)  # is set while there are fewer

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        """Let something run beside the test, which fails when that does."""
        task = asyncio.create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self._end)

    def _end(self, task: asyncio.Task[None]) -> None:
        self.tasks.discard(task)
        if not task.cancelled() and (failure := task.exception()):
            self.failures.append(failure)
            self._moved.set()

    def raise_failures(self) -> None:
        """Raise what went wrong so far, with somebody who uses the bus or within the bus."""
        if self.failures:
            raise self.failures[0]
        assert "Traceback" not in self.bus.output, self.bus.output

    async def more(self, answers: int = 0, refusals: int = 0) -> None:
        """Wait until so many more events were answered 200, and so many requests 503."""
        answers, refusals = len(self.answered) + answers, self.refused + refusals
        self._most = answers + AHEAD
        self._wanted.set()
        async with asyncio.timeout(3 * PATIENCE):
            while len(self.answered) < answers or self.refused < refusals:
                self._moved.clear()
                await self._moved.wait()
                self.raise_failures()

    async def all_is_done(self) -> None:
        """Wait until the group has done everything that was answered by now.

        Else a quick machine would kill each bus before it has kept the group's place, which takes up to a second, and
        the group would begin again at the same place for ever.
        """
        due = set(self.undone)
        with suppress(TimeoutError):
            async with asyncio.timeout(3 * PATIENCE):
                while due & self.undone:
                    self._moved.clear()
                    await self._moved.wait()
                    self.raise_failures()
        assert not due & self.undone, f"no member of the group acked {sorted(due & self.undone)}"

    async def listener_is_up_to_date(self) -> None:
        """Wait until it has got what was answered by now: only one that keeps up falls behind when it is frozen."""
        newest = max(self.answered.values())
        async with asyncio.timeout(3 * PATIENCE):
            while self.listener_has < newest:
                self._moved.clear()
                await self._moved.wait()
                self.raise_failures()

    async def publish(self, name: str) -> None:
        """Publish one event after the other, each until it is answered 200; clients in their own name."""
        number = 0
        while self.publishing:
            await self._wanted.wait()
            number += 1
            owner = name if name in self.tokens else CLIENTS[number % len(CLIENTS)]
            event = {"name": NAMES[number // 3 % len(NAMES)], "id": f"{name}-{number}", "data": LARGE}
            event["context"] = {"identifier": self.tokens[owner]}
            while event["id"] not in self.answered:
                await self._try(event, None if name in self.tokens else "the-service")

    async def _try(self, event: dict[str, Any], authorization: str | None) -> None:
        with suppress(ClientError, OSError, TimeoutError):  # the bus is being killed, or started
            answer = await self.bus.post(event, authorization=authorization)
            if answer.status == 200:
                seq = self.answered[event["id"]] = answer.json["seq"]
                if event["name"] in WORK and seq not in self._acked:
                    self.undone.add(seq)
                if len(self.answered) >= self._most:
                    self._wanted.clear()
                self._moved.set()
                return
            assert answer.status == 503, answer
            self.refused += 1
            self._moved.set()
        await asyncio.sleep(0.02)  # before the next attempt

    async def subscribe(self, who: str, command: dict[str, Any], **kind: Any) -> None:
        """Be connected for ever, as `who`: come back after the last event that was heard."""
        place: dict[str, Any] = {"after": 0}
        while True:
            with suppress(ClientError, OSError, TypeError):  # a socket that is closed gives no text
                async with self.bus.socket() as socket:
                    answer = await socket.ask(command | place)
                    assert not answer.get("gap"), answer
                    place["epoch"] = answer["epoch"]
                    self.sockets[who] = socket.ws
                    connection = Connection(after=place["after"], **kind)
                    self.connections.append(connection)
                    while True:
                        event = await socket.ws.receive_json()
                        connection.heard.append((event["seq"], event["id"], event.get("delivery", 1)))
                        place["after"] = event["seq"]
                        if connection.member:
                            self.start(self._work(socket, connection, event))
            await asyncio.sleep(0.02)

    async def _work(self, socket: Socket, connection: Connection, event: dict[str, Any]) -> None:
        """Do what a member has to do for an event, which takes a moment, and ack it; now and then give it back."""
        await asyncio.sleep(0.03)
        with suppress(ClientError, OSError):
            if event["seq"] % 10 == 0 and "delivery" not in event:
                await socket.say({"action": "nack", "seq": event["seq"], "delay": 0.1})
                self.nacked += 1
            else:
                await socket.say({"action": "ack", "seq": event["seq"]})
                connection.acked.add(event["seq"])
                self._acked.add(event["seq"])
                self.undone.discard(event["seq"])
                self._moved.set()

    def heard_by_listener(self, seq: int) -> None:
        self.listener_has = seq
        self._moved.set()

    # Faults.

    async def kill_the_bus(self) -> None:
        self.faults += 1
        await self.bus.kill()
        self.raise_failures()
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
            log += [Stored(each["seq"], each["id"], each["name"], each["context"]["identifier"]) for each in page]
        return judge(self.answered, log, self.connections)

    def figures(self, report: Report) -> str:
        return (
            f"{report.stored} events stored, {len(self.answered)} answered 200, {self.refused} refused; "
            f"{self.faults} faults, {len(self.connections)} connections; "
            f"{report.delivered} deliveries, {report.redelivered} redeliveries, {self.nacked} nacks; "
            f"lost {len(report.lost)}, repeated {len(report.repeated)}, reordered {len(report.reordered)}, "
            f"misdelivered {len(report.misdelivered)}, never acked {len(report.never_acked)}"
        )


@pytest.fixture
async def a_run(run: StartProcess) -> AsyncIterator[Run]:
    settings = {
        "HTTP_EVENTBUS_SERVER_PORT": str(free_port()),
        "EVENTBUS_CLIENT_RATE": "0",
        "EVENTBUS_ACK_WAIT": "2",
        "EVENTBUS_MAX_DELIVERIES": "10",  # a dead letter would be an event that is never acked
        "EVENTBUS_SEND_BUFFER": "4096",
    }

    async def start_bus() -> BusProcess:
        return await run(**settings)

    a_run = Run(start_bus, await start_bus())
    for client in CLIENTS:
        async with a_run.bus.client() as socket:
            a_run.tokens[client], a_run.addresses[client] = socket.token, socket.address
        command = {"action": "identify", "token": a_run.tokens[client]}
        a_run.start(a_run.subscribe(client, command, subscriber=client, address=a_run.addresses[client]))
    service = {"action": "authenticate", "credentials": "the-service"}
    a_run.start(a_run.subscribe("watcher", service, subscriber="watcher"))
    a_run.start(a_run.subscribe("some", service | {"names": SOME}, subscriber="some", names=frozenset(SOME)))
    of_group = {"group": "g", "prefetch": 16, "names": WORK}
    for number in range(3):
        member = {"subscriber": "group", "names": frozenset(WORK), "member": True}
        a_run.start(a_run.subscribe(f"member {number}", service | of_group, **member))
    url = a_run.bus.url.replace("http", "ws", 1) + "/ws"
    a_run.listener = await asyncio.create_subprocess_exec(
        sys.executable, str(LISTENER), url, "the-service", stdout=asyncio.subprocess.PIPE, limit=2**20
    )
    a_run.start(_listen(a_run))
    for name in PUBLISHERS:
        a_run.start(a_run.publish(name))
    yield a_run
    running = list(a_run.tasks)
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)
    a_run.listener.kill()
    await a_run.listener.wait()


async def _listen(run: Run) -> None:
    """Write down what the listener prints."""
    assert run.listener
    assert run.listener.stdout
    async for line in run.listener.stdout:
        match line.decode().split():
            case ["connected", after]:
                connection = Connection("listener", after=int(after))
                run.connections.append(connection)
            case [seq, event_id]:
                connection.heard.append((int(seq), event_id, 1))
                run.heard_by_listener(int(seq))
            case words:
                raise AssertionError(words)
    raise AssertionError("the listener ended")


async def test_whatever_breaks_nothing_is_lost_and_nothing_overheard(
    a_run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(ROUNDS):
        await a_run.more(answers=50)  # so that some are on their way when the bus is killed
        await a_run.kill_the_bus()
        await a_run.more(answers=50)
        for who in ("member 0", "anna", "watcher", "some"):
            a_run.cut(who)
            await a_run.more(answers=15)
        await a_run.listener_is_up_to_date()
        with a_run.frozen_listener():
            await a_run.more(answers=100)
            a_run.cut("member 1")
            await a_run.kill_the_bus()
            await a_run.more(answers=100)
        with a_run.full_disk():
            await a_run.more(refusals=10)
        await a_run.more(answers=50)
        await a_run.all_is_done()
    a_run.publishing = False

    report = await a_run.report()
    with suppress(TimeoutError):
        async with asyncio.timeout(3 * PATIENCE):
            while report.unfinished:  # it may still be on its way
                await asyncio.sleep(0.1)
                report = await a_run.report()

    with capsys.disabled():
        print("\n" + a_run.figures(report))  # noqa: T201 - what a reader of the tests' output wants to know
    a_run.raise_failures()
    assert report.wrong == []
    assert report.stored >= len(a_run.answered) > 300 * ROUNDS
    assert {event_id.rpartition("-")[0] for event_id in a_run.answered} == set(PUBLISHERS)
    assert {each.subscriber for each in a_run.connections} == {*CLIENTS, "watcher", "some", "group", "listener"}
