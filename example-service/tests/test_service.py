"""How a service talks to the bus, also when the bus does not behave."""

import asyncio
import functools
import sys
import threading
import time
from types import SimpleNamespace

import pytest
from aiohttp import WSCloseCode, web
from aiohttp.test_utils import TestServer
from eventbus_client import NotNow
from eventbus_client import connection as connection_module
from eventbus_client import service as service_module
from eventbus_client.connection import NotAllowed


def shout(event):
    return [{"name": "shout-completed", "data": event["data"].upper()}]


SHOUT = {"shout": shout}


def question(name="shout", seq=1, **fields):
    """An event as the bus delivers it."""
    context = {"identifier": "client-anna", "traceparent": "00-1-2-01"}
    event = {"name": name, "data": "hello", "context": context, "id": "1", "source": "client"}
    return event | {"seq": seq, "time": "2026-11-23T09:00:00.123Z"} | fields


async def test_it_authenticates_with_its_token_and_shares_the_work_from_the_first_question_on(bus, run):
    await run(bus, {"shout": None, "whisper": None})
    await bus.service()

    group = {"group": "shouter", "after": 0, "names": ["shout", "whisper"], "prefetch": 500}
    assert bus.said == [{"action": "authenticate", "credentials": "secret"} | group]


async def test_a_question_is_answered_for_the_one_who_asked(bus, run):
    await run(bus, SHOUT)

    await (await bus.service()).send_json(question(seq=42))

    assert await bus.answer() == {
        "name": "shout-completed",
        "data": "HELLO",
        "context": {"identifier": "client-anna", "traceparent": "00-1-2-01", "cause": "42"},
        "id": "e1-42-1",
    }
    assert bus.headers[0]["Authorization"] == "Bearer secret"


async def test_a_question_is_acked_once_all_its_answers_are_in_the_log(bus, run):
    def many(event):
        return [{"name": "one", "data": 1}, {"name": "two", "data": 2}]

    let_go = asyncio.Event()

    async def take_time(_):
        await let_go.wait()
        return web.json_response({"seq": 1})

    bus.replies += [200, take_time]
    await run(bus, {"count": many, "quick": lambda _: []})
    socket = await bus.service()
    await socket.send_json(question("count", seq=5))
    await bus.answer()
    await bus.answer()
    await socket.send_json(question("quick", seq=6))

    first = await bus.command()
    let_go.set()
    second = await bus.command()

    assert [first, second] == [{"action": "ack", "seq": 6}, {"action": "ack", "seq": 5}]


@pytest.mark.parametrize(
    ("delivery", "delay"),
    [(1, 4.0), (2, 16.0), (4, 256.0), (8, 65536.0), (9, 65536.0), pytest.param(10**900, 65536.0, id="any")],
)
async def test_what_cannot_be_answered_is_given_back_for_later(bus, run, delivery, delay):
    await run(bus, {"divide": lambda _: 1 / 0})

    await (await bus.service()).send_json(question("divide", seq=7, **({"delivery": delivery} if delivery > 1 else {})))

    assert await bus.command() == {"action": "nack", "seq": 7, "delay": delay}


@pytest.mark.parametrize("delivery", ["x", None, [], 1.5, -1, pytest.param(-(10**900), id="-any")])
async def test_a_delivery_that_is_no_count_is_the_first(bus, run, caplog, delivery):
    caplog.set_level("INFO")
    await run(bus, SHOUT)
    socket = await bus.service()

    await socket.send_json(question(seq=7, delivery=delivery))
    assert await bus.command() == {"action": "ack", "seq": 7}
    await socket.send_json(question(seq=8, delivery=delivery, data=None))
    assert await bus.command() == {"action": "nack", "seq": 8, "delay": 4.0}

    assert "answered shout #7" in caplog.messages


async def test_an_answer_that_the_bus_refuses_is_none(bus, run):
    bus.replies.append(403)
    await run(bus, SHOUT)

    await (await bus.service()).send_json(question(seq=7))

    assert await bus.command() == {"action": "nack", "seq": 7, "delay": 4.0}


async def test_a_connection_that_breaks_before_the_ack_costs_nothing(bus, run, caplog):
    caplog.set_level("INFO")
    let_go = asyncio.Event()

    async def take_time(_):
        await let_go.wait()
        return web.json_response({"seq": 1})

    bus.replies.append(take_time)
    await run(bus, SHOUT)
    socket = await bus.service()
    await socket.send_json(question(seq=4))
    first = await bus.answer()
    await socket.close()
    socket = await bus.service()
    let_go.set()

    assert bus.said[1] == bus.said[0] | {"working": [4], "epoch": "e1"}
    assert await bus.command() == {"action": "ack", "seq": 4}
    await socket.send_json(question(seq=4, delivery=2))  # as a bus might that had not heard it
    assert await bus.answer() == first
    assert await bus.command() == {"action": "ack", "seq": 4}
    assert "answered shout #4, delivery 2" in caplog.messages


async def test_a_service_that_comes_back_says_which_log_it_knew_so_that_it_is_told_of_a_gap(bus, run):
    await run(bus, SHOUT)
    await (await bus.service()).close()
    await bus.service()

    assert bus.said[1] == bus.said[0] | {"epoch": "e1"}


async def test_what_is_in_hand_is_nothing_to_the_bus_of_another_log(bus, run):
    let_go = asyncio.Event()
    await run(bus, {"wait": held_until(let_go), "quick": lambda _: []})
    socket = await bus.service()
    await socket.send_json(question("wait", seq=4))
    await socket.send_json(question("quick", seq=5))
    assert await bus.command() == {"action": "ack", "seq": 5}
    bus.epoch = "e2"
    await socket.close()
    socket = await bus.service()
    let_go.set()
    await socket.send_json(question("wait", seq=4))
    await socket.send_json(question("quick", seq=6))

    said = [await bus.command(), await bus.command()]
    assert sorted(each["seq"] for each in said) == [4, 6]


async def test_an_answer_of_several_events_numbers_them(bus, run):
    def many(event):
        return [{"name": "one", "data": 1}, {"name": "two", "data": 2}]

    await run(bus, {"count": many})
    await (await bus.service()).send_json(question("count", seq=5))

    answers = [await bus.answer(), await bus.answer()]
    assert [(answer["name"], answer["id"]) for answer in answers] == [("one", "e1-5-1"), ("two", "e1-5-2")]


@pytest.mark.parametrize(
    "frame",
    [
        '{"action": "shout", "error": "unknown action"}',
        '{"action": "x", "name": "shout", "seq": 1, "data": [], "context": {}}',
        '{"name": "shout-completed", "data": []}',
        '{"journal": "published"}',
        "[]",
        "7",
        "",
        "{",
        "[" * 100_000,
        '{"name": "shout"}',
        '{"name": []}',
        '{"name": {}, "seq": 1, "data": [], "context": {}}',
    ],
)
async def test_what_is_no_question_is_let_pass(bus, run, frame):
    await run(bus, SHOUT)
    socket = await bus.service()

    await socket.send_str(frame)
    await socket.send_json(question(seq=2))

    assert (await bus.answer())["id"] == "e1-2-1"


async def test_what_a_newer_instance_wants_is_given_back_to_it(bus, run, caplog):
    await run(bus, SHOUT)
    socket = await bus.service()

    await socket.send_json(question(name="whisper", seq=3))

    assert await bus.command() == {"action": "nack", "seq": 3, "delay": 4.0}
    assert "whisper #3 is for another instance: this one has no handler for it" in caplog.text


async def test_what_the_bus_has_let_go_is_told(bus, run, caplog):
    async def greet(service):
        answer = {"action": "authenticate", "authenticated": True, "service": "shouter", "seq": 9, "epoch": "e1"}
        await service.send_json(answer | {"gap": True, "oldest": 7})

    bus.greetings.append(greet)
    await run(bus, SHOUT)
    socket = await bus.service()
    await socket.send_json(question(seq=8))
    await bus.answer()

    assert "events are lost: the bus has let them go; it goes on with #7" in caplog.text


async def test_it_shows_at_the_handshake_that_it_is_a_service(bus, run):
    await run(bus, SHOUT)
    await bus.service()

    assert bus.handshakes[0]["Authorization"] == "Bearer secret"


async def test_no_more_questions_are_taken_than_can_be_answered_at_once(bus, run, monkeypatch):
    monkeypatch.setattr(service_module, "MOST_AT_ONCE", 2)
    pair = asyncio.Barrier(2)
    at_once, most = 0, 0

    async def wait_for_another(_):
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        await pair.wait()
        at_once -= 1
        return web.json_response({"seq": 1})

    bus.replies += [wait_for_another] * 8
    await run(bus, SHOUT)
    socket = await bus.service()
    for seq in range(8):
        await socket.send_json(question(seq=seq))

    assert len([await bus.answer() for _ in range(8)]) == 8
    assert most == 2


async def test_a_full_room_does_not_cost_the_connection(bus, run, monkeypatch):
    monkeypatch.setattr(service_module, "MOST_AT_ONCE", 1)
    hasty = functools.partial(connection_module.DirectConnect, ping_interval=0.01, ping_timeout=0.01)
    monkeypatch.setattr(connection_module, "DirectConnect", hasty)
    attempts = []

    async def slowly(event):
        await asyncio.sleep(0.02)
        return shout(event)

    await run(bus, {"shout": slowly}, backoff=lambda attempt: attempts.append(attempt) or 0.0)
    socket = await bus.service()

    for seq in range(40):  # more than websockets reads ahead, so that for a while it reads nothing
        await socket.send_json(question(seq=seq))

    assert len([await bus.answer() for _ in range(40)]) == 40
    assert attempts == []


async def test_a_handler_gets_the_event_as_it_came_and_the_name_of_its_log(bus, run):
    handed = asyncio.Queue()

    async def look(event):
        handed.put_nowait(event)
        return []

    await run(bus, {"look": look})
    await (await bus.service()).send_json(question("look", seq=3, delivery=2, later="more"))

    assert await handed.get() == question("look", seq=3, delivery=2, later="more", epoch="e1")


async def test_another_log_asks_other_questions(bus, run):
    await run(bus, SHOUT)
    socket = await bus.service()
    await socket.send_json(question(seq=1))
    first = await bus.answer()

    bus.epoch = "e2"
    await socket.close()
    await (await bus.service()).send_json(question(seq=1))

    assert [first["id"], (await bus.answer())["id"]] == ["e1-1-1", "e2-1-1"]


async def test_the_same_question_gets_an_answer_with_the_same_id(bus, run):
    await run(bus, SHOUT)
    socket = await bus.service()

    await socket.send_json(question(seq=3))
    await bus.command()
    await socket.send_json(question(seq=3, delivery=2))

    assert await bus.answer() == await bus.answer()


async def test_a_question_that_comes_again_while_it_is_at_work_is_not_begun_twice(bus, run):
    let_go = asyncio.Event()
    runs = []
    await run(bus, {"wait": held_until(let_go, runs), "quick": lambda _: []})
    socket = await bus.service()
    await socket.send_json(question("wait", seq=4))
    await socket.close()
    socket = await bus.service()
    for delivery in (2, 3):
        await socket.send_json(question("wait", seq=4, delivery=delivery))
    await socket.send_json(question("quick", seq=5))
    assert await bus.command() == {"action": "ack", "seq": 5}

    let_go.set()

    assert await bus.command() == {"action": "ack", "seq": 4}
    assert runs == [4]


def hurried(**settings):
    """A greeting of a bus that is set to what is given."""

    async def greet(service):
        answer = {"action": "authenticate", "authenticated": True, "service": "shouter", "seq": 0, "epoch": "e1"}
        await service.send_json(answer | settings)

    return greet


def held_until(let_go, runs=None):
    async def handler(event):
        if runs is not None:
            runs.append(event["seq"])
        await let_go.wait()
        return []

    return handler


async def test_the_bus_is_told_what_waits_and_what_is_at_work(bus, run, monkeypatch):
    monkeypatch.setattr(service_module, "MOST_AT_ONCE", 1)
    bus.greetings.append(hurried(ack_wait=0.03))
    let_go = asyncio.Event()
    await run(bus, {"wait": held_until(let_go)})
    socket = await bus.service()
    for seq in (7, 8, 9):
        await socket.send_json(question("wait", seq=seq))

    while (said := await bus.command()) != {"action": "working", "seq": [7, 8, 9]}:
        assert said["action"] == "working"
    let_go.set()
    rest = [said for _ in range(6) if (said := await bus.command())["action"] == "ack"]

    while len(rest) < 3:
        rest += [said] if (said := await bus.command())["action"] == "ack" else []
    assert [said["seq"] for said in rest] == [7, 8, 9]


@pytest.mark.parametrize("ack_wait", [None, 0, -1, "30", [], True, pytest.param(10**900, id="no end")])
async def test_a_bus_that_says_no_ack_wait_is_told_nothing(bus, run, ack_wait):
    bus.greetings.append(hurried(**({} if ack_wait is None else {"ack_wait": ack_wait})))
    await run(bus, SHOUT)
    socket = await bus.service()

    await socket.send_json(question(seq=1))

    assert await bus.command() == {"action": "ack", "seq": 1}


async def test_a_handler_that_hangs_is_said_to_be_at_work_no_longer(bus, run, caplog):
    bus.greetings.append(hurried(ack_wait=0.03))
    let_go = asyncio.Event()
    await run(bus, {"hang": held_until(let_go)}, handler_timeout=0.05)
    socket = await bus.service()
    await socket.send_json(question("hang", seq=7))

    told = []
    while not told or told[-1] != []:
        told += [seqs] if (seqs := (await bus.command())["seq"]) or told else []

    assert told[0] == [7]
    line = "hang #7 has been in its handler for 0.05 s, which is EVENTBUS_HANDLER_TIMEOUT: another instance may get it"
    assert caplog.messages.count(line) == 1
    await socket.send_json(question("hang", seq=7, delivery=2))
    while (said := await bus.command())["action"] != "nack":
        assert said["seq"] == []
    assert said == {"action": "nack", "seq": 7, "delay": 16.0}
    let_go.set()
    while (said := await bus.command())["action"] != "ack":
        assert said["seq"] == []
    assert said["seq"] == 7


async def test_a_bus_that_is_silent_for_three_heartbeats_is_left(bus, run, box, tmp_path, caplog):
    connected_file = tmp_path / "connected"
    bus.greetings.append(hurried(heartbeat=0.05))
    failures = asyncio.Queue()

    async def wait(_):
        await asyncio.Event().wait()

    between = await box(bus.port)
    await run(
        SimpleNamespace(url=between.url), {"wait": wait}, backoff=lambda n: failures.put_nowait(n) or 0.0,
        connected_file=connected_file,
    )  # fmt: skip
    await bus.service()
    await until(connected_file.exists)
    between.passes = False

    await asyncio.wait_for(failures.get(), timeout=10)

    assert "nothing came from it for 3 heartbeats" in caplog.text
    await until(lambda: not connected_file.exists())
    between.passes = True
    await bus.service()


async def test_silence_instead_of_a_handshake_or_of_an_answer_ends_the_attempt(bus, run, box, monkeypatch, caplog):
    caplog.set_level("INFO")
    monkeypatch.setattr(connection_module, "TIMEOUT", 0.1)
    failures = asyncio.Queue()

    async def say_nothing(_):
        pass

    bus.greetings.append(say_nothing)
    between = await box(bus.port)
    between.passes = False
    await run(SimpleNamespace(url=between.url), SHOUT, backoff=lambda n: failures.put_nowait(n) or 0.0)
    await asyncio.wait_for(failures.get(), timeout=10)
    between.passes = True
    while bus.greetings:
        await asyncio.wait_for(failures.get(), timeout=10)
    await bus.service()

    await until(lambda: any(message.startswith("connected to") for message in caplog.messages))


async def test_a_service_that_has_its_hands_full_is_not_silence(bus, run, monkeypatch):
    monkeypatch.setattr(service_module, "MOST_AT_ONCE", 1)
    bus.greetings.append(hurried(heartbeat=0.02))
    failures = []
    let_go = asyncio.Event()
    await run(bus, {"wait": held_until(let_go)}, backoff=lambda n: failures.append(n) or 0.0)
    socket = await bus.service()
    for seq in range(40):  # more than websockets reads ahead
        await socket.send_json(question("wait", seq=seq))
    for _ in range(10):
        await asyncio.sleep(0.02)  # ten heartbeats; nothing can be waited for where nothing happens

    let_go.set()

    assert [(await bus.command())["seq"] for _ in range(40)] == list(range(40))
    assert failures == []


async def test_a_handler_that_keeps_the_service_from_reading_does_not_cost_the_connection(bus, run):
    bus.greetings.append(hurried(heartbeat=0.02))
    failures = []

    async def block(event):
        time.sleep(0.5)  # noqa: ASYNC251 - a mistake that handlers make
        return []

    await run(bus, {"block": block}, backoff=lambda n: failures.append(n) or 0.0)
    socket = await bus.service()
    for seq in range(2):
        await socket.send_json(question("block", seq=seq))
        await bus.command()

    assert failures == []


async def test_handlers_that_take_their_time_do_so_at_the_same_time(bus, run):
    all_at_once = threading.Barrier(100)

    def wait_for_the_others(event):
        all_at_once.wait(timeout=10)
        return shout(event)

    await run(bus, {"shout": wait_for_the_others})
    socket = await bus.service()
    for seq in range(100):
        await socket.send_json(question(seq=seq))

    assert len({(await bus.answer())["id"] for _ in range(100)}) == 100


async def test_a_number_of_any_length_gets_an_answer(bus, run):
    await run(bus, {"count": lambda event: [{"name": "counted", "data": event["data"] > 10**999}]})

    await (await bus.service()).send_str('{"name": "count", "seq": 1, "context": {}, "data": ' + "9" * 10_000 + "}")

    assert (await bus.answer())["data"] is True


async def test_only_what_the_bus_took_counts_as_answered(bus, run, caplog):
    caplog.set_level("INFO")
    bus.replies.append(403)
    await run(bus, SHOUT)
    socket = await bus.service()

    await socket.send_json(question(seq=1))
    await until(lambda: "shout-completed is dropped: the bus answered 403 {}" in caplog.messages)
    await socket.send_json(question(seq=2))
    await until(lambda: "answered shout #2" in caplog.messages)

    assert "answered shout #1" not in caplog.messages


async def test_a_mistake_in_a_handler_is_shown_and_the_service_lives_on(bus, run, caplog):
    await run(bus, {"divide": lambda _: 1 / 0, "shout": shout})
    socket = await bus.service()

    await socket.send_json(question("divide", seq=7))
    await socket.send_json(question(seq=8))

    assert (await bus.answer())["id"] == "e1-8-1"
    [failure] = [record for record in caplog.records if record.exc_info]
    assert failure.message == "divide #7 stays unanswered: its handler failed"
    assert failure.exc_info[0] is ZeroDivisionError


@pytest.mark.parametrize(
    ("mistake", "line"),
    [
        (lambda _: next(iter([])), "StopIteration"),
        (lambda _: sys.exit(1), "SystemExit: 1"),
        (lambda _: asyncio.run(cancelled()), "CancelledError"),
        (lambda _: None, "TypeError: the handler returned None; expected a list of events, such as "),
        (lambda _: {"name": "x"}, "TypeError: the handler returned {'name': 'x'}; expected a list of events"),
        (lambda _: ["x"], "TypeError: the handler returned ['x']; expected a list of events"),
        (lambda _: [{"data": 1}], "TypeError: the handler returned [{'data': 1}]; expected a list of events"),
        (lambda _: [{"name": "x", "data": {1}}], "TypeError: Object of type set is not JSON serializable"),
    ],
)
async def test_whatever_the_mistake_is_its_author_sees_it_and_the_question_comes_again(bus, run, caplog, mistake, line):
    await run(bus, {"err": mistake})

    await (await bus.service()).send_json(question("err", seq=7))

    assert await bus.command() == {"action": "nack", "seq": 7, "delay": 4.0}
    assert line in caplog.text


async def test_a_mistake_in_an_async_handler_is_one_like_any_other(bus, run, caplog):
    async def divide(event):
        return event["data"] / 0

    await run(bus, {"divide": divide})

    await (await bus.service()).send_json(question("divide", seq=7, data=1))

    assert await bus.command() == {"action": "nack", "seq": 7, "delay": 4.0}
    assert "ZeroDivisionError" in caplog.text


async def test_a_handler_that_waits_for_what_is_cancelled_has_failed(bus, run, caplog):
    async def wait(event):
        waiting = asyncio.create_task(asyncio.sleep(60))
        waiting.cancel()
        await waiting

    await run(bus, {"wait": wait})

    await (await bus.service()).send_json(question("wait", seq=7))

    assert await bus.command() == {"action": "nack", "seq": 7, "delay": 4.0}
    assert "wait #7 stays unanswered: its handler failed" in caplog.messages


async def test_a_handler_that_is_cancelled_because_the_service_stops_has_not_failed(bus, run, monkeypatch, caplog):
    monkeypatch.setattr(service_module, "STOP_SECONDS", 0.05)
    begun = asyncio.Event()

    async def wait(event):
        begun.set()
        await asyncio.sleep(60)

    service, _ = await run(bus, {"wait": wait})
    await (await bus.service()).send_json(question("wait"))
    async with asyncio.timeout(10):
        await begun.wait()

    await service.stop()

    assert caplog.messages == ["questions left unanswered: 1"]


async def test_a_handler_that_cannot_answer_now_says_so_in_one_line(bus, run, caplog):
    def refuse(event):
        raise NotNow("the registry\nis closed")

    await run(bus, {"shout": refuse})

    await (await bus.service()).send_json(question(seq=7))

    assert await bus.command() == {"action": "nack", "seq": 7, "delay": 4.0}
    assert caplog.messages == ["shout #7 stays unanswered: the registry is closed"]
    assert not any(record.exc_info for record in caplog.records)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_the_token_does_not_follow_a_redirect(bus, run, caplog, status):
    async def redirect(_):
        place = ("Location", f"ws://localhost:{bus.port}/ws")
        return web.Response(status=status, headers=[place, place])

    attempts = asyncio.Queue()
    app = web.Application()
    app.router.add_get("/ws", redirect)
    async with TestServer(app, host="localhost") as moved:
        old = SimpleNamespace(url=f"http://localhost:{moved.port}")
        _, listening = await run(old, SHOUT, backoff=lambda attempt: attempts.put_nowait(attempt) or 0.0)
        async with asyncio.timeout(10):
            assert [await attempts.get() for _ in range(2)] == [0, 1]
        listening.cancel()

    assert bus.said == []
    assert f"because it redirects to ws://localhost:{bus.port}/ws, and the token is not for" in caplog.messages[0]


async def test_a_broken_connection_is_made_again(bus, run, monkeypatch):
    monkeypatch.setattr(service_module, "PROOF_SECONDS", 0.0)
    attempts = []
    await run(bus, SHOUT, backoff=lambda attempt: attempts.append(attempt) or 0.0)

    (await bus.service())._req.transport.abort()
    await (await bus.service()).close(code=WSCloseCode.SERVICE_RESTART)
    await (await bus.service()).close(code=WSCloseCode.POLICY_VIOLATION)
    await (await bus.service()).close(code=WSCloseCode.OK)

    await (await bus.service()).send_json(question(seq=9))
    assert (await bus.answer())["id"] == "e1-9-1"
    assert attempts == [0, 0, 0, 0]  # each connection had lasted, so it begins to count anew


async def test_it_waits_longer_and_longer_for_a_bus_that_always_hangs_up(bus, run):
    attempts = []
    await run(bus, SHOUT, backoff=lambda attempt: attempts.append(attempt) or 0.0)

    for _ in range(4):
        await (await bus.service()).close()

    await bus.service()
    assert attempts == [0, 1, 2, 3]


async def test_it_waits_longer_and_longer_for_a_bus_that_is_not_there(bus, run, caplog):
    await bus.stop()
    attempts = asyncio.Queue()
    await run(bus, SHOUT, backoff=lambda attempt: attempts.put_nowait(attempt) or 0.01)
    assert [await attempts.get() for _ in range(4)] == [0, 1, 2, 3]

    again = type(bus)(bus.port)
    await again.start()

    await again.service()
    await again.stop()
    assert caplog.messages[0].startswith(f"reconnecting to {bus.url} in 0.0 s because ")


async def test_an_answer_survives_the_connection_that_its_question_came_by(bus, run):
    bus.replies.append(503)
    await run(bus, SHOUT, backoff=lambda _: 0.05)
    socket = await bus.service()

    await socket.send_json(question(seq=4))
    first = await bus.answer()
    await socket.close()

    assert await bus.answer() == first
    await bus.service()


async def test_what_does_not_answer_as_a_bus_is_tried_again(bus, run, caplog):
    async def say(service, answer):
        await service.send_json(answer)

    bus.greetings += [
        lambda service: say(service, {"action": "authenticate", "authenticated": True}),
        lambda service: say(service, ["hello"]),
    ]
    await run(bus, SHOUT)

    for _ in range(2):
        await bus.service()
    await (await bus.service()).send_json(question())
    await bus.answer()
    assert sum("does not answer as the bus does" in line for line in caplog.messages) == 2


async def test_what_the_bus_does_not_understand_is_told_in_its_own_words(bus, run, caplog):
    async def refuse(service):
        await service.send_json({"action": "authenticate", "error": "group: expected visible ASCII characters"})

    bus.greetings.append(refuse)
    await run(bus, SHOUT)

    await bus.service()
    await bus.service()
    assert caplog.messages[0].endswith(" because the bus said: group: expected visible ASCII characters")


@pytest.mark.parametrize(
    ("why", "line"), [(b"", "the bus closed with code 1011"), (b"a defect", "the bus said: a defect")]
)
async def test_a_bus_that_hangs_up_is_told_by_its_reason_or_its_code(bus, run, caplog, why, line):
    bus.greetings.append(lambda service: service.close(code=1011, message=why))
    await run(bus, SHOUT)

    await bus.service()
    await bus.service()
    assert caplog.messages[0].endswith(f" because {line}")


@pytest.mark.parametrize("error", ["", None])
async def test_a_refusal_without_a_reason_is_told_as_that(bus, run, caplog, error):
    async def refuse(service):
        await service.send_json({"action": "authenticate", "authenticated": False, "error": error})

    bus.greetings.append(refuse)
    _, listening = await run(bus, SHOUT)

    with pytest.raises(NotAllowed, match="no reason given"):
        await asyncio.wait_for(listening, 10)


@pytest.mark.parametrize("says", [True, False])
async def test_a_service_that_is_not_accepted_does_not_come_back(bus, run, says):
    async def refuse(service):
        if says:
            await service.send_json({"action": "authenticate", "authenticated": False, "error": "wrong credentials"})
        await service.close(code=4403, message=b"wrong credentials")

    bus.greetings.append(refuse)
    _, listening = await run(bus, SHOUT)

    with pytest.raises(NotAllowed, match="wrong credentials"):
        await asyncio.wait_for(listening, 10)
    assert len(bus.said) == 1


async def test_a_file_is_there_while_it_is_connected(bus, run, tmp_path):
    file = tmp_path / "connected"
    reconnecting = asyncio.Event()
    await run(bus, SHOUT, connected_file=file, backoff=lambda _: reconnecting.set() or 60.0)
    socket = await bus.service()
    await socket.send_json(question())
    await bus.answer()
    assert file.exists()

    await socket.close()
    await asyncio.wait_for(reconnecting.wait(), 10)

    assert not file.exists()


async def test_stopping_lets_answers_under_way_get_out(bus, run, caplog):
    caplog.set_level("INFO")
    let_go = asyncio.Event()

    async def take_time(_):
        await let_go.wait()
        return web.json_response({"seq": 1})

    bus.replies.append(take_time)
    service, listening = await run(bus, SHOUT)
    await (await bus.service()).send_json(question(seq=6))
    await bus.answer()

    listening.cancel()
    stopping = asyncio.create_task(service.stop())
    let_go.set()
    await stopping

    assert "answered shout #6" in caplog.messages


async def test_stopping_does_not_wait_for_ever(bus, run, monkeypatch, caplog):
    monkeypatch.setattr(service_module, "STOP_SECONDS", 0.05)

    async def say_nothing(_):
        await asyncio.Event().wait()

    bus.replies.append(say_nothing)
    service, listening = await run(bus, SHOUT)
    await (await bus.service()).send_json(question())
    await bus.answer()

    listening.cancel()
    await service.stop()

    assert "questions left unanswered: 1" in caplog.messages


async def cancelled():
    raise asyncio.CancelledError


async def until(condition):
    """Let others run until the condition holds."""
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - there is no event to wait for
            await asyncio.sleep(0.001)
