"""What these tests share: the site as `serve.py` and as nginx serve it, a bus that does as it is told, and Chromium."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from browser import chromium_launch_options
from machine import ended, free_port, untested, wait_until
from obedient_bus import ObedientBus
from playwright.sync_api import BrowserContext

ROOM = Path(__file__).parent.parent
BUS_URL = "http://bus.example:8080"


@pytest.fixture(scope="session")
def browser_type_launch_args() -> dict[str, Any]:
    return chromium_launch_options()


@pytest.fixture(scope="session")
def base_url() -> None:
    """There is none: each test has a bus of its own, which serves the page, too."""


@pytest.fixture
def bus() -> Iterator[ObedientBus]:
    with ObedientBus(ROOM / "public") as bus:
        yield bus


@pytest.fixture
def new_context(bus: ObedientBus, new_context: Callable[..., BrowserContext]) -> Callable[..., BrowserContext]:
    """Make browser contexts that are gone before the bus is: none of their connections is left in its hands."""
    return new_context


@pytest.fixture(scope="session")
def room(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the server and the page, with a dotfile and two links that must not be served."""
    room = tmp_path_factory.mktemp("static-site").resolve()
    shutil.copy(ROOM / "serve.py", room)
    shutil.copytree(ROOM / "public", room / "public")
    (room / "public" / ".env").write_text("AUTHORIZATION_TOKEN=secret")
    (room / "public" / "link-out").symlink_to(room / "serve.py")
    (room / "public" / "link-in.js").symlink_to(room / "public" / "app.js")
    return room


def run_serve_py(room: Path, **settings: str) -> subprocess.Popen[str]:
    env = {"PATH": os.environ["PATH"], "EVENTBUS_PUBLIC_URL": BUS_URL, **settings}
    command = [sys.executable, str(room / "serve.py")]
    return subprocess.Popen(command, env=env, stderr=subprocess.PIPE, text=True)


@pytest.fixture
def start_serve_py(room: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start `serve.py` with settings of one's own; what still runs at the end is ended."""
    with ExitStack() as stack:
        yield lambda **settings: stack.enter_context(ended(run_serve_py(room, **settings)))


@pytest.fixture(scope="session")
def serve_py(room: Path) -> Iterator[str]:
    port = free_port()
    process = run_serve_py(room, HTTP_FILE_SERVER_HOST="127.0.0.1", HTTP_FILE_SERVER_PORT=str(port))
    assert process.stderr
    with ended(process):
        assert process.stderr.readline() == f"Open http://127.0.0.1:{port} in a browser\n"
        yield f"http://127.0.0.1:{port}"


@pytest.fixture(scope="session")
def nginx(room: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The nginx of this machine, with the container's configuration moved to other folders and another port."""
    if shutil.which("nginx") is None:
        untested("the configuration of nginx", "there is no nginx (on Debian: apt install nginx)")
    port, folder = free_port(), tmp_path_factory.mktemp("nginx")
    config = (ROOM / "nginx.conf.template").read_text()
    for old, new in {
        " /tmp/": f" {folder}/",
        "${EVENTBUS_PUBLIC_URL}": BUS_URL,
        "${EVENTBUS_WEBSOCKET_URL}": BUS_URL.replace("http", "ws", 1),
        "${EVENTBUS_SITE_LISTEN}": f"127.0.0.1:{port}",
        "${EVENTBUS_SITE_CERTIFICATE}": "",
        "/usr/share/nginx/html": str(room / "public"),
        "/dev/stdout": str(folder / "access.log"),
        "worker_processes auto;": "worker_processes 1;" if os.geteuid() else "worker_processes 1; user root;",
    }.items():
        assert old in config
        config = config.replace(old, new)
    (folder / "nginx.conf").write_text(config)
    command = ["nginx", "-c", str(folder / "nginx.conf"), "-e", "stderr", "-g", "daemon off;"]
    with ended(subprocess.Popen(command, stderr=subprocess.DEVNULL), by=signal.SIGQUIT) as process:
        wait_for_port(port, process)
        yield f"http://127.0.0.1:{port}"


def wait_for_port(port: int, process: subprocess.Popen[Any]) -> None:
    wait_until(lambda: process.poll() is not None or listens(port), f"nginx listens on port {port}")
    assert process.poll() is None, f"nginx ended with {process.returncode} before it listened"


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
