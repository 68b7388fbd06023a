"""What the author of a service is promised: write functions, name them in a dictionary, and `serve` does the rest."""

import asyncio
import os
import signal
from contextlib import suppress
from pathlib import Path

import pytest

# The example of the documentation; the same, killed by its first ack; and a service that goes wrong.
SHOUTER = Path(__file__).parents[2] / "docs" / "examples" / "shouter.py"
DIES_BEFORE_ITS_ACK = """
import os, runpy, signal, sys
from websockets.asyncio.client import ClientConnection

send = ClientConnection.send

async def send_or_die(connection, message):
    if '"ack"' in message:
        os.kill(os.getpid(), signal.SIGKILL)
    await send(connection, message)

ClientConnection.send = send_or_die
runpy.run_path(sys.argv.pop(1))
"""
CALCULATOR = """
import sys, time
from eventbus_client import serve

def divide(event):
    return [{"name": "divide-completed", "data": event["data"][0] / event["data"][1]}]

async def count(event):
    return [{"name": "count-completed", "data": number} for number in range(event["data"])]

def hang(event):
    print("hanging", file=sys.stderr, flush=True)
    time.sleep(3600)

serve({"divide": divide, "count": count, "hang": hang}, group="calculator")
"""


@pytest.fixture
def start_shouter(spawn, free_port):
    async def start(*before, **environ):
        settings = {"HTTP_EVENTBUS_SERVER_PORT": str(free_port), "SHOUTER_TOKEN": "louder"}
        return await spawn(*before, str(SHOUTER), **settings | environ)

    return start


@pytest.fixture
def start_calculator(spawn, free_port):
    async def start():
        return await spawn("-c", CALCULATOR, HTTP_EVENTBUS_SERVER_PORT=str(free_port), AUTHORIZATION_TOKEN="calculate")

    return start


async def test_a_dictionary_of_pure_functions_is_a_whole_service(real_bus, start_shouter, visit):
    await real_bus()
    shouter = await start_shouter()
    await shouter.line(f'^connected to {real_bus.url} as "shouter"$')
    anna = await visit()

    seq = await anna.ask("shout", "is anybody there?", traceparent="00-1-2-01")

    [answer] = await anna.answers(1)
    assert (answer["name"], answer["data"]) == ("shout-completed", "IS ANYBODY THERE?")
    assert answer["source"] == "shouter"
    assert answer["context"] == {"identifier": anna.address, "traceparent": "00-1-2-01", "cause": str(seq)}
    await shouter.line(f"^answered shout #{seq}$")


async def test_what_a_developers_machine_happens_to_hold_does_no_harm(real_bus, start_shouter, visit, tmp_path):
    home = tmp_path / "home"
    home.mkdir(mode=0o555)
    for_other_programs = {
        **dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"), "http://127.0.0.1:1"),
        "HOST": "elsewhere.invalid",
        "PORT": "80",
        "HTTP_HOST": "elsewhere.invalid",
        "DEBUG": "*",
        "LANG": "tr_TR.UTF-8",
        "LC_ALL": "C",
        "TZ": "Asia/Kathmandu",
        "HOME": str(home),
        "TMPDIR": str(home),
        "PYTHONSTARTUP": "/nowhere.py",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUNBUFFERED": "",
        "PYTHONHASHSEED": "0",
        "NODE_OPTIONS": "--inspect",
        "CDPATH": "/",
        "MAKEFLAGS": "-j4",
        "PIP_REQUIRE_VIRTUALENV": "1",
        "SSLKEYLOGFILE": "/nowhere/keys",
    }
    umask = os.umask(0o077)
    try:
        await real_bus(**for_other_programs)
        shouter = await start_shouter(**for_other_programs)
    finally:
        os.umask(umask)
    await shouter.line("^SSLKEYLOGFILE=/nowhere/keys: No such file or directory; TLS keys are not written$")
    anna = await visit()

    await anna.ask("shout", "straße, İstanbul")

    assert [answer["data"] for answer in await anna.answers(1)] == ["STRASSE, İSTANBUL"]


async def test_what_was_asked_before_the_service_ever_ran_is_answered(real_bus, start_shouter, visit):
    await real_bus()
    anna = await visit()
    await anna.ask("shout", "one")
    await anna.ask("shout", "two")

    await start_shouter()

    assert sorted(answer["data"] for answer in await anna.answers(2)) == ["ONE", "TWO"]


async def test_two_instances_share_the_work(real_bus, start_shouter, visit):
    await real_bus()
    instances = [await start_shouter(), await start_shouter()]
    for instance in instances:
        await instance.line("^connected to")
    anna = await visit()

    seqs = [await anna.ask("shout", "hello") for _ in range(20)]

    answers = await anna.answers(20)
    assert sorted(int(answer["context"]["cause"]) for answer in answers) == seqs
    for instance in instances:
        await instance.end(signal.SIGTERM)
        assert "answered shout" in instance.output
    assert "".join(instance.output for instance in instances).count("answered shout") == 20


async def test_a_question_that_comes_twice_gets_one_answer(real_bus, start_shouter, visit):
    await real_bus()
    anna = await visit()
    seq = await anna.ask("shout", "hello")
    mortal = await start_shouter("-c", DIES_BEFORE_ITS_ACK)
    await mortal.line(f"^answered shout #{seq}$")
    assert await mortal.end() == -signal.SIGKILL

    other = await start_shouter()

    await other.line(f"^answered shout #{seq}, delivery 2$")
    last = await anna.ask("shout", "and goodbye")
    assert [answer["context"]["cause"] for answer in await anna.answers(2)] == [str(seq), str(last)]


async def test_a_mistake_in_a_handler_shows_where_it_is_and_the_service_goes_on(real_bus, start_calculator, visit):
    await real_bus()
    calculator = await start_calculator()
    await calculator.line("^connected to")
    anna = await visit()

    wrong = await anna.ask("divide", [1, 0])
    await calculator.line(f"^divide #{wrong} stays unanswered: its handler failed$")
    await calculator.line("line 6, in divide")
    await calculator.line("^ZeroDivisionError")
    await anna.ask("divide", [1, 2])

    [answer] = await anna.answers(1)
    assert answer["data"] == 0.5


async def test_a_handler_may_be_async_and_give_any_number_of_answers(real_bus, start_calculator, visit):
    await real_bus()
    await start_calculator()
    anna = await visit()

    await anna.ask("count", 0)
    await anna.ask("count", 3)

    assert [answer["data"] for answer in await anna.answers(3)] == [0, 1, 2]


async def test_the_service_finds_the_bus_whenever_it_comes(real_bus, start_shouter, visit):
    shouter = await start_shouter()
    await shouter.line(f"^reconnecting to {real_bus.url} in .* s because nobody answers there$")
    bus = await real_bus()
    await shouter.line("^connected to")
    await bus.end(signal.SIGTERM)
    await shouter.line("^reconnecting to .* s because the bus said: the bus is stopping")
    await real_bus()
    anna = await visit()

    await anna.ask("shout", "hello")

    [answer] = await anna.answers(1)
    assert answer["data"] == "HELLO"


@pytest.mark.parametrize("signal_number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_it_cleanly_and_soon(real_bus, start_shouter, signal_number):
    await real_bus()
    shouter = await start_shouter()
    await shouter.line("^connected to")

    async with asyncio.timeout(5):
        assert await shouter.end(signal_number) == 0

    assert shouter.output.endswith("stopped\n")
    assert "Traceback" not in shouter.output


async def test_signals_that_come_while_it_ends_change_nothing(real_bus, start_shouter):
    await real_bus()
    shouter = await start_shouter()
    await shouter.line("^connected to")
    ending = asyncio.create_task(shouter.end(signal.SIGINT))

    while not ending.done():
        with suppress(ProcessLookupError):
            os.kill(shouter.process.pid, signal.SIGTERM)  # `send_signal` could take the exit status from the waiter
        await asyncio.wait([ending], timeout=0.001)

    assert ending.result() == 0
    assert "Traceback" not in shouter.output


async def test_a_signal_ends_it_while_it_waits_for_the_bus(start_shouter):
    shouter = await start_shouter()
    await shouter.line("^reconnecting")

    async with asyncio.timeout(5):
        assert await shouter.end(signal.SIGTERM) == 0


async def test_a_handler_that_never_returns_does_not_keep_it_from_ending(real_bus, start_calculator, visit):
    await real_bus()
    calculator = await start_calculator()
    await calculator.line("^connected to")
    anna = await visit()
    await anna.ask("hang", None)
    await calculator.line("^hanging")

    async with asyncio.timeout(5):
        assert await calculator.end(signal.SIGTERM) == 0

    assert calculator.output.endswith("questions left unanswered: 1\nstopped\n")


async def test_a_wrong_token_is_said_in_one_line_and_ends_it(real_bus, start_shouter):
    await real_bus()
    shouter = await start_shouter(SHOUTER_TOKEN="wrong-secret")

    assert await shouter.end() == 3

    [line] = shouter.output.splitlines()
    assert line.startswith(f"{real_bus.url} does not accept this service (wrong credentials")
    assert line.endswith(": SHOUTER_TOKEN must be this service's token in the bus's services file")
    assert "wrong-secret" not in line


@pytest.mark.parametrize(
    ("setting", "line"),
    [
        ({"SHOUTER_TOKEN": "", "AUTHORIZATION_TOKEN": "louder"}, "SHOUTER_TOKEN is not set: set it to the token "),
        ({"EVENTBUS_URL": "localhost:3001"}, "EVENTBUS_URL=localhost:3001: expected http:// or https://"),
    ],
)
async def test_a_wrong_setting_is_said_in_one_line_and_ends_it(start_shouter, setting, line):
    shouter = await start_shouter(**setting)

    assert await shouter.end() == 2

    assert len(shouter.output.splitlines()) == 1
    assert shouter.output.startswith(line)


async def test_a_file_is_there_while_it_is_connected(real_bus, start_shouter, visit, tmp_path):
    connected = tmp_path / "connected"
    connected.touch()  # left there by one that was killed
    shouter = await start_shouter(EVENTBUS_CONNECTED_FILE=str(connected))
    await shouter.line("^reconnecting")
    assert not connected.exists()

    bus = await real_bus()
    anna = await visit()
    await anna.ask("shout", "hello")
    await shouter.line("^answered")
    assert connected.exists()

    await bus.end(signal.SIGTERM)
    await shouter.line("^reconnecting")
    assert not connected.exists()
