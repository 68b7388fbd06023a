"""How the static site starts and stops: `serve.py` as a process, and the check that the container begins with."""

from __future__ import annotations

import signal
import socket
import subprocess
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from machine import free_port
from trust import make_certificates, trusted
from web import request

ENVSH = Path(__file__).parent.parent / "05-eventbus.envsh"

Start = Callable[..., subprocess.Popen[str]]


def test_a_taken_port_is_one_line_that_says_what_to_change(start_serve_py: Start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        process = start_serve_py(HTTP_FILE_SERVER_HOST="127.0.0.1", HTTP_FILE_SERVER_PORT=port)
        _, errors = process.communicate(timeout=10)

    assert process.returncode == 2
    assert errors.startswith(f"HTTP_FILE_SERVER_PORT={port}: another program is listening")
    assert errors.count("\n") == 1


@pytest.mark.parametrize(
    ("setting", "value"),
    [("HTTP_FILE_SERVER_HOST", "locahost"), ("HTTP_FILE_SERVER_PORT", "many"), ("EVENTBUS_PUBLIC_URL", "ftp://x")],
)
def test_a_wrong_setting_is_one_line_that_names_it(start_serve_py: Start, setting: str, value: str) -> None:
    process = start_serve_py(**{setting: value})
    _, errors = process.communicate(timeout=10)

    assert process.returncode == 2
    assert errors.startswith(f"{setting}={value}: ")
    assert errors.count("\n") == 1


def test_a_file_for_tls_keys_that_cannot_be_written_is_done_without(start_serve_py: Start) -> None:
    process = start_serve_py(HTTP_FILE_SERVER_PORT=str(free_port()), SSLKEYLOGFILE="/nowhere/keys")
    assert process.stderr

    assert process.stderr.readline().startswith("SSLKEYLOGFILE=/nowhere/keys: No such file or directory; ")
    assert process.stderr.readline().startswith("Open http://localhost:")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_well_even_while_a_browser_holds_a_connection(
    start_serve_py: Start, number: signal.Signals
) -> None:
    port = free_port()
    process = start_serve_py(HTTP_FILE_SERVER_PORT=str(port))
    assert process.stderr
    assert process.stderr.readline() == f"Open http://localhost:{port} in a browser\n"

    with socket.create_connection(("localhost", port)):
        process.send_signal(number)
        _, errors = process.communicate(timeout=5)

    assert (process.returncode, errors) == (0, "")


def test_signals_that_come_while_it_ends_change_nothing(start_serve_py: Start) -> None:
    process = start_serve_py(HTTP_FILE_SERVER_PORT=str(free_port()))
    assert process.stderr
    process.stderr.readline()

    while process.poll() is None:
        process.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(0.001)
    _, errors = process.communicate(timeout=5)

    assert (process.returncode, errors) == (0, "")


def test_without_tls_sighup_changes_nothing(start_serve_py: Start) -> None:
    process = start_serve_py(HTTP_FILE_SERVER_PORT=str(free_port()))
    assert process.stderr
    process.stderr.readline()

    process.send_signal(signal.SIGHUP)
    assert process.stderr.readline().startswith("SIGHUP ")
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=5)

    assert (process.returncode, errors) == (0, "")


def source_envsh(value: str) -> subprocess.CompletedProcess[str]:
    """Do what the image's start script does: source the file, and leave the rest the variables."""
    script = '. "$0" && echo "$EVENTBUS_PUBLIC_URL $EVENTBUS_WEBSOCKET_URL"'
    env = {"EVENTBUS_PUBLIC_URL": value, "PATH": "/usr/bin:/bin"}
    return subprocess.run(["sh", "-c", script, str(ENVSH)], env=env, capture_output=True, text=True, timeout=10)


@pytest.mark.parametrize(
    ("value", "urls"),
    [
        ("http://localhost:3001", "http://localhost:3001 ws://localhost:3001"),
        ("http://localhost:3001/", "http://localhost:3001 ws://localhost:3001"),
        ("https://bus.example", "https://bus.example wss://bus.example"),
        ("http://[::1]:3001", "http://[::1]:3001 ws://[::1]:3001"),
    ],
)
def test_the_container_derives_the_websocket_url(value: str, urls: str) -> None:
    assert source_envsh(value).stdout == urls + "\n"


def test_the_container_speaks_tls_with_a_certificate_and_not_without() -> None:
    script = '. "$0" && echo "$EVENTBUS_SITE_LISTEN; $EVENTBUS_SITE_CERTIFICATE"'
    command = ["sh", "-c", script, str(ENVSH)]
    env = {"EVENTBUS_PUBLIC_URL": "https://bus", "PATH": "/usr/bin:/bin"}
    tls = {"EVENTBUS_TLS_CERT": "/a.pem", "EVENTBUS_TLS_KEY": "/a.key"}

    without, with_one = (subprocess.check_output(command, env=e, text=True, timeout=10) for e in (env, env | tls))

    assert without == "3000; \n"
    assert with_one == "3000 ssl; ssl_certificate /a.pem; ssl_certificate_key /a.key;\n"


def test_with_a_certificate_the_site_is_https(start_serve_py: Start, tmp_path: Path) -> None:
    port = free_port()
    make_certificates(tmp_path)
    process = start_serve_py(
        HTTP_FILE_SERVER_PORT=str(port),
        EVENTBUS_PUBLIC_URL="https://localhost:3001",
        EVENTBUS_TLS_CERT=str(tmp_path / "server.pem"),
        EVENTBUS_TLS_KEY=str(tmp_path / "server.key"),
    )
    assert process.stderr
    assert process.stderr.readline() == f"Open https://localhost:{port} in a browser\n"
    with trusted(tmp_path / "ca.pem"):
        config = request("GET", f"https://localhost:{port}/config.json")

    assert config.json() == {"eventbus": "https://localhost:3001"}


@pytest.mark.parametrize(
    "value", ["", "localhost:3001", "ws://x", "http://", "http://x/bus", "http://a b", 'http://x";', "http://a\nb"]
)
def test_the_container_does_not_start_without_a_proper_url(value: str) -> None:
    done = source_envsh(value)

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"EVENTBUS_PUBLIC_URL={value}: expected")
