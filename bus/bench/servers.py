"""The servers that are measured, each a process of its own with a folder of its own, on 127.0.0.1."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from . import nats

BUS = Path(__file__).parents[1]
TOKEN = "bench"  # noqa: S105 - the servers of a run know no other
PATIENCE = 30
"""Seconds that a server has to start, or to stop."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A server that can be started.

    Attributes:
        title: As in the tables.
        log: The bus's log; `{folder}` is replaced. None for a server that is not the bus.
        program: What to start if it is not the bus, with its port and token added.
        speaks: How the generator talks to it; see `Run`.
        ordered: Whether it promises each publisher's order.
    """

    title: str
    log: str | None = None
    program: str = ""
    speaks: str = "HTTP"
    ordered: bool = True


NAIVE = "naive"
KINDS = {
    "memory": Kind("bus, memory", log="memory:"),
    "normal": Kind("bus, SQLite NORMAL", log="sqlite:{folder}/events.db?sync=normal"),
    "full": Kind("bus, SQLite FULL", log="sqlite:{folder}/events.db"),
    NAIVE: Kind("naive", program="bench.naive"),
    "nothing": Kind("answers 200 only (aiohttp)", program="bench.nothing"),
    "nginx": Kind("answers 200 only (nginx)", program="nginx"),
    "nats": Kind("NATS JetStream, file", program="nats-server", speaks="nats"),
    "go": Kind("the original, in Go", program="BENCH_GO", ordered=False),
}


@dataclass(slots=True)
class Server:
    """A server that runs."""

    kind: Kind
    folder: Path
    port: int
    process: subprocess.Popen[bytes]
    started_in: float = 0.0

    def stop(self) -> None:
        """Ask it to end, and wait."""
        self.process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(PATIENCE)
        self.process.kill()
        self.process.wait(PATIENCE)


@contextmanager
def running(name: str, *, folder: Path | None = None, without: str | None = None) -> Iterator[Server]:
    """Start a server, and stop it at the end; its log is thrown away unless a `folder` is given.

    The bus, and nobody else, can be started `without` one of its levers; see there.
    """
    with tempfile.TemporaryDirectory() as own:
        began = time.monotonic()
        server = start(KINDS[name], folder or Path(own), without)
        try:
            ready(server)
            server.started_in = time.monotonic() - began
            yield server
        finally:
            server.stop()


def start(kind: Kind, folder: Path, without: str | None = None) -> Server:
    """Start a server on a free port; it may not be ready yet."""
    port = _free_port()
    command = [sys.executable, "-m", kind.program, str(port), TOKEN]
    if kind.log:
        command = [sys.executable, "-m", *(["bench.without", without] if without else ["eventbus"])]
    elif kind.program == "nginx":
        command = _nginx(folder, port)
    elif kind.program == "nats-server":
        command = ["nats-server", "-a", "127.0.0.1", "-p", str(port), "-js", "-sd", str(folder)]
    elif kind.program == "BENCH_GO":
        command = [str(Path(os.environ["BENCH_GO"]).absolute())]
    services = folder / "services.json"
    services.write_text(json.dumps([{"name": "bench", "token": TOKEN}]))
    settings = {
        "HTTP_FILE_SERVER_HOST": "127.0.0.1",  # the original serves its page as well, on any port
        "HTTP_EVENTBUS_SERVER_HOST": "127.0.0.1",
        "HTTP_EVENTBUS_SERVER_PORT": str(port),
        "EVENTBUS_LOG": (kind.log or "").format(folder=folder),
        "EVENTBUS_SERVICES": str(services),
        "EVENTBUS_CLIENT_RATE": "0",
        "EVENTBUS_CLIENT_EVENTS": "*",
        "EVENTBUS_RETENTION_EVENTS": "0",
        "EVENTBUS_MAX_CONNECTIONS": "200000",  # one host may have a tenth
    }
    passed = {name: os.environ[name] for name in ("PATH", "EVENTBUS_FAST_PATH") if name in os.environ}
    settings |= {"PYTHONPATH": str(BUS), **passed}
    with (folder / "output").open("wb") as output:
        process = subprocess.Popen(command, env=settings, cwd=folder, stdout=output, stderr=subprocess.STDOUT)
    return Server(kind, folder, port, process)


def ready(server: Server) -> None:
    """Wait until it answers; the bus says itself whether it is ready."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end and server.process.poll() is None:
        with suppress(OSError, http.client.HTTPException):
            if server.kind.speaks == "nats":
                nats.create_stream(server.port)
                return
            connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE)
            # The original's handler of GET fails.
            connection.request("OPTIONS" if server.kind.program == "BENCH_GO" else "GET", "/readyz")
            if connection.getresponse().status in (200, 404):
                connection.close()
                return
        time.sleep(0.005)
    raise RuntimeError(f"{server.kind.title} did not start: {(server.folder / 'output').read_text()}")


def installed() -> list[str]:
    """Return the names of the servers that this machine can start."""
    return [name for name in KINDS if not missing(name)]


def missing(name: str) -> str | None:
    """Say which program a server needs and this machine lacks, and what to do; None if it can be started."""
    program = KINDS[name].program
    if program in ("nginx", "nats-server") and not shutil.which(program):
        return f"{program} is not installed (on Debian: apt install {program})"
    binary = os.environ.get("BENCH_GO", "")
    if program == "BENCH_GO" and not (Path(binary).is_file() and os.access(binary, os.X_OK)):
        return f"BENCH_GO={binary} is no program: build github.com/aeden/eventbus/cmd, and name the result"
    return None


def versions(names: Sequence[str]) -> dict[str, str]:
    """Return what such servers say of their version, if they do."""
    programs = [program for name in names if (program := KINDS[name].program) == "nats-server"]
    return {
        program: subprocess.check_output([program, "--version"], text=True, timeout=PATIENCE).split()[-1]
        for program in programs
    }


def _nginx(folder: Path, port: int) -> list[str]:
    """Write what nginx wants to know: one process, and no files but in the folder."""
    temporary = "".join(
        f"{kind}_temp_path {folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    config = f"""daemon off; master_process off; pid {folder}/pid; error_log stderr;
        events {{ worker_connections 4096; }}
        http {{ access_log off; keepalive_requests 1000000000; {temporary}
            server {{ listen 127.0.0.1:{port}; location / {{ return 200 "{{}}"; }} }} }}"""
    (folder / "nginx.conf").write_text(config)
    return ["nginx", "-c", f"{folder}/nginx.conf", "-p", str(folder)]


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])
