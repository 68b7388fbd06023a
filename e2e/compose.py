"""Runs a copy of the project in containers, under a name, ports and volumes of its own.

A copy, so that neither your .env nor your edits meanwhile change what the tests see, and so that a test may edit it.
"""

from __future__ import annotations

import json
import secrets
import shutil
import subprocess
from pathlib import Path
from typing import Any

from machine import ARTIFACTS, ROOT, environment, free_ports

NOT_COPIED = shutil.ignore_patterns(
    ".git",
    ".venv",
    ".env",
    "data",
    "certificates",
    "artifacts",
    "node_modules",
    "__pycache__",
    ".*_cache",
    ".coverage*",
)


class Compose:
    """A copy of the project, and ``docker compose`` for it.

    Attributes:
        directory: The copy.
        site_url: Where a visitor finds the page.
        bus_url: Where a visitor's browser finds the bus.
        settings: Variables that the shell of ``docker compose`` has set; no others are.
    """

    def __init__(self, directory: Path, *, files: tuple[str, ...] = ("docker-compose.yml",), tls: bool = False) -> None:
        shutil.copytree(ROOT, directory, ignore=NOT_COPIED)
        self.directory = directory
        self.settings = free_ports()
        scheme, tls_file = ("https", ("docker-compose.tls.yml",)) if tls else ("http", ())
        self.site_url = f"{scheme}://localhost:{self.settings['HTTP_FILE_SERVER_PORT']}"
        self.bus_url = f"{scheme}://localhost:{self.settings['HTTP_EVENTBUS_SERVER_PORT']}"
        self._name = f"eventbus-test-{secrets.token_hex(4)}"
        self._files = [part for file in files + tls_file for part in ("--file", file)]

    def run(self, *arguments: str) -> str:
        """Return what ``docker compose ARGUMENTS`` printed; a failure shows all of it."""
        done = subprocess.run(
            self._command(*arguments), cwd=self.directory, env=self._env(), text=True, capture_output=True, timeout=600
        )
        if done.returncode:
            raise AssertionError(f"docker compose {' '.join(arguments)}:\n{done.stdout}\n{done.stderr}")
        return done.stdout

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Start ``docker compose ARGUMENTS`` and leave it running; its output becomes an artifact."""
        with self._artifact(arguments[0]).open("wb") as output:
            return subprocess.Popen(
                self._command(*arguments), cwd=self.directory, env=self._env(), stdout=output, stderr=output
            )

    def printed(self, command: str) -> str:
        """Return what a command that `start` left running has printed so far."""
        return self._artifact(command).read_text()

    def up(self) -> None:
        self.run("up", "--build", "--wait", "--wait-timeout", "120")

    def take_ca(self, directory: Path) -> Path:
        """Let the development CA be made, and copy it out of its volume."""
        self.run("run", "--rm", "certificates")
        ca = directory / "ca.pem"
        ca.write_text(self.run("run", "--rm", "certificates", "cat", "/certificates/ca.pem"))
        return ca

    def remove(self) -> None:
        """Remove all that was made, images and volumes too, and keep what the programs printed."""
        self._artifact("logs").write_text(self.run("logs", "--no-color", "--timestamps"))
        self.run("--profile", "*", "down", "--volumes", "--remove-orphans", "--rmi", "local")

    def inspect(self, service: str) -> dict[str, Any]:
        """Return what the engine knows about a service's container, running or not."""
        container = self.run("ps", "--all", "--quiet", service).strip()
        found: list[dict[str, Any]] = json.loads(docker("inspect", container))
        return found[0]

    def _command(self, *arguments: str) -> list[str]:
        return ["docker", "compose", "--project-name", self._name, *self._files, *arguments]

    def _env(self) -> dict[str, str]:
        return environment() | self.settings

    def _artifact(self, kind: str) -> Path:
        ARTIFACTS.mkdir(parents=True, exist_ok=True)
        return ARTIFACTS / f"{self._name}-{kind}.log"


def docker(*arguments: str) -> str:
    """Return all that `docker ARGUMENTS` printed, such as a container's output."""
    done = subprocess.run(
        ["docker", *arguments], check=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60
    )
    return done.stdout


def why_no_engine() -> str | None:
    """Say why containers cannot be tested here; None where they can."""
    if shutil.which("docker") is None:
        return "no docker command on PATH"
    answer = subprocess.run(["docker", "compose", "ls"], capture_output=True, text=True, timeout=60)
    return None if answer.returncode == 0 else "no engine answers: " + answer.stderr.strip().partition("\n")[0]
