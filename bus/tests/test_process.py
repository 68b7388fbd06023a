"""The program `eventbus`, as its user meets it: starting, stopping, and what it writes."""

from __future__ import annotations

import asyncio
import json
import os
import re
import resource
import signal
import socket
import sqlite3
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest
from aiohttp import ClientConnectionError
from bus_under_test import ORIGIN, PATIENCE, Bus, StartProcess

HANDSHAKE = (
    b"GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade, close\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


async def test_it_says_where_it_is_and_ends_well_on_a_signal(run: StartProcess, tmp_path: Path) -> None:
    bus = await run()

    assert (await bus.request("GET", "/readyz")).status == 200
    assert await bus.stop() == 0
    assert bus.output == f"bus ready at {bus.url}, log in sqlite:{tmp_path}/events.db\nbus stopping\n"


async def test_an_interrupt_ends_it_as_well(run: StartProcess) -> None:
    bus = await run(EVENTBUS_LOG="memory:")

    bus.process.send_signal(signal.SIGINT)

    assert await bus.exit_status() == 0


async def test_signals_that_come_while_it_ends_change_nothing(run: StartProcess) -> None:
    bus = await run()
    ending = asyncio.create_task(bus.stop())

    while not ending.done():  # foreman repeats a terminal's Ctrl-C as SIGTERM, just when the programs are about to end
        with suppress(ProcessLookupError):
            os.kill(bus.process.pid, signal.SIGTERM)  # `send_signal` could take the exit status from the waiter
        await asyncio.wait([ending], timeout=0.001)

    assert ending.result() == 0


async def test_what_happened_before_a_restart_still_counts(run: StartProcess) -> None:
    bus = await run()
    token = await bus.new_token()
    first = await bus.publish("hi", token=token, id="1")
    await bus.stop()

    bus = await run()
    async with bus.client(token) as anna:
        again = await bus.publish("hi", token=token, id="1")

        assert (anna.token, again) == (token, {"id": "1", "seq": first["seq"], "duplicate": True})
    assert [event["id"] for event in await bus.events()] == ["1"]


async def test_the_window_in_which_an_id_counts_is_a_setting(run: StartProcess) -> None:
    bus = await run(EVENTBUS_DEDUPLICATION_SECONDS="0.01")
    first = await bus.publish("hi", service="the-service", id="1")

    async with asyncio.timeout(PATIENCE):
        while (again := await bus.publish("hi", service="the-service", id="1")).get("duplicate"):
            pass

    assert again["seq"] > first["seq"]


async def test_without_tls_sighup_changes_nothing(run: StartProcess) -> None:
    bus = await run()
    async with bus.service() as service:
        bus.process.send_signal(signal.SIGHUP)
        await bus.said("SIGHUP ")
        await bus.publish("hi", service="the-service")

        assert await service.hear_names(1) == ["hi"]
    assert await bus.stop() == 0
    assert bus.output.count("\n") == 3  # ready, this signal, stopping


# Stopping


async def test_stopping_parts_from_everybody_at_once_whatever_they_do(run: StartProcess) -> None:
    bus = await run()
    async with bus.client() as anna, bus.service() as service, bus.socket() as unknown:
        with frozen_peer(bus.address), half_a_request(bus.address):
            start = time.monotonic()
            bus.process.send_signal(signal.SIGTERM)

            assert [await one.close_code() for one in (anna, service, unknown)] == [1012] * 3
            assert await bus.exit_status() == 0
            assert time.monotonic() - start < 4
    assert "Traceback" not in bus.output


async def test_a_frozen_peer_that_asked_for_thousands_of_pongs_does_not_hold_it_up(run: StartProcess) -> None:
    bus = await run()
    with frozen_peer(bus.address, pings=20_000):
        start = time.monotonic()

        assert await bus.stop() == 0
        assert time.monotonic() - start < 4
    assert "Traceback" not in bus.output


async def test_one_that_asks_for_pongs_and_hangs_up_is_ordinary_life(run: StartProcess) -> None:
    bus = await run()
    for _ in range(5):
        with frozen_peer(bus.address, pings=20_000):
            pass

    await bus.stop()

    assert bus.output.endswith("events.db\nbus stopping\n")


async def test_while_it_stops_new_publishes_and_connections_are_refused(run: StartProcess) -> None:
    bus = await run()
    async with bus.service() as service:
        with frozen_peer(bus.address):  # it is waited for, for a second
            bus.process.send_signal(signal.SIGTERM)
            assert await service.close_code() == 1012

            refused = await bus.post({"name": "hi"}, authorization="the-service", Origin=ORIGIN)
            ready = await bus.request("GET", "/readyz")
            handshake = await bus.raw(HANDSHAKE)

    assert (refused.status, ready.status) == (503, 503)
    assert refused.headers["Retry-After"] == "1"
    assert refused.headers["Access-Control-Allow-Origin"] == ORIGIN
    assert handshake.startswith(b"HTTP/1.1 503")
    assert await bus.exit_status() == 0


async def test_publishes_under_way_are_finished(run: StartProcess) -> None:
    bus = await run()
    publishing = [asyncio.create_task(_publish_until_refused(bus)) for _ in range(8)]
    async with bus.service() as service:
        await service.hear_names(20)

        assert await bus.stop() == 0

    taken = [event_id for ids in await asyncio.gather(*publishing) for event_id in ids]
    restarted = await run()
    assert sorted(taken) == sorted([event["id"] for event in await restarted.events()])


async def _publish_until_refused(bus: Bus) -> list[str]:
    ids: list[str] = []
    while True:
        try:
            answer = await bus.post({"name": "hi"}, authorization="the-service")
        except ClientConnectionError:
            return ids
        if answer.status == 503:
            return ids
        assert answer.status == 200
        ids.append(answer.json["id"])


@contextmanager
def frozen_peer(address: tuple[str, int], *, pings: int = 0) -> Iterator[None]:
    """A service that takes nothing, answers nothing, and hangs up only in the end."""
    with socket.create_connection(address) as peer:
        peer.sendall(HANDSHAKE + _masked(0x81, b'{"action": "authenticate", "credentials": "the-service"}'))
        heard = b""
        while b'"authenticated":true' not in heard:
            heard += peer.recv(4096)
        peer.setblocking(False)
        with suppress(BlockingIOError):
            peer.send(_masked(0x89, b"x" * 100) * pings)
        yield


@contextmanager
def half_a_request(address: tuple[str, int]) -> Iterator[None]:
    """A publisher whose body does not come to its end."""
    with socket.create_connection(address) as peer:
        peer.sendall(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{")
        yield


def _masked(opcode: int, payload: bytes) -> bytes:
    """A client's frame (RFC 6455, 5.2), masked with zeros."""
    return bytes([opcode, 0x80 | len(payload)]) + bytes(4) + payload


# Starting


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({"HTTP_FILE_SERVER_HOST": "locahost.invalid"}, "HTTP_FILE_SERVER_HOST=locahost.invalid: this host name does"),
        ({"HTTP_EVENTBUS_SERVER_PORT": "http"}, "HTTP_EVENTBUS_SERVER_PORT=http: expected a port number"),
        ({"HTTP_EVENTBUS_SERVER_HOST": "192.0.2.1"}, "HTTP_EVENTBUS_SERVER_HOST=192.0.2.1: this is no address of this"),
        ({"EVENTBUS_ALLOWED_ORIGINS": "*"}, "EVENTBUS_ALLOWED_ORIGINS=*: expected origins"),
        ({"EVENTBUS_SERVICES": "/nowhere/services.json"}, "EVENTBUS_SERVICES=/nowhere/services.json: No such file"),
        ({"EVENTBUS_LOG": "redis:"}, "EVENTBUS_LOG=redis:: expected memory:, sqlite:PATH"),
        ({"EVENTBUS_LOG": "sqlite:/dev/null/events.db"}, "EVENTBUS_LOG=sqlite:/dev/null/events.db: /dev/null: "),
        ({"EVENTBUS_LOG": "sqlite:/proc/events.db"}, "EVENTBUS_LOG=sqlite:/proc/events.db: /proc/events.db.lock: "),
    ],
)
async def test_a_wrong_setting_ends_it_with_one_line(run: StartProcess, environ: dict[str, str], said: str) -> None:
    bus = await run(until_ready=False, **environ)

    assert await bus.exit_status() == 2
    assert bus.output.startswith(said)
    assert bus.output.count("\n") == 1


async def test_a_wrong_services_file_ends_it_with_one_line(run: StartProcess, services_file: Path) -> None:
    services_file.write_text('[{"name": "client", "token": "1"}]')

    bus = await run(until_ready=False)

    assert await bus.exit_status() == 2
    assert bus.output == (
        f"EVENTBUS_SERVICES={services_file}: the name 'client' is empty, reserved or used twice; "
        "each service needs its own\n"
    )


async def test_a_taken_port_ends_it_with_one_line(run: StartProcess) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]

        bus = await run(until_ready=False, HTTP_EVENTBUS_SERVER_PORT=str(port))

        assert await bus.exit_status() == 2
    assert bus.output.startswith(f"HTTP_EVENTBUS_SERVER_PORT={port}: another program is listening")
    assert bus.output.count("\n") == 1


async def test_a_log_that_another_bus_has_ends_it_with_one_line(run: StartProcess) -> None:
    first = await run()

    second = await run(until_ready=False)

    assert await second.exit_status() == 2
    assert "another bus is using this file" in second.output
    assert second.output.count("\n") == 1
    assert (await first.request("GET", "/readyz")).status == 200


@pytest.mark.parametrize("make", ["no database", "somebody else's"])
async def test_a_file_that_is_no_log_ends_it_with_one_line(run: StartProcess, tmp_path: Path, make: str) -> None:
    path = tmp_path / "events.db"
    if make == "no database":
        path.write_text(make)
    else:
        with closing(sqlite3.connect(path)) as other:
            other.execute("CREATE TABLE theirs (x)")

    bus = await run(until_ready=False)

    assert await bus.exit_status() == 2
    assert bus.output.startswith(f"EVENTBUS_LOG=sqlite:{path}: ")
    assert bus.output.count("\n") == 1


async def test_a_service_whose_token_is_not_set_is_switched_off_with_a_line(
    run: StartProcess, services_file: Path
) -> None:
    services_file.write_text('[{"name": "one", "token": "${ONE}"}]')

    bus = await run()

    assert bus.output.startswith("service 'one' is switched off: ONE is not set\n")


async def test_a_log_that_another_program_holds_does_not_keep_it_from_ending_in_time(
    run: StartProcess, tmp_path: Path
) -> None:
    bus = await run()
    with closing(sqlite3.connect(tmp_path / "events.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        waiting = asyncio.create_task(bus.post({"name": "hi"}, authorization="the-service"))
        start = time.monotonic()

        assert await bus.stop() == 0
        assert time.monotonic() - start < 4
        with suppress(ClientConnectionError):
            assert (await waiting).status == 503
    assert "Traceback" not in bus.output


HANGING_READS = """
import sys, time
from eventbus.__main__ import main
from eventbus.log import sqlite
from eventbus.log.sqlite import tail
tail.MAX_EVENTS = 0  # what would be in memory is read, too
sqlite.select_events = lambda *_: print("reading", flush=True) or time.sleep(60)
del sys.argv[1:]  # what starts the bus otherwise
main()
"""


async def test_a_disk_that_does_not_answer_does_not_keep_it_from_ending_in_time(run: StartProcess) -> None:
    bus = await run()
    await bus.publish("hi", service="the-service")
    await bus.stop()
    bus = await run(prefix=[sys.executable, "-c", HANGING_READS])
    waiting = asyncio.create_task(bus.events())
    await bus.said("reading")
    start = time.monotonic()

    assert await bus.stop() == 0
    assert time.monotonic() - start < 4
    with suppress(ClientConnectionError):
        await waiting
    assert "Traceback" not in bus.output


# Secrets


async def test_the_token_that_everybody_knows_is_for_this_machine_alone(run: StartProcess, services_file: Path) -> None:
    services_file.write_text('[{"name": "one", "token": "workshop-only"}]')
    reached = {"HTTP_EVENTBUS_SERVER_HOST": "0.0.0.0"}

    refused = await run(**reached, until_ready=False)
    assert await refused.exit_status() == 2
    assert re.fullmatch(r"HTTP_EVENTBUS_SERVER_HOST=0\.0\.0\.0: others can reach the bus.*\n", refused.output)

    allowed = await run(**reached, EVENTBUS_ALLOW_WORKSHOP_TOKEN="on")
    assert "uses the token 'workshop-only'" in allowed.output


async def test_no_token_is_written_anywhere(run: StartProcess, tmp_path: Path) -> None:
    bus = await run()
    async with bus.client() as anna, bus.service() as service:
        await bus.publish("check-domain", token=anna.token)
        await bus.publish("check-domain-completed", service="the-service", context={"identifier": anna.token})
        await bus.post({"name": "eventbus.x", "context": {"identifier": anna.token}})
        await bus.post({"name": anna.token + "!", "id": anna.token + " ", "context": {"identifier": anna.token}})
        await bus.post(b'{"name": "' + anna.token.encode())
        await bus.post({"name": "hi"}, authorization=anna.token)
        await bus.post({"name": "hi"}, authorization="the-service", Origin="http://evil.example")
        await bus.raw(b"POST / HTTP/1.1\r\nAuthorization: the-service\x01\r\n\r\n")
        await bus.raw(b"POST / HTTP/1.1\r\nAuthorization: the-service\r\nContent-Length: x\r\n\r\n")
        await bus.raw(b"the-service\r\n\r\n")
        await bus.raw(HANDSHAKE[:-2] + b"Sec-WebSocket-Protocol: bearer, the-service\r\n\r\n", then_hang_up=True)
        await service.ask({"action": "identify", "token": anna.token})
        await service.ask({"action": anna.token})
        await bus.events()
        assert await anna.hear_names(2) == ["check-domain", "check-domain-completed"]
        files = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.name != "services.json"}
        await bus.stop()

    assert {"events.db", "events.db-wal"} <= files.keys()
    assert any(anna.address.encode() in content for content in files.values())
    for secret in (anna.token, anna.token.removeprefix("token-"), "the-service"):
        assert secret not in bus.output
        assert not any(secret.encode() in content for content in files.values())
    assert "Traceback" not in bus.output


async def test_connections_beyond_what_the_system_allows_are_told_of_in_few_lines(run: StartProcess) -> None:
    bus = await run()
    resource.prlimit(bus.process.pid, resource.RLIMIT_NOFILE, (40, 40))
    connections = [await asyncio.open_connection(*bus.address) for _ in range(60)]
    await bus.said("no more connections can be accepted")
    for _, writer in connections:
        writer.close()

    # It goes on, and has not filled the disk with the matter meanwhile.
    await bus.publish("hi", service="the-service")

    assert bus.output.count("no more connections") <= 3
    assert "Traceback" not in bus.output


async def test_without_any_file_left_to_open_events_are_still_delivered(run: StartProcess) -> None:
    bus = await run()
    async with bus.service() as service:
        await bus.request("GET", "/healthz")  # a connection to publish by
        resource.prlimit(bus.process.pid, resource.RLIMIT_NOFILE, (20, 20))
        connections = [await asyncio.open_connection(*bus.address) for _ in range(30)]
        await bus.said("no more connections can be accepted")

        await bus.publish("hi", service="the-service")

        assert await service.hear_names(1) == ["hi"]
        for _, writer in connections:
            writer.close()


async def test_it_says_where_it_listens_if_browsers_are_told_another_place(run: StartProcess) -> None:
    bus = await run(EVENTBUS_LOG="memory:", EVENTBUS_URL="http://localhost:9", EVENTBUS_LOGG="x")
    await bus.stop()

    host, port = bus.address
    assert f"bus ready at http://localhost:9, listening on {host} port {port}, log in memory:" in bus.output
    assert "EVENTBUS_LOGG: there is no such setting; did you mean EVENTBUS_LOG?\n" in bus.output


async def test_the_health_check_of_the_container_asks_no_proxy(run: StartProcess) -> None:
    compose = (Path(__file__).parents[2] / "docker-compose.yml").read_text()
    check = next(json.loads(line) for line in re.findall(r"test: (\[.*readyz.*\])", compose))
    bus = await run()
    program = check[3].replace("127.0.0.1:3001", f"127.0.0.1:{bus.address[1]}")
    proxies = dict.fromkeys(("http_proxy", "HTTP_PROXY", "ALL_PROXY"), "http://127.0.0.1:1")

    done = await asyncio.create_subprocess_exec(sys.executable, *check[2:3], program, env=os.environ | proxies)

    assert await asyncio.wait_for(done.wait(), PATIENCE) == 0
