"""/ws: who may connect, what is answered, and why the bus hangs up."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from typing import Any

import pytest
import websockets
from aiohttp import WSMsgType, WSServerHandshakeError
from bus_under_test import HANDSHAKE, KEY, ORIGIN, PATIENCE, Bus, Socket, StartBus, below_aiohttp
from eventbus.config import Settings
from eventbus.edges.websocket import Connection
from eventbus.identities import address_of
from eventbus.log import Log
from eventbus.log.by_url import open_log
from eventbus.log.kept_identities import KeptIdentities
from eventbus.log.memory import MemoryLog
from eventbus.problems import LogUnavailable
from eventbus.server.plain_requests import PlainRequests

IDENTIFY = {"action": "identify"}
AUTHENTICATE = {"action": "authenticate", "credentials": "the-service"}
ACCEPTED = (  # with the key of the example
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
)


def sent(answer: bytes) -> bytes:
    """Return the frames that follow the answer to the handshake of the example."""
    head, _, frames = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 101 Switching Protocols\r\n")
    assert b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in head
    return frames


@pytest.fixture
def log() -> Log:
    """One kind will do: what the bus keeps of a connection, other tests try with each."""
    return open_log("memory:")


@pytest.fixture
async def bus(start: StartBus, log: Log) -> Bus:
    return await start(log)


# Who may connect


@pytest.mark.parametrize("origin", ["", "null", "http://evil.test", "https://localhost:3000", "http://localhost:3001"])
async def test_a_foreign_page_may_not_connect(bus: Bus, origin: str) -> None:
    with pytest.raises(WSServerHandshakeError) as refusal:
        async with bus.socket(headers={"Origin": origin}):
            pass

    assert refusal.value.status == 403


@pytest.mark.parametrize("headers", [{}, {"Origin": ORIGIN}])
async def test_programs_and_allowed_pages_may_connect(bus: Bus, headers: dict[str, str]) -> None:
    async with bus.socket(headers=headers) as socket:
        assert (await socket.ask(IDENTIFY))["action"] == "identify"


async def test_frames_are_not_compressed(bus: Bus) -> None:
    async with bus.socket(compress=15) as socket:
        assert socket.ws.compress == 0


# Clients


async def test_a_new_client_gets_a_token_and_its_address(bus: Bus, log: Log) -> None:
    await bus.publish("hi", service="the-service")

    async with bus.socket() as socket:
        answer = await socket.ask(IDENTIFY)

    assert answer == {
        "action": "identify", "token": answer["token"], "address": address_of(answer["token"]),
        "resumed": False, "seq": log.head, "epoch": log.epoch, "max_event": 256 * 1024,
    }  # fmt: skip
    assert answer["token"].startswith("token-")
    assert log.head > 0


async def test_a_client_keeps_its_address_by_its_token(bus: Bus) -> None:
    async with bus.client() as anna:
        pass

    async with bus.socket() as socket:
        answer = await socket.ask(IDENTIFY | {"token": anna.token})

    assert (answer["token"], answer["address"], answer["resumed"]) == (anna.token, anna.address, True)


@pytest.mark.parametrize("token", ["", "made-up", "token-" + 43 * "x", "client-0123", "token-\x00", None])
async def test_an_unknown_token_is_replaced_by_a_new_one(bus: Bus, token: str | None) -> None:
    async with bus.socket() as socket:
        answer = await socket.ask(IDENTIFY | {"token": token})

        assert answer["token"] != token
        assert answer["resumed"] is False
        await bus.publish("hi", token=answer["token"])
        assert (await socket.hear())["name"] == "hi"


async def test_an_expired_token_is_replaced_by_a_new_one(start: StartBus, log: Log) -> None:
    token = await (await start(log)).new_token()
    await log.keep_identities({address_of(token): 1.0}, now=0)

    async with (await start(log)).client(token) as client:
        assert client.token != token


async def test_an_open_socket_keeps_its_identity(start: StartBus) -> None:
    log = RefreshCountingLog()
    bus = await start(log, Settings(identity_lifetime=0.2))

    async with bus.client() as anna:
        await log.refreshed(anna.address, times=15)  # each a tenth of the lifetime after the one before

        await bus.publish("hi", token=anna.token)


async def test_a_log_that_fails_for_a_moment_does_not_end_the_refreshing(start: StartBus) -> None:
    log = RefreshCountingLog()
    bus = await start(log, Settings(identity_lifetime=0.2))

    async with bus.client() as anna:
        log.failures = 2
        await log.refreshed(anna.address, times=3)


class RefreshCountingLog(MemoryLog):
    """Tells when an identity was refreshed."""

    def __init__(self) -> None:
        super().__init__()
        self.failures = 0
        self._counts: dict[str, int] = {}
        self._counted = asyncio.Condition()

    async def keep_identities(self, expiries: Any, *, now: float) -> None:
        if self.failures and not expiries.keys().isdisjoint(self._counts):
            self.failures -= 1
            raise LogUnavailable("the log cannot be written: disk I/O error")
        await super().keep_identities(expiries, now=now)
        async with self._counted:
            for address in expiries:
                self._counts[address] = self._counts.get(address, -1) + 1
            self._counted.notify_all()

    async def refreshed(self, address: str, *, times: int) -> None:
        async with asyncio.timeout(PATIENCE), self._counted:
            await self._counted.wait_for(lambda: self._counts[address] >= times and not self.failures)


# Services


async def test_a_service_is_answered_with_its_name(bus: Bus, log: Log) -> None:
    async with bus.socket() as socket:
        answer = await socket.ask(AUTHENTICATE)

    assert answer == {
        "action": "authenticate", "authenticated": True, "service": "everything", "seq": log.head, "epoch": log.epoch,
        "ack_wait": 30.0, "heartbeat": 20.0,
    }  # fmt: skip


async def test_nobody_has_to_guess_what_the_bus_was_set_to(start: StartBus) -> None:
    bus = await start(open_log("memory:"), Settings(ack_wait=2.5, heartbeat=7.0, max_event=1000))

    async with bus.socket() as service, bus.socket() as client:
        answer = await service.ask(AUTHENTICATE | {"group": "g"})

        assert (answer["ack_wait"], answer["heartbeat"]) == (2.5, 7.0)
        assert (await client.ask(IDENTIFY))["max_event"] == 1000


@pytest.mark.parametrize("credentials", ["", "wrong", "Bearer the-service", None, 5, True, ["the-service"], {}, "\x00"])
async def test_wrong_credentials_end_the_connection(bus: Bus, credentials: object) -> None:
    async with bus.socket() as socket:
        answer = await socket.ask({"action": "authenticate", "credentials": credentials})

        assert (answer["action"], answer["authenticated"]) == ("authenticate", False)
        assert answer["error"]
        assert await socket.close_code() == 4403


async def test_absent_credentials_are_wrong_ones(bus: Bus) -> None:
    async with bus.socket() as socket:
        assert (await socket.ask({"action": "authenticate"}))["authenticated"] is False
        assert await socket.close_code() == 4403


async def test_a_client_s_token_is_no_service_s(bus: Bus) -> None:
    async with bus.client() as anna, bus.socket() as socket:
        answer = await socket.ask({"action": "authenticate", "credentials": anna.token})

        assert answer["authenticated"] is False


async def test_a_socket_is_a_service_only_after_its_credentials_were_found_right(bus: Bus) -> None:
    async with bus.socket() as wrong, bus.socket() as silent, bus.service() as service:
        await wrong.say({"action": "authenticate", "credentials": "wrong"})
        await bus.publish("hi", service="the-service")
        assert (await service.hear())["name"] == "hi"

        assert (await wrong.hear())["authenticated"] is False
        assert await wrong.close_code() == 4403
        await silent.say(IDENTIFY)
        assert (await silent.hear())["action"] == "identify"


# What is no command, or not now


@pytest.mark.parametrize(
    ("command", "action"),
    [
        ({"action": "dance"}, "dance"),
        ({"action": ""}, ""),
        ({}, None),
        ({"action": None}, None),
        ({"action": 5}, None),
        ({"name": "check-domain", "data": []}, None),
        ({"action": "identify", "token": 5}, "identify"),
        ({"action": "identify", "token": ["token-"]}, "identify"),
    ],
)
async def test_a_bad_command_is_answered_and_the_connection_stays(bus: Bus, command: Any, action: str | None) -> None:
    async with bus.socket() as socket:
        answer = await socket.ask(command)

        assert answer == {"action": action, "error": answer["error"]}
        assert answer["error"]
        assert (await socket.ask(IDENTIFY))["action"] == "identify"


@pytest.mark.parametrize("first", [IDENTIFY, AUTHENTICATE])
@pytest.mark.parametrize("second", [IDENTIFY, AUTHENTICATE])
async def test_a_connection_says_only_once_who_it_is(bus: Bus, first: Any, second: Any) -> None:
    async with bus.socket() as socket:
        before = await socket.ask(first)

        answer = await socket.ask(second)

        assert answer == {"action": second["action"], "error": answer["error"]}
        await bus.publish("hi", service="the-service", context={"identifier": before.get("address", "")})
        assert (await socket.hear())["name"] == "hi"


@pytest.mark.parametrize("first", [None, IDENTIFY, AUTHENTICATE, AUTHENTICATE | {"group": "g"}])
async def test_a_ping_is_answered_by_a_ping_whoever_asks(bus: Bus, first: Any) -> None:
    async with bus.socket() as socket:
        if first:
            await socket.ask(first)

        assert await socket.ask({"action": "ping", "unknown": "field"}) == {"action": "ping"}
        if not first:
            assert (await socket.ask(IDENTIFY))["action"] == "identify"


@pytest.mark.parametrize("first", [None, IDENTIFY, AUTHENTICATE])
@pytest.mark.parametrize("action", ["ack", "nack", "working"])
async def test_only_a_member_of_a_group_can_say_how_its_work_goes(bus: Bus, first: Any, action: str) -> None:
    async with bus.socket() as socket:
        if first:
            await socket.ask(first)

        answer = await socket.ask({"action": action, "seq": 1})

        assert answer == {"action": action, "error": answer["error"]}
        assert "group" in answer["error"]


@pytest.mark.parametrize("text", ["", "hi", "[]", "5", "null", '"identify"', '{"action": "identify"', "[" * 60_000])
async def test_text_that_is_not_a_json_object_ends_the_connection(bus: Bus, text: str) -> None:
    async with bus.socket() as socket:
        await socket.ws.send_str(text)

        answer = await socket.hear()
        assert answer == {"action": None, "error": answer["error"]}
        assert await socket.close_code() == 1007


async def test_binary_ends_the_connection(bus: Bus) -> None:
    async with bus.socket() as socket:
        await socket.ws.send_bytes(json.dumps(IDENTIFY).encode())

        assert (await socket.hear())["error"] == "expected text, got binary"
        assert await socket.close_code() == 1003


async def test_text_that_is_not_utf_8_ends_the_connection(bus: Bus) -> None:
    async with bus.socket() as socket:
        await socket.ws.send_frame(b'{"action": "identify\xff"}', WSMsgType.TEXT)

        assert await socket.close_code() == 1007


async def test_a_frame_that_is_too_large_ends_the_connection(bus: Bus) -> None:
    async with bus.socket() as socket:
        await socket.say(IDENTIFY | {"token": "x" * 64 * 1024})

        assert await socket.close_code() == 1009


async def test_fragments_that_are_together_too_large_end_the_connection(bus: Bus) -> None:
    async with websockets.connect(bus.url.replace("http", "ws") + "/ws") as socket:
        with suppress(websockets.ConnectionClosed):  # the bus need not wait for the last of them
            await socket.send(["x" * 1000] * 100)
        await socket.wait_closed()

        assert socket.close_code == 1009


async def test_a_command_may_come_in_fragments(bus: Bus) -> None:
    async with websockets.connect(bus.url.replace("http", "ws") + "/ws") as socket:
        await socket.send(list(json.dumps(IDENTIFY)))

        assert json.loads(await socket.recv())["action"] == "identify"


@below_aiohttp
@pytest.mark.parametrize(
    "frame",
    [
        b"\xc1\x80\0\0\0\0",
        b"\x83\x80\0\0\0\0",
        b"\x80\x80\0\0\0\0",
        b"\x89\xfe\x00\x80\0\0\0\0" + b"x" * 128,
        b"\x88\x81\0\0\0\0x",
    ],
    ids=["packed", "unknown kind", "nothing to continue", "long ping", "short close"],
)
async def test_frames_that_break_the_protocol_end_only_their_connection(bus: Bus, frame: bytes) -> None:
    answer = await bus.raw(HANDSHAKE + KEY + frame)

    assert answer.startswith(ACCEPTED)
    assert answer.removeprefix(ACCEPTED).startswith(b"\x88\x16\x03\xeathis breaks RFC 6455")
    assert await bus.new_token()


BROKEN = b"\x88\x16\x03\xeathis breaks RFC 6455"


@below_aiohttp
@pytest.mark.parametrize("cut", [0, 1, 2, 5], ids=lambda cut: f"cut at {cut}")
@pytest.mark.parametrize(
    "frame",
    [
        b"\x81\x15" + b'{"action":"identify"}',
        b"\x01\x00",
        b"\x89\x00",
        b"\x8a\x00",
        b"\x88\x00",
        b"\x81\x7e\x01\x00" + b"x" * 256,
    ],
    ids=["command", "fragment", "ping", "pong", "close", "longer"],
)
async def test_a_frame_without_a_mask_ends_the_connection_and_is_not_obeyed(bus: Bus, frame: bytes, cut: int) -> None:
    reader, writer = await asyncio.open_connection(*bus.address)
    writer.write(HANDSHAKE + KEY + frame[:cut])
    await reader.readuntil(b"\r\n\r\n")

    writer.write(frame[cut:])
    async with asyncio.timeout(PATIENCE):
        assert await reader.read() == BROKEN

    writer.close()
    assert await bus.new_token()


@below_aiohttp
async def test_what_comes_before_a_frame_without_a_mask_is_obeyed(bus: Bus) -> None:
    identify = b"\x81\x95\0\0\0\0" + b'{"action":"identify"}'

    answer = await bus.raw(HANDSHAKE + KEY + identify + b"\x81\x15" + b'{"action":"identify"}')

    assert answer.count(b'"token":"token-') == 1
    assert answer.endswith(BROKEN)


@below_aiohttp
@pytest.mark.parametrize("code", [0, 999, 1004, 1005, 1006, 1015, 1016, 2000, 2999, 5000, 65535])
async def test_a_close_code_that_nobody_may_send_is_answered_as_a_fault(bus: Bus, code: int) -> None:
    answer = await bus.raw(HANDSHAKE + KEY + b"\x88\x82\0\0\0\0" + code.to_bytes(2))

    assert sent(answer) == BROKEN


@pytest.mark.parametrize("code", [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 4999])
async def test_any_other_close_code_is_answered_as_a_goodbye(bus: Bus, code: int) -> None:
    answer = await bus.raw(HANDSHAKE + KEY + b"\x88\x85\0\0\0\0" + code.to_bytes(2) + b"bye")

    assert sent(answer) == b"\x88\x02\x03\xe8"


@below_aiohttp
async def test_a_goodbye_whose_reason_is_no_text_is_a_fault(bus: Bus) -> None:
    answer = await bus.raw(HANDSHAKE + KEY + b"\x88\x83\0\0\0\0\x03\xe8\xff")

    assert answer.removeprefix(ACCEPTED)[:4] == b"\x88\x16\x03\xef"  # 1007


@pytest.mark.parametrize("version", [b"8", b"7", b"12", b"14", b"0", b"13, 8", b"x", b"", None])
async def test_another_version_of_websocket_is_told_which_there_is(bus: Bus, version: bytes | None) -> None:
    line = b"Sec-WebSocket-Version: 13\r\n"
    other = b"Sec-WebSocket-Version: %b\r\n" % version if version is not None else b""
    reader, writer = await asyncio.open_connection(*bus.address)
    writer.write(HANDSHAKE.replace(line, other) + KEY)

    async with asyncio.timeout(PATIENCE):
        head = await reader.readuntil(b"\r\n\r\n")

    assert head.startswith(b"HTTP/1.1 426 Upgrade Required\r\n")
    assert b"Sec-WebSocket-Version: 13\r\n" in head
    assert b"Content-Type: application/problem+json\r\n" in head
    writer.close()


@below_aiohttp
async def test_who_breaks_the_protocol_reads_that_it_did_however_much_it_goes_on_to_send(bus: Bus) -> None:
    reader, writer = await asyncio.open_connection(*bus.address)
    writer.write(HANDSHAKE + KEY + b"\x83\x80\0\0\0\0" + b"x" * 1_000_000)
    async with asyncio.timeout(PATIENCE):
        await writer.drain()

        assert b"\x03\xea" in await reader.read()
    writer.close()


async def test_what_comes_in_one_piece_with_the_handshake_is_obeyed(bus: Bus) -> None:
    answer = await bus.raw(HANDSHAKE + KEY + b"\x81\x95\0\0\0\0" + b'{"action":"identify"}' + b"\x88\x80\0\0\0\0")

    assert answer.startswith(b"HTTP/1.1 101 ")
    assert b'"action":"identify","token":"token-' in answer
    assert answer.endswith(b"\x88\x02\x03\xe8")


async def test_what_is_answered_before_the_handshake_comes_before_it(bus: Bus) -> None:
    answer = await bus.raw(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n" + HANDSHAKE + KEY + b"\x88\x80\0\0\0\0")

    assert answer.startswith(b"HTTP/1.1 200")
    assert answer.index(b"alive") < answer.index(b"HTTP/1.1 101 Switching Protocols")
    assert answer.endswith(b"\r\n\r\n\x88\x02\x03\xe8")


@below_aiohttp
@pytest.mark.parametrize("waiting", [64 * 1024, 64 * 1024 + 1], ids=["all that may", "a byte more"])
async def test_what_waits_to_be_sent_before_the_handshake_is_answered_is_sent(
    start: StartBus, monkeypatch: pytest.MonkeyPatch, waiting: int
) -> None:
    answer_first = PlainRequests.data_received

    def fill(requests: PlainRequests, data: bytes) -> None:
        transport = requests._transport if data else None  # once
        while transport and not transport.get_write_buffer_size():
            transport.write(b"." * 64 * 1024)
        if transport:
            transport.write(b"." * (waiting - transport.get_write_buffer_size()))
        answer_first(requests, data)

    with monkeypatch.context() as patch:
        patch.setattr(PlainRequests, "data_received", fill)
        bus = await start(open_log("memory:"))
        reader, writer = await asyncio.open_connection(*bus.address)
        writer.write(HANDSHAKE + KEY + b"\x88\x80\0\0\0\0")

        async with asyncio.timeout(PATIENCE):
            answer = (await reader.read()).lstrip(b".")  # a traceback meanwhile fails the test

    assert sent(answer) == b"\x88\x02\x03\xe8"
    writer.close()


async def test_what_comes_faster_than_it_is_obeyed_is_not_read(
    start: StartBus, connections: list[Connection], monkeypatch: pytest.MonkeyPatch
) -> None:
    bus = await start(open_log("memory:"), Settings(client_rate=0))  # or it would be told that it is too fast
    use, go_on = KeptIdentities.use, asyncio.Event()

    async def wait(identities: KeptIdentities, token: str) -> str | None:
        await go_on.wait()
        return await use(identities, token)

    monkeypatch.setattr(KeptIdentities, "use", wait)
    reader, writer = await asyncio.open_connection(*bus.address)
    writer.write(HANDSHAKE + KEY + b"\x81\x95\0\0\0\0" + b'{"action":"identify"}')
    await reader.readuntil(b"\r\n\r\n")
    await bus.publish("hi", service="the-service")  # by then it is there
    transport = connections[0].outlet._transport

    async with asyncio.timeout(PATIENCE):
        while transport.is_reading():
            writer.write(b"\x8a\x80\0\0\0\0" * 1000)
            await writer.drain()
            await asyncio.sleep(0)
        go_on.set()

        assert b"token-" in await reader.readuntil(b"}")
        writer.write(b"\x88\x80\0\0\0\0")
        assert await reader.read() == b"\x88\x02\x03\xe8"
    writer.close()


# Time and trouble


class TestOnABusInAHurry:
    @pytest.fixture
    async def bus(self, start: StartBus) -> Bus:
        return await start(open_log("memory:"), Settings(identify_timeout=0.1, client_rate=0))

    async def test_silence_ends_the_connection(self, bus: Bus) -> None:
        async with bus.socket() as socket:
            assert await socket.close_code() == 4401

    async def test_bad_commands_are_no_way_to_stay(self, bus: Bus) -> None:
        async with bus.socket() as socket:
            await socket.ask({"action": "dance"})

            assert await socket.close_code() == 4401

    async def test_pings_are_no_way_to_stay(self, bus: Bus) -> None:
        async with bus.socket() as socket:
            with suppress(ConnectionError):
                await socket.say({"action": "ping"})
                while (await socket.ws.receive(timeout=PATIENCE)).type is WSMsgType.TEXT:
                    await socket.say({"action": "ping"})

            assert socket.ws.close_code == 4401

    async def test_who_has_said_who_it_is_may_be_silent(self, bus: Bus) -> None:
        async with bus.client() as anna, bus.socket() as silent:
            assert await silent.close_code() == 4401

            await bus.publish("hi", token=anna.token)
            assert (await anna.hear())["name"] == "hi"


async def test_a_log_that_cannot_take_a_new_identity_ends_the_connection(
    start: StartBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object, **__: object) -> None:
        raise LogUnavailable("the log cannot be written: disk I/O error")

    bus = await start(open_log("memory:"))
    with monkeypatch.context() as patch:
        patch.setattr(MemoryLog, "keep_identities", fail)

        async with bus.socket() as socket:
            await socket.say(IDENTIFY)
            assert await socket.close_code() == 1011

    assert await bus.new_token()


async def test_a_defect_ends_only_its_connection_and_is_logged(
    bus: Bus, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(*_: object) -> bool:
        raise ZeroDivisionError

    with monkeypatch.context() as patch:
        patch.setattr(KeptIdentities, "use", fail)

        async with bus.socket() as socket:
            await socket.say(IDENTIFY)
            assert await socket.close_code() == 1011

    [record] = [record for record in caplog.records if record.exc_info]
    assert "a defect of the bus" in record.message
    caplog.clear()
    assert await bus.new_token()


@below_aiohttp
async def test_a_defect_of_the_reader_ends_only_its_connection_and_is_logged(
    bus: Bus, connections: list[Connection], caplog: pytest.LogCaptureFixture
) -> None:
    async with bus.client() as client:
        connections[0]._channel._messages.set_exception(ZeroDivisionError())  # type: ignore[attr-defined]

        assert await client.close_code() == 1011

    [record] = [record for record in caplog.records if record.exc_info]
    assert "a defect of the bus" in record.message
    caplog.clear()
    assert await bus.new_token()


async def test_one_that_sends_and_never_reads_does_not_pile_up_answers(
    start: StartBus, connections: list[Connection]
) -> None:
    bus = await start(open_log("memory:"), Settings(send_buffer=10_000, client_rate=0))
    async with bus.socket() as socket:
        socket.ws._response.connection.transport.pause_reading()
        sending = asyncio.create_task(_say_again_and_again(socket, {"action": "x" * 60_000}))
        await bus.publish("hi", service="the-service")  # by then it is there
        [connection] = connections

        async with asyncio.timeout(PATIENCE):
            while not connection.outlet.full:
                await bus.publish("hi", service="the-service")
        for _ in range(20):  # time enough for more answers
            await bus.publish("hi", service="the-service")
            assert connection.outlet.waiting < 10_000 + 61_000
        sending.cancel()
        socket.ws._response.connection.transport.abort()


async def _say_again_and_again(socket: Socket, command: object) -> None:
    while True:
        await socket.say(command)


async def test_who_hangs_up_is_forgotten(bus: Bus) -> None:
    async with bus.service() as there:
        for _ in range(20):
            async with bus.service() as gone:
                gone.ws._response.connection.transport.abort()
        await bus.publish("hi", service="the-service")

        assert (await there.hear())["name"] == "hi"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        (b"Sec-WebSocket-Key: \xff\r\n", b"400"),
        (b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nOrigin: \xff\r\n", b"403"),
        (
            b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
            b"Origin: http://localhost:3000\r\nOrigin: http://evil.example\r\n",
            b"403",
        ),
    ],
)
async def test_a_handshake_with_odd_headers_is_refused_as_a_problem(bus: Bus, headers: bytes, status: bytes) -> None:
    answer = await bus.raw(HANDSHAKE + headers + b"\r\nleft")

    assert answer.startswith(b"HTTP/1.1 " + status)
    assert b"application/problem+json" in answer


@pytest.mark.parametrize(
    "handshake",
    [
        HANDSHAKE + b"Content-Length: 4\r\n" + KEY + b"left",
        HANDSHAKE + b"Transfer-Encoding: chunked\r\n" + KEY + b"4\r\nleft\r\n0\r\n\r\n",
        HANDSHAKE.replace(b"HTTP/1.1", b"HTTP/1.0") + KEY,
    ],
    ids=["body", "chunked body", "HTTP/1.0"],
)
async def test_a_handshake_that_others_might_take_for_something_else_is_refused(bus: Bus, handshake: bytes) -> None:
    reader, writer = await asyncio.open_connection(*bus.address)
    writer.write(handshake)

    async with asyncio.timeout(PATIENCE):
        answer = await reader.readuntil(b"}")

    assert answer.startswith((b"HTTP/1.1 400", b"HTTP/1.0 400"))
    assert b"this is no handshake" in answer
    writer.close()
