"""The bus, and services in processes of their own: work is given up for its own failures, and for nothing else."""

import asyncio
import signal
from collections import Counter
from textwrap import dedent

import aiohttp
import pytest

GROUP = "workers"
LONG = 90  # seconds, for what takes many turns on a busy machine


class Work:
    """Jobs for a service, and what became of them."""

    def __init__(self, http, url, calls):
        self.http, self.url, self.calls_file = http, url, calls
        self.headers = {"Authorization": "Bearer calculate"}

    async def publish(self, count, name="job"):
        jobs = [{"name": name, "data": n} for n in range(count)]
        async with self.http.post(self.url, json=jobs, headers=self.headers) as response:
            return [each["seq"] for each in (await response.json())["events"]]

    def calls(self):
        """How often a handler was called for each job."""
        return Counter(map(int, self.calls_file.read_text().split())) if self.calls_file.exists() else Counter()

    async def events(self, name):
        found, after = [], 0
        while True:
            query = {"name": name, "after": str(after), "limit": "1000"}
            async with self.http.get(f"{self.url}/events", params=query, headers=self.headers) as response:
                page = await response.json()
            if not page:
                return found
            found, after = found + page, page[-1]["seq"]

    async def answered(self):
        return [event["data"] for event in await self.events("job-completed")]

    async def letters(self):
        return [event["data"] for event in await self.events("eventbus.dead-letter")]

    async def until_answered(self, count):
        async with asyncio.timeout(LONG):
            while len(answered := await self.answered()) < count:  # noqa: ASYNC110 - it is in another process
                await asyncio.sleep(0.05)
        return answered


@pytest.fixture
async def work(real_bus, tmp_path):
    async with aiohttp.ClientSession() as http:
        yield Work(http, real_bus.url, tmp_path / "calls")


@pytest.fixture
def start_worker(spawn, real_bus, tmp_path):
    """Start a service whose handler for `job` is given as code; it notes each call."""

    async def start(handler, **environ):
        program = tmp_path / "worker.py"
        program.write_text(dedent(WORKER) + dedent(handler) + f"\nserve({{'job': job}}, group={GROUP!r})\n")
        environ = {"AUTHORIZATION_TOKEN": "calculate", "EVENTBUS_URL": real_bus.url, **environ}
        worker = await spawn(str(program), **environ)
        await worker.line("connected")
        return worker

    return start


WORKER = """
import asyncio, os, signal, threading, time
from eventbus_client import serve

turn = threading.Lock()

def note(event):
    with open("calls", "a") as calls:
        calls.write(f"{event['data']}\\n")

def done(event):
    return [{"name": "job-completed", "data": event["data"]}]
"""

TAKES_TURNS = """
def job(event):
    note(event)
    with turn:
        time.sleep(0.02)
    return done(event)
"""

KILLED_BY_57 = """
def job(event):
    note(event)
    if event["data"] == 57:
        os.kill(os.getpid(), signal.SIGKILL)
    return done(event)
"""

HANGS_AT_3 = """
def job(event):
    note(event)
    if event["data"] == 3 and not os.path.exists("helped"):
        open("helped", "w").close()
        time.sleep(600)
    return done(event)
"""

BLOCKED_BY_3 = """
async def job(event):
    note(event)
    if event["data"] == 3 and not os.path.exists("blocked"):
        open("blocked", "w").close()
        time.sleep(2.5)  # keeps the whole program from doing anything
    return done(event)
"""


async def test_what_waits_its_turn_in_a_healthy_service_is_called_once_and_not_given_up(real_bus, work, start_worker):
    await real_bus(EVENTBUS_ACK_WAIT="1")
    worker = await start_worker(TAKES_TURNS)
    await work.publish(200)  # four ack waits of work

    answered = await work.until_answered(200)

    assert sorted(answered) == list(range(200))
    assert work.calls() == Counter(range(200))
    assert await work.letters() == []
    assert await worker.end(signal.SIGTERM) == 0


async def test_what_a_killed_service_had_in_hand_is_answered_by_the_next(real_bus, work, start_worker):
    await real_bus(EVENTBUS_ACK_WAIT="1")
    worker = await start_worker(TAKES_TURNS)
    await work.publish(200)
    await work.until_answered(50)
    await worker.end(signal.SIGKILL)
    await start_worker(TAKES_TURNS)

    assert sorted(await work.until_answered(200)) == list(range(200))
    assert await work.letters() == []
    assert max(work.calls().values()) <= 2


async def test_one_job_that_kills_its_service_takes_no_other_along(real_bus, work, start_worker):
    await real_bus()
    worker = await start_worker("def job(event): return done(event)")  # makes the group
    await worker.end(signal.SIGTERM)
    await work.publish(200)
    for _ in range(7):
        worker = await start_worker(KILLED_BY_57)
        await worker.end()
    await start_worker(KILLED_BY_57)

    answered = await work.until_answered(199)
    async with asyncio.timeout(LONG):
        while not (letters := await work.letters()):  # noqa: ASYNC110
            await asyncio.sleep(0.05)

    assert sorted(answered) == [n for n in range(200) if n != 57]
    [letter] = letters
    assert (letter["name"], letter["attempts"], letter["group"]) == ("job", 5, GROUP)
    assert letter["deliveries"] == work.calls()[57] == 7


async def test_a_job_whose_handler_hangs_is_given_to_another_instance(real_bus, work, start_worker):
    await real_bus(EVENTBUS_ACK_WAIT="0.6")
    timeout = {"EVENTBUS_HANDLER_TIMEOUT": "0.5"}
    workers = [await start_worker(HANGS_AT_3, **timeout) for _ in range(2)]
    await work.publish(20)

    assert sorted(await work.until_answered(20)) == list(range(20))
    assert work.calls() == Counter(range(20)) + Counter([3])
    for worker in workers:
        await worker.end(signal.SIGTERM)
    assert "has been in its handler for 0.5 s" in workers[0].output + workers[1].output


async def test_a_handler_that_blocks_its_whole_service_costs_its_neighbours_nothing(real_bus, work, start_worker):
    await real_bus(EVENTBUS_ACK_WAIT="0.5", EVENTBUS_MAX_DELIVERIES="1")
    await start_worker(BLOCKED_BY_3)
    await work.publish(20)

    assert sorted(await work.until_answered(20)) == list(range(20))
    assert work.calls() == Counter(range(20))
    assert await work.letters() == []


async def test_work_in_hand_is_not_begun_again_when_the_bus_restarts(real_bus, work, start_worker):
    bus = await real_bus(EVENTBUS_MAX_DELIVERIES="1")
    worker = await start_worker(TAKES_TURNS)
    await work.publish(200)
    await work.until_answered(20)
    for _ in range(2):
        await bus.end(signal.SIGTERM)
        bus = await real_bus(EVENTBUS_MAX_DELIVERIES="1")
        await worker.line("connected")

    assert sorted(await work.until_answered(200)) == list(range(200))
    assert work.calls().total() < 220  # an ack may be on its way when the bus stops to listen
    assert await work.letters() == []


async def test_work_in_hand_is_not_given_up_when_the_bus_is_killed(real_bus, work, start_worker):
    bus = await real_bus(EVENTBUS_MAX_DELIVERIES="1")
    worker = await start_worker(TAKES_TURNS)
    await work.publish(200)
    await work.until_answered(20)
    for _ in range(2):
        await bus.end(signal.SIGKILL)
        bus = await real_bus(EVENTBUS_MAX_DELIVERIES="1")
        await worker.line("connected")

    assert sorted(await work.until_answered(200)) == list(range(200))
    assert await work.letters() == []


async def test_a_network_that_vanishes_without_a_word_is_noticed_and_the_work_goes_on(
    real_bus, work, start_worker, box, tmp_path
):
    await real_bus(EVENTBUS_HEARTBEAT="0.2")
    connected = tmp_path / "connected"
    between = await box(real_bus.port)
    worker = await start_worker(TAKES_TURNS, EVENTBUS_URL=between.url, EVENTBUS_CONNECTED_FILE=str(connected))
    await work.publish(1)
    await work.until_answered(1)
    assert connected.exists()

    between.passes = False
    await worker.line("because nothing came from it for 3 heartbeats")
    assert not connected.exists()
    await work.publish(5)
    between.passes = True

    await work.until_answered(6)
    assert await work.letters() == []
