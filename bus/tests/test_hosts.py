"""By which names the bus may be called: no page of another site reaches it by having its own name resolve to it."""

from __future__ import annotations

import pytest
from bus_under_test import KEY, ORIGIN, Bus, StartBus
from eventbus.config import Settings
from eventbus.edges.own_hosts import Hosts
from eventbus.log.by_url import open_log
from eventbus.problems import NotAllowed
from hypothesis import given
from hypothesis import strategies as st

OURS = [
    "localhost", "localhost:3001", "LOCALHOST", "localhost.", "localhost:", "bus.localhost:3001", "a.b.localhost.:80",
    "127.0.0.1", "127.0.0.1:9", "192.168.1.20:3001", "127.1", "2130706433", "0x7f.1", "[::1]", "[::1]:3001",
    "[2001:DB8::1]",
]  # fmt: skip
FOREIGN = [
    "", ":3001", "evil.test", "evil.test:3001", "evil.test.", "localhost.evil.test", "notlocalhost",
    "127.0.0.1.evil.test", "127.0.0.1.nip.io", "user@localhost", "localhost@evil.test", "evil.test@localhost",
    "localhost, evil.test", "localhost evil.test", "[::1", "::1", "[localhost]", "localhost:x", "localhost:80:80",
    "localhost/", "loc\xe4lhost", "..", ".localhost..", "host.docker.internal", "1.2.3.4.5", "9999999999",
]  # fmt: skip


def is_known(hosts: Hosts, *said: str, is_trusted: bool = False) -> bool:
    try:
        hosts.check(said, is_trusted=is_trusted)
    except NotAllowed:
        return False
    return True


@pytest.mark.parametrize("said", OURS)
def test_an_address_and_localhost_are_the_bus_s_whatever_the_port(said: str) -> None:
    assert is_known(Hosts(Settings()), said)


@pytest.mark.parametrize("said", FOREIGN)
def test_any_other_name_is_not(said: str) -> None:
    assert not is_known(Hosts(Settings()), said)
    assert is_known(Hosts(Settings()), said, is_trusted=True)


@pytest.mark.parametrize("setting", ["url", "public_url"])
def test_the_names_in_the_settings_are_the_bus_s(setting: str) -> None:
    hosts = Hosts(Settings(**{setting: "https://bus.example:8443"}))  # type: ignore[arg-type]

    assert is_known(hosts, "bus.example")
    assert is_known(hosts, "Bus.Example.:1")
    assert not is_known(hosts, "a.bus.example")


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
@pytest.mark.parametrize("said", FOREIGN)
def test_a_bus_that_other_machines_reach_has_any_name(host: str, said: str) -> None:
    assert is_known(Hosts(Settings(host=host)), said)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "::1", "127.0.0.2"])
def test_a_bus_on_an_address_of_loopback_is_careful(host: str) -> None:
    assert not is_known(Hosts(Settings(host=host)), "evil.test")


@given(st.text(alphabet=st.characters(codec="latin-1")), st.sampled_from(["localhost", "127.0.0.1", "[::1]"]))
def test_what_stands_around_a_good_name_does_not_make_another_good(other: str, ours: str) -> None:
    for said in (other + "." + ours + ".test", ours + "." + other + ".test", other + ".test"):
        assert not is_known(Hosts(Settings()), said)


# The same over the wire


def request(line: str, *headers: str, body: str = "") -> bytes:
    length = [f"Content-Length: {len(body)}"] if body else []
    return "\r\n".join([line, *headers, *length, "Connection: close", "", body]).encode("latin-1")


EVENT = '{"name": "hi", "context": {"identifier": "%s"}}'


@pytest.mark.parametrize("path", ["/", "/events"])
async def test_an_event_that_a_page_sends_to_a_name_of_its_own_is_not_stored(
    bus: Bus, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    event = EVENT % await bus.new_token()

    for _ in range(2):
        answer = await bus.raw(request(f"POST {path} HTTP/1.1", "Host: evil.test:3001", body=event))

    assert answer.startswith(b"HTTP/1.1 403 ")
    assert b"application/problem+json" in answer
    assert b"EVENTBUS_URL" in answer
    assert await bus.events() == []
    [line] = [record.getMessage() for record in caplog.records]
    assert "'evil.test:3001'" in line


async def test_an_event_that_is_sent_to_the_bus_s_name_is_stored(bus: Bus) -> None:
    event = EVENT % await bus.new_token()

    for host in ("localhost", "127.0.0.1", "[::1]:3001", "bus.localhost"):
        answer = await bus.raw(request("POST / HTTP/1.1", f"Host: {host}", body=event))
        assert answer.startswith(b"HTTP/1.1 200 "), (host, answer)

    assert len(await bus.events()) == 4


async def test_a_service_with_its_token_may_call_the_bus_by_any_name(bus: Bus) -> None:
    """Such as `ssh -L`, a proxy in front, or a container that calls its host."""
    for authorization in ("the-service", "Bearer the-service"):
        headers = "Host: host.docker.internal:3001", f"Authorization: {authorization}"
        assert (await bus.raw(request("POST / HTTP/1.1", *headers, body='{"name": "hi"}'))).startswith(b"HTTP/1.1 200")
        assert (await bus.raw(request("GET /events HTTP/1.1", *headers))).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (["GET /events HTTP/1.1", "Host: evil.test"], 403),
        (["GET /events HTTP/1.1", "Host: evil.test", "Authorization: wrong"], 403),
        (["GET / HTTP/1.1", "Host: evil.test", "Accept: text/html"], 403),
        (["OPTIONS / HTTP/1.1", "Host: evil.test", f"Origin: {ORIGIN}"], 403),
        (["GET /nowhere HTTP/1.1", "Host: evil.test"], 403),
        (["GET http://evil.test/events HTTP/1.1", "Host: localhost"], 403),
        (["GET http://localhost/events HTTP/1.1", "Host: evil.test"], 403),
        (["GET http://localhost:3001/events HTTP/1.1", "Host: localhost:3001"], 401),
        (["GET http://[::1]:3001/events HTTP/1.1", "Host: [::1]:3001"], 401),
        (["GET /events HTTP/1.1", "Host: localhost", "Host: evil.test"], 400),
        (["GET /events HTTP/1.0", "Host: evil.test"], 403),
        (["GET /events HTTP/1.0"], 401),
        (["GET /events HTTP/1.1"], 400),
        (["GET /healthz HTTP/1.1", "Host: evil.test"], 200),
        (["GET /readyz HTTP/1.0"], 200),
    ],
    ids=str,
)
async def test_each_path_but_those_of_health_checks_looks_at_the_host(bus: Bus, head: list[str], status: int) -> None:
    answer = await bus.raw(request(*head))

    assert int(answer[9:12]) == status, answer
    assert (b"application/problem+json" in answer) == (status >= 400)


@pytest.mark.parametrize(("host", "status"), [("evil.test", b"403"), ("localhost:3001", b"101"), ("[::1]", b"101")])
async def test_a_handshake_looks_at_the_host(bus: Bus, host: str, status: bytes) -> None:
    handshake = request(
        "GET /ws HTTP/1.1", f"Host: {host}", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Connection: Upgrade"
    ).replace(b"Connection: close\r\n\r\n", KEY)

    answer = await bus.raw(handshake + b"\x88\x80\0\0\0\0")

    assert answer.startswith(b"HTTP/1.1 " + status)


async def test_a_bus_in_a_container_is_called_as_others_like(start: StartBus) -> None:
    bus = await start(open_log("memory:"), Settings(host="0.0.0.0"))
    event = EVENT % await bus.new_token()

    assert (await bus.raw(request("POST / HTTP/1.1", "Host: bus:3001", body=event))).startswith(b"HTTP/1.1 200")
