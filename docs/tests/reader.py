"""Does what a page says, in a copy of the project: types its commands, makes its edits, looks at its browser."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from itertools import takewhile
from pathlib import Path

from compose import NOT_COPIED
from documents import ROOT, Block, commands, looks_like
from machine import environment, free_port
from playwright.sync_api import Page, expect

PATIENCE = 30.0  # seconds
END = "--- end of the output ---"
PORTS = ["3000", "3001", "8000", "8001"]  # that pages name
# Commands that are not run here, as they install or start more than a page's test may: what runs each, in which words.
NOT_RUN = {
    "make install": ("Makefile", "test: .venv/installed"),
    "make test": (".ci/run", "make test"),
    "make check": (".ci/run", "make check"),
    "make up": ("e2e/compose.py", '"up", "--build", "--wait"'),
    "make down": ("e2e/containers/test_compose.py", 'compose.run("down")'),
    "foreman start": ("e2e/test_procfile.py", '"foreman"'),
    ".venv/bin/honcho start": ("e2e/test_procfile.py", '"honcho"'),
    "docker compose up --build": ("e2e/compose.py", '"up", "--build"'),
    "docker compose -f docker-compose.yml -f docker-compose.tls.yml up --build": (
        "e2e/compose.py",
        '"docker-compose.tls.yml"',
    ),
    "docker compose -f docker-compose.yml -f docker-compose.tls.yml exec bus cat /certificates/ca.pem > ca.pem": (
        "e2e/compose.py",
        '"cat", "/certificates/ca.pem"',
    ),
    "docker compose -f docker-compose.yml -f docker-compose.tls.yml down": ("e2e/compose.py", '"*", "down"'),
    "docker compose -f docker-compose.yml -f docker-compose.dev.yml watch": (
        "e2e/containers/test_watch.py",
        'compose.start("watch")',
    ),
    "docker compose --profile e2e run --build --rm e2e": ("e2e/containers/test_stories.py", '"e2e"'),
}
STAND_INS = Path(__file__).parent / "stand_ins"


class Reader:
    """Reads one page from its first block to its last.

    The page's addresses are those of the defaults; here every port is a free one instead, so that a demo that is
    running on this machine is not disturbed.

    Args:
        directory: Where the copy goes.
        open_browser: Opens an empty browser tab, once it is needed.
        path: Where the shell looks for programs; behind it, stand-ins for what a bare machine lacks.
    """

    def __init__(self, directory: Path, open_browser: Callable[[], Page], *, path: str = os.environ["PATH"]) -> None:
        shutil.copytree(ROOT, directory, ignore=NOT_COPIED)
        (directory / ".venv").symlink_to(ROOT / ".venv")
        self._directory = directory
        self._path = path
        self._open_browser = open_browser
        self._browser: Page | None = None
        self._logged: list[str] = []
        self._ports = {port: str(free_port()) for port in PORTS}
        self._shell = Shell(directory, self._environment())
        self._programs: list[Program] = []

    def close(self) -> None:
        """Stop what was started."""
        self._stop_programs()
        self._shell.close()

    def read(self, block: Block) -> None:
        """Do what a block says; one that only shows something is left to other tests."""
        match block.language, list(block.options):
            case "console", ["background", *_]:
                self._start(block)
            case "console", _:
                self._type(block)
            case "diff", ["file"]:
                edit(self._directory / block.options["file"], self._here(block.text))
            case "text", ["ask"]:
                self._ask(block)
            case "text", ["stopped"]:
                first = self._programs[0]
                self._stop_programs()
                first.wait_for(partial(self._is_printed, block.text), f"{block.where}: {block.text}")
            case "js", ["browser"]:
                self._tab().evaluate(f"async () => {{ {self._here(block.text)} }}")
            case "text", ["logged"]:
                self._await_logged(block)

    def _environment(self) -> dict[str, str]:
        ours = {name: value for name, value in environment().items() if not name.startswith("MAKE")}
        return {
            **ours,
            "HTTP_FILE_SERVER_PORT": self._here("3000"),
            "HTTP_EVENTBUS_SERVER_PORT": self._here("3001"),
            "EVENTBUS_URL": self._here("http://localhost:3001"),
            # The copy's packages, not those that .venv was made with.
            "PYTHONPATH": f"{self._directory / 'bus'}:{self._directory / 'example-service'}",
            "PYTHONUNBUFFERED": "1",
            "LC_ALL": "C.UTF-8",
            "PATH": f"{self._path}:{STAND_INS}",
        }

    def _here(self, text: str) -> str:
        """Put free ports into a text of the page."""
        for port, here in self._ports.items():
            text = re.sub(rf"\b{port}\b", here, text)
        return text

    def _as_on_the_page(self, printed: str) -> str:
        for port, here in self._ports.items():
            printed = re.sub(rf"\b{here}\b", port, printed)
        return printed

    def _type(self, block: Block) -> None:
        for command, expected in commands(block):
            if command in NOT_RUN:
                continue
            self._run(self._here(command), expected, block)

    def _run(self, command: str, expected: str, block: Block) -> None:
        deadline = time.monotonic() + PATIENCE
        while not looks_like(expected, printed := self._as_on_the_page(self._shell.run(command))):
            if "eventually" not in block.options or time.monotonic() > deadline:
                raise AssertionError(f"{block.where}: $ {command}\nexpected:\n{expected}\nprinted:\n{printed}")

    def _start(self, block: Block) -> None:
        [(command, expected)] = commands(block)
        if "afresh" in block.options:
            self._stop_programs()
        environment = self._environment()
        if command.startswith("make "):
            del environment["EVENTBUS_URL"]  # its programs know the port, and whether it is https
        program = Program(self._here(command), self._directory, environment)
        self._programs.append(program)
        for line in expected.splitlines():
            if line != "…":
                program.wait_for(partial(self._is_printed, line), f"{block.where}: {line}")

    def _is_printed(self, expected: str, printed: str) -> bool:
        return looks_like(expected, self._as_on_the_page(printed))

    def _stop_programs(self) -> None:
        while self._programs:
            self._programs.pop().stop()

    def _tab(self) -> Page:
        if self._browser is None:
            self._browser = self._open_browser()
            self._browser.on("console", lambda message: self._logged.append(message.text))
            self._browser.goto(self._here("http://localhost:3000"))
        return self._browser

    def _ask(self, block: Block) -> None:
        tab = self._tab()
        tab.get_by_label("Domain name").fill(block.options["ask"])
        tab.get_by_role("button", name="Check", exact=True).click()
        lines = ["".join(re.split(" {2,}", line)) for line in block.text.splitlines()]
        expect(tab.get_by_role("listitem")).to_have_text(lines, timeout=PATIENCE * 1000)

    def _await_logged(self, block: Block) -> None:
        for line in block.text.splitlines():
            deadline = time.monotonic() + PATIENCE
            while line not in self._logged:
                assert time.monotonic() < deadline, f"{block.where}: {line} was not logged, but {self._logged}"
                self._tab().wait_for_timeout(50)


class Shell:
    """One shell for all commands of a page, so that it remembers variables as the reader's does."""

    def __init__(self, directory: Path, environment: dict[str, str]) -> None:
        self._bash = subprocess.Popen(
            ["bash"],
            cwd=directory,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, command: str) -> str:
        """Return what a command prints; one that does not end is killed, and the shell with it."""
        assert self._bash.stdin
        assert self._bash.stdout
        too_long = threading.Timer(PATIENCE, self._bash.kill)
        too_long.start()
        self._bash.stdin.write(f"{{ {command}\n}} </dev/null\necho\necho {END}\n")
        self._bash.stdin.flush()
        printed = "".join(takewhile(lambda line: line != f"{END}\n", self._bash.stdout))
        too_long.cancel()
        return printed

    def close(self) -> None:
        with self._bash:
            try:
                self._bash.communicate("exit\n", timeout=PATIENCE)
            finally:
                self._bash.kill()


class Program:
    """A command that keeps running, as in a terminal of its own."""

    def __init__(self, command: str, directory: Path, environment: dict[str, str]) -> None:
        self._command = command
        self._printed: list[str] = []
        self._process = subprocess.Popen(
            ["bash", "-c", command],
            cwd=directory,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self._more = threading.Condition()
        self._reading = threading.Thread(target=self._read, daemon=True)
        self._reading.start()

    def wait_for(self, is_it: Callable[[str], bool], what: str) -> None:
        """Return once the program has printed a certain line."""
        with self._more:
            found = self._more.wait_for(lambda: any(map(is_it, self._printed)), PATIENCE)
        assert found, f"{what}\nis not among what {self._command} printed:\n{''.join(self._printed)}"

    def stop(self) -> None:
        """Press Ctrl-C."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGINT)
        try:
            self._process.wait(PATIENCE)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)  # whatever is left of it
        self._reading.join(PATIENCE)

    def _read(self) -> None:
        assert self._process.stdout
        with self._process.stdout as lines:
            for line in lines:
                with self._more:
                    self._printed.append(line)
                    self._more.notify_all()


def edit(path: Path, diff: str) -> None:
    """Make an edit that is written as a diff without line numbers; the place must be there once."""
    lines = diff.splitlines(keepends=True)
    before = "".join(line[1:] for line in lines if line[0] in " -")
    after = "".join(line[1:] for line in lines if line[0] in " +")
    text = path.read_text()
    assert text.count(before) == 1, f"{path.name} has this {text.count(before)} times:\n{before}"
    path.write_text(text.replace(before, after))
