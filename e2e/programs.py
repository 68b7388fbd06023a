"""The demo under test: the three programs as processes, as containers, or somewhere that others have started.

The stories are the same for all. What differs, how a program is started and stopped, is in here and nowhere else.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import urllib.error
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

from compose import Compose, docker
from machine import ROOT, end, environment, free_ports, wait_until
from trust import make_certificates, trusted
from web import request, visit

BUS, STATIC_SITE, EXAMPLE_SERVICE = PROGRAMS = ("bus", "static-site", "example-service")
WITNESS: dict[str, Any] = {
    "name": "witness",
    "token": "witness-only",
    "publish": [],
    "subscribe": ["*"],
}  # may read the whole log
SLOW_MEMBER = "slow-member"
NEVER_DONE = {"DOMAIN_SERVICE_DELAY": "600"}
DEFAULT_TOKEN = "workshop-only"  # the example service's, as the Procfile and docker-compose.yml have it
COMMANDS = {
    BUS: [sys.executable, "-m", "eventbus"],
    STATIC_SITE: [sys.executable, str(ROOT / "static-site" / "serve.py")],
    EXAMPLE_SERVICE: [sys.executable, "-m", "domain_service"],
    SLOW_MEMBER: [sys.executable, "-m", "domain_service"],
}


class Demo(Protocol):
    """Where a visitor finds the page, where a browser finds the bus, and the example service's token."""

    @property
    def site_url(self) -> str: ...
    @property
    def bus_url(self) -> str: ...
    @property
    def token(self) -> str: ...


class Programs(Demo, Protocol):
    """A demo whose programs the test may stop and start, by their names."""

    @property
    def ca(self) -> Path | None:
        """The CA to trust, where the demo runs over TLS."""

    def start(self, program: str, **settings: str) -> None:
        """Start a program with these settings, unless it runs with just these, and return once it does its work."""

    def stop(self, program: str) -> None:
        """Ask a program to end, and return once it has."""

    def kill(self, program: str) -> None:
        """End a program without asking, as `kill -9` does."""

    def slow_member(self) -> AbstractContextManager[None]:
        """Run one more instance of the example service, which never gets done; in the end `kill -9` it."""

    def output(self, program: str) -> str:
        """Return all that a program has printed."""

    def remove(self) -> None:
        """End all of them, and leave nothing behind."""


class Processes:
    """The programs as `make start` runs them, on ports, a log and a registry of their own.

    Args:
        directory: Empty; for the log, the registry and the output.
        tls: As `make start-tls` runs them.
        settings: More settings, for all of them.
    """

    def __init__(
        self, directory: Path, *, tls: bool = False, settings: Mapping[str, str] = MappingProxyType({})
    ) -> None:
        ports, scheme = free_ports(), "https" if tls else "http"
        self.site_url = f"{scheme}://localhost:{ports['HTTP_FILE_SERVER_PORT']}"
        self.bus_url = f"{scheme}://localhost:{ports['HTTP_EVENTBUS_SERVER_PORT']}"
        self.token = DEFAULT_TOKEN
        self._directory = directory
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._told: dict[str, dict[str, str]] = {}
        self._settings = ports | {
            "EVENTBUS_LOG": f"sqlite:{directory / 'events.db'}",
            "EVENTBUS_SERVICES": str(directory / "services.json"),
            "DOMAIN_SERVICE_DELAY": "0.1",
            "DOMAIN_SERVICE_REGISTRY": str(directory / "registry.db"),
            "AUTHORIZATION_TOKEN": self.token,
            **settings,
        }
        shutil.copy(ROOT / "services.json", directory)
        let_the_witness_in(directory)
        self.ca = directory / "certificates" / "ca.pem" if tls else None
        if self.ca:
            make_certificates(self.ca.parent)
            self._settings["EVENTBUS_TLS_CERT"] = str(self.ca.with_name("server.pem"))
            self._settings["EVENTBUS_TLS_KEY"] = str(self.ca.with_name("server.key"))

    def start(self, program: str, **settings: str) -> None:
        if program in self._running and settings != self._told[program]:
            self.stop(program)
        if program not in self._running:
            self._told[program] = settings
            self._run(program)
        if program == EXAMPLE_SERVICE:
            wait_for_an_answer(self)
        else:
            self._wait_until_ready(program)

    def stop(self, program: str) -> None:
        end(self._running.pop(program))

    def kill(self, program: str) -> None:
        process = self._running.pop(program)
        process.kill()
        process.wait(timeout=10)

    @contextmanager
    def slow_member(self) -> Iterator[None]:
        self._told[SLOW_MEMBER] = NEVER_DONE
        self._output_file(SLOW_MEMBER).unlink(missing_ok=True)
        self._run(SLOW_MEMBER)
        try:
            wait_until(lambda: "connected to" in self.output(SLOW_MEMBER), "the slow member is connected")
            yield
        finally:
            self.kill(SLOW_MEMBER)

    def output(self, program: str) -> str:
        return self._output_file(program).read_text()

    def remove(self) -> None:
        with ExitStack() as all_of_them:
            for program in self._running:
                all_of_them.callback(self.stop, program)

    def _run(self, program: str) -> None:
        with self._output_file(program).open("ab") as output:
            self._running[program] = subprocess.Popen(
                COMMANDS[program],
                cwd=self._directory,
                env=environment() | self._settings | self._told[program],
                stdout=output,
                stderr=output,
            )

    def _wait_until_ready(self, program: str) -> None:
        url = self.bus_url + "/readyz" if program == BUS else self.site_url + "/config.json"
        while not _is_ready(url):
            with suppress(subprocess.TimeoutExpired):
                code = self._running[program].wait(timeout=0.05)
                raise AssertionError(f"{program} ended with {code}:\n{self.output(program)}")

    def _output_file(self, program: str) -> Path:
        return self._directory / f"{program}.log"


class Containers:
    """The programs as `docker compose up` runs them.

    Args:
        directory: Empty; for the copy of the project that the containers are built from.
        tls: With the override for TLS.
    """

    def __init__(self, directory: Path, *, tls: bool = False) -> None:
        self._compose = Compose(directory / "eventbus", tls=tls)
        let_the_witness_in(directory / "eventbus")
        self.site_url = self._compose.site_url
        self.bus_url = self._compose.bus_url
        self.token = DEFAULT_TOKEN
        self.ca = self._compose.take_ca(directory) if tls else None

    def start(self, program: str, **settings: str) -> None:
        # Settings reach containers by this file; one that runs with others is made anew.
        (self._compose.directory / ".env").write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
        self._compose.run("up", "--no-deps", "--wait", "--wait-timeout", "120", program)
        if program == EXAMPLE_SERVICE:
            wait_for_an_answer(self)

    def stop(self, program: str) -> None:
        self._compose.run("stop", program)

    def kill(self, program: str) -> None:
        self._compose.run("kill", program)

    @contextmanager
    def slow_member(self) -> Iterator[None]:
        told = [part for name, value in NEVER_DONE.items() for part in ("--env", f"{name}={value}")]
        container = self._compose.run("run", "--detach", "--rm", "--no-deps", *told, EXAMPLE_SERVICE).strip()
        try:
            wait_until(lambda: "connected to" in docker("logs", container), "the slow member is connected")
            yield
        finally:
            docker("kill", container)

    def output(self, program: str) -> str:
        return self._compose.run("logs", "--no-color", "--timestamps", program)

    def remove(self) -> None:
        self._compose.remove()


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """Programs that others have started, as for the compose profile `e2e`: nobody here may stop them."""

    site_url: str
    bus_url: str
    token: str


TARGETS: dict[str, Callable[..., Programs]] = {"processes": Processes, "containers": Containers}


@contextmanager
def running_demo(target: str, directory: Path, **options: Any) -> Iterator[Demo]:
    """Start the demo and remove it afterwards, or find the one that E2E_SITE_URL and E2E_BUS_URL name."""
    if "E2E_SITE_URL" in os.environ:
        token = os.environ.get("AUTHORIZATION_TOKEN", DEFAULT_TOKEN)
        yield Elsewhere(os.environ["E2E_SITE_URL"], os.environ["E2E_BUS_URL"], token)
        return
    programs = TARGETS[target](directory, **options)
    with trusted(programs.ca) if programs.ca else nullcontext():
        try:
            for program in PROGRAMS:
                programs.start(program)
            yield programs
        finally:
            programs.remove()


def let_the_witness_in(directory: Path) -> None:
    """Add a service that may read what the example service may not: its own answers."""
    services = directory / "services.json"
    services.write_text(json.dumps([*json.loads(services.read_text()), WITNESS]))


def wait_for_an_answer(demo: Demo) -> None:
    """Ask until the example service answers: one that lost the bus comes back after a pause of its own choice."""
    with visit(demo.bus_url) as visitor:
        for _ in range(30):
            visitor.publish("check-domain", ["example.com"])
            with suppress(TimeoutError):
                visitor.next("check-domain-completed", within=2)
                return
    raise AssertionError("the example service has not answered for a minute")


def _is_ready(url: str) -> bool:
    try:
        return request("GET", url).status == 200
    except (urllib.error.URLError, ConnectionError):
        return False
