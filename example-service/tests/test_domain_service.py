"""The domain service's handlers behind its registry, as the client calls them."""

import asyncio

import pytest
from domain_service.handlers import HANDLERS
from domain_service.service import with_registry


@pytest.fixture
async def serve(bus, run, registry):
    """Run the domain service in this process; give the bus's side of its connection."""

    async def start(delay=0.0):
        await run(bus, with_registry(HANDLERS, registry, delay=delay))
        return await bus.service()

    return start


def check(seq, data=("example.com",)):
    """An event as the bus delivers it."""
    event = {"name": "check-domain", "data": list(data), "context": {"identifier": "client-anna"}, "id": "1"}
    return event | {"seq": seq, "time": "2026-11-23T09:00:00.123Z", "source": "client"}


def register(seq):
    return check(seq) | {"name": "register-domain", "data": {"name": "example.com"}}


async def test_a_question_is_answered_for_the_one_who_asked(bus, serve):
    socket = await serve()

    await socket.send_json(check(42))

    assert await bus.answer() == {
        "name": "check-domain-completed",
        "data": [{"name": "example.com", "availability": "available"}],
        "context": {"identifier": "client-anna", "cause": "42"},
        "id": "e1-42-1",
    }


async def test_the_same_question_gets_the_same_answer_with_the_same_id(bus, serve):
    socket = await serve()

    await socket.send_json(register(3))
    first = await bus.answer()
    await socket.send_json(register(3) | {"delivery": 2})

    assert first["data"]["registered"] is True
    assert await bus.answer() == first


async def test_another_log_asks_other_questions(bus, serve):
    socket = await serve()
    await socket.send_json(register(1))
    first = await bus.answer()

    bus.epoch = "e2"
    await socket.close()
    await (await bus.service()).send_json(register(1))
    second = await bus.answer()

    assert (first["id"], first["data"]["registered"]) == ("e1-1-1", True)
    assert (second["id"], second["data"]["registered"]) == ("e2-1-1", False)


async def test_a_number_of_any_length_gets_an_answer(bus, serve):
    socket = await serve()

    await socket.send_str('{"name": "check-domain", "seq": 1, "context": {}, "data": [' + "9" * 10_000 + "]}")

    [result] = (await bus.answer())["data"]
    assert result["availability"] == "not available"
    assert result["error"]


async def test_many_visitors_wait_at_the_same_time(bus, serve):
    socket = await serve(delay=0.5)

    async with asyncio.timeout(10):  # one after the other they would need twenty seconds
        for seq in range(1, 41):
            await socket.send_json(check(seq))
        answers = [await bus.answer() for _ in range(40)]

    assert {answer["context"]["cause"] for answer in answers} == {str(seq) for seq in range(1, 41)}


async def test_a_registry_that_fails_is_one_line(bus, serve, registry, caplog):
    socket = await serve()
    registry.close()

    await socket.send_json(check(7))

    assert await bus.command() == {"action": "nack", "seq": 7, "delay": 4.0}
    assert caplog.messages == [
        "check-domain #7 stays unanswered: the registry says Cannot operate on a closed database."
    ]
    assert not any(record.exc_info for record in caplog.records)
