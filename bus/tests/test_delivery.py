"""From a publish to a socket: who gets an event, in which order, and what a slow reader costs."""

from __future__ import annotations

import asyncio
import json
import socket

import pytest
from bus_under_test import PATIENCE, Bus, StartBus
from eventbus.config import Settings
from eventbus.edges.websocket import Connection
from eventbus.log import Log
from eventbus.log.by_url import open_log
from eventbus.subscription import CATCH_UP_BYTES
from websockets.asyncio.client import connect


@pytest.fixture
async def bus(start: StartBus, log: Log) -> Bus:
    return await start(log)


async def test_a_client_gets_its_own_question_and_the_answer_and_a_service_both(bus: Bus) -> None:
    async with (
        bus.client() as anna,
        bus.client() as bert,
        bus.service() as service,
        bus.service("the-answerer") as some,
    ):
        await bus.publish("check-domain", token=anna.token, data=["example.com"])
        question = await service.hear()
        await bus.publish("check-domain-completed", service="the-answerer", context=question["context"])

        assert await anna.hear_names(2) == ["check-domain", "check-domain-completed"]
        assert await service.hear_names(1) == ["check-domain-completed"]
        assert await some.hear_names(2) == ["check-domain", "check-domain-completed"]
        await bus.publish("renew-domain", token=bert.token)
        await bus.publish("register-domain", token=bert.token)
        assert await bert.hear_names(2) == ["renew-domain", "register-domain"]  # and nothing of Anna's
        assert await some.hear_names(1) == ["register-domain"]


async def test_a_service_is_told_a_client_s_address_and_can_answer_it_and_not_be_it(bus: Bus) -> None:
    async with bus.client() as anna, bus.service() as service:
        await bus.publish("check-domain", token=anna.token)
        event = await service.hear()

        assert event["context"]["identifier"] == anna.address
        assert anna.token not in json.dumps(event)
        assert (await bus.post({"name": "hi", "context": event["context"]})).status == 401


async def test_every_socket_of_one_client_gets_each_event(bus: Bus) -> None:
    async with bus.client() as tab, bus.client(tab.token) as duplicated:
        await bus.publish("hi", token=tab.token)

        assert await tab.hear_names(1) == await duplicated.hear_names(1) == ["hi"]


async def test_an_event_comes_as_the_log_holds_it(bus: Bus) -> None:
    async with bus.client() as anna, bus.service() as service:
        await bus.publish("check-domain", token=anna.token, id="1", data={"b": 1, "a": [2]})
        heard = [await anna.hear(), await service.hear()]

    assert heard == await bus.events() * 2


async def test_a_repeated_id_is_delivered_once(bus: Bus) -> None:
    async with bus.service() as service:
        for name in ("first", "again"):
            await bus.publish(name, service="the-service", id="1")
        await bus.publish("last", service="the-service")

        assert await service.hear_names(2) == ["first", "last"]


async def test_everybody_gets_events_in_the_order_of_the_log(bus: Bus) -> None:
    async with bus.client() as anna, bus.service() as one, bus.service() as two:
        publishing = [
            bus.publish(f"hi-{publisher}-{number}", token=anna.token) for publisher in range(10) for number in range(20)
        ]
        receipts = await asyncio.gather(*publishing)

        seqs = sorted(receipt["seq"] for receipt in receipts)
        for subscriber in (anna, one, two):
            assert [(await subscriber.hear())["seq"] for _ in seqs] == seqs


async def test_a_publisher_is_answered_even_while_a_subscriber_hangs_up(bus: Bus) -> None:
    for _ in range(20):
        async with bus.service() as gone:
            publishing = asyncio.create_task(bus.publish("hi", service="the-service"))
            gone.ws._response.connection.transport.abort()
            await publishing


async def test_one_that_stops_reading_costs_nothing_and_misses_nothing(
    start: StartBus, log: Log, connections: list[Connection]
) -> None:
    """Real sockets: the slow one takes little into its own buffers, and then nothing."""
    bus = await start(log, Settings(send_buffer=100_000))
    raw = socket.socket()
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    raw.setblocking(False)
    await asyncio.get_running_loop().sock_connect(raw, bus.address)
    data = "x" * 50_000
    count = 200  # 10 MB, more than the buffers of the system take

    async with connect("ws://localhost/ws", sock=raw, max_queue=1, ping_interval=None, proxy=None) as slow:
        await slow.send(json.dumps({"action": "authenticate", "credentials": "the-service"}))
        assert json.loads(await slow.recv())["authenticated"]
        async with bus.service() as quick:
            for number in range(count):
                await bus.publish(f"hi-{number}", service="the-service", data=data)
                assert await quick.hear_names(1) == [f"hi-{number}"]
                # At most one above the limit.
                assert max(each.outlet.waiting for each in connections) < 100_000 + 51_000
            assert connections[0].outlet.full
            names = [f"hi-{number}" for number in range(count)]

            async with asyncio.timeout(PATIENCE):
                assert [json.loads(await slow.recv())["name"] for _ in names] == names
            await bus.publish("live-again", service="the-service")
            assert json.loads(await slow.recv())["name"] == "live-again"


async def test_a_client_that_comes_back_and_never_reads_holds_little(
    start: StartBus, connections: list[Connection]
) -> None:
    bus = await start(open_log("memory:"), Settings(send_buffer=160_000))
    token = await bus.new_token()
    for number in range(200):  # 10 MB, more than the buffers of the system take
        context = {"identifier": token}
        await bus.publish(f"hi-{number}", service="the-service", context=context, data="x" * 50_000)

    async with bus.socket() as slow, bus.service() as quick:
        slow.ws._response.connection.transport.pause_reading()
        await slow.say({"action": "identify", "token": token, "after": 0})
        outlet = connections[-2].outlet
        async with asyncio.timeout(PATIENCE):
            while not outlet.full:
                await bus.publish("tick", service="the-service")
                await quick.hear()
        assert outlet.waiting < 160_000 / 16 + CATCH_UP_BYTES + 51_000
        slow.ws._response.connection.transport.abort()


async def test_who_joins_amid_traffic_gets_everything_after_the_position_it_was_told(bus: Bus) -> None:
    async def publish_on() -> None:
        while True:
            await bus.publish("tick", service="the-service")

    async with asyncio.TaskGroup() as group:
        traffic = [group.create_task(publish_on()) for _ in range(8)]
        for _ in range(150):
            async with bus.socket() as service:
                answer = await service.ask({"action": "authenticate", "credentials": "the-service"})
                first = await service.hear()
            assert first["seq"] == answer["seq"] + 1
        for task in traffic:
            task.cancel()
