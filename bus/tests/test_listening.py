"""Where the bus listens, and what is said when it cannot."""

from __future__ import annotations

import errno
import os
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from bus_under_test import free_port
from eventbus.environment import ConfigError
from eventbus.server import port_holder
from eventbus.server.listening import listen


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as other:
        yield other.getsockname()[1]


def test_localhost_can_be_reached_by_its_address() -> None:
    port = free_port()

    sockets = listen("localhost", port, setting="HTTP_EVENTBUS_SERVER")

    socket.create_connection(("127.0.0.1", port)).close()
    for listening in sockets:
        listening.close()


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_a_taken_port_is_named(taken_port: int, host: str) -> None:
    with pytest.raises(ConfigError, match=f"HTTP_EVENTBUS_SERVER_PORT={taken_port}: another program is listening"):
        listen(host, taken_port, setting="HTTP_EVENTBUS_SERVER")


@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="this system does not tell")
def test_the_program_that_has_a_taken_port_is_named(taken_port: int) -> None:
    own = f"{Path('/proc/self/comm').read_text().strip()}, process {os.getpid()}"

    with pytest.raises(ConfigError, match=f"on this port of 127.0.0.1 \\({re.escape(own)}\\); stop it"):
        listen("127.0.0.1", taken_port, setting="HTTP_EVENTBUS_SERVER")


def test_where_the_system_does_not_tell_the_port_alone_is_named(
    taken_port: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(port_holder, "PROC", tmp_path)

    with pytest.raises(ConfigError, match=r"is listening on this port of 127.0.0.1; stop it"):
        listen("127.0.0.1", taken_port, setting="HTTP_EVENTBUS_SERVER")


def test_a_host_that_is_not_this_machine_is_named() -> None:
    with pytest.raises(ConfigError, match=r"HTTP_EVENTBUS_SERVER_HOST=192\.0\.2\.1: this is no address of"):
        listen("192.0.2.1", free_port(), setting="HTTP_EVENTBUS_SERVER")


def test_whatever_else_the_system_refuses_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(socket, "create_server", refuse)

    with pytest.raises(ConfigError, match="SERVER_PORT=80: Permission denied; set others"):
        listen("127.0.0.1", 80, setting="HTTP_EVENTBUS_SERVER")


def test_localhost_may_be_named_twice_and_have_an_address_of_a_kind_that_is_switched_off(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    port, real = free_port(), socket.create_server
    found = [(socket.AF_INET6, "::1"), (socket.AF_INET, "127.0.0.1"), (socket.AF_INET, "127.0.0.1")]

    def create_server(address: tuple[str, int], **options: Any) -> socket.socket:
        if address[0] == "::1":
            raise OSError(errno.EAFNOSUPPORT, "Address family not supported by protocol")
        return real(address, **options)

    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [(f, None, None, None, (a, port)) for f, a in found])
    monkeypatch.setattr(socket, "create_server", create_server)

    [listening] = listen("localhost", port, setting="HTTP_EVENTBUS_SERVER")

    assert listening.getsockname() == ("127.0.0.1", port)
    listening.close()
