"""What the first chapters of the workshop read stays short enough for an evening, with all that it imports."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import eventbus

PACKAGE = Path(eventbus.__file__).parent
CHAPTERS = ("event", "routing", "log.memory", "hub", "edges.http_api", "edges.websocket")
ELSEWHERE = "log.sqlite"  # has chapters of its own
MOST_LINES = 2500


def path_of(module: str) -> Path:
    folder = PACKAGE / module.replace(".", "/")
    return folder / "__init__.py" if folder.is_dir() else folder.with_suffix(".py")


def imported(module: str) -> set[str]:
    """Return the bus's modules that one names, wherever in it, and the packages that they stand in."""
    path = path_of(module)
    here = [*module.split("."), ""] if path.name == "__init__.py" else module.split(".")
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level:
            parts = [*here[: len(here) - node.level], *(node.module or "").split(".")]
            found |= {".".join(filter(None, [*parts, name])) for name in ("", *(alias.name for alias in node.names))}
    within = {".".join(name.split(".")[:size]) for name in found for size in range(1, name.count(".") + 2)}
    return {name for name in within if name and path_of(name).exists()}


def closure(modules: set[str]) -> set[str]:
    """Return these modules, and all that they import."""
    known: set[str] = set()
    while modules := {module for module in modules - known if not module.startswith(ELSEWHERE)}:
        known |= modules
        modules = set().union(*(imported(module) for module in modules))
    return known


def test_the_first_chapters_and_all_that_they_import_fit_into_an_evening() -> None:
    lines = {module: len(path_of(module).read_text().splitlines()) for module in closure(set(CHAPTERS))}

    assert {*CHAPTERS, "log", "patterns", "publishing"} <= lines.keys()
    assert sum(lines.values()) <= MOST_LINES, lines


def test_no_file_is_longer_than_a_sitting() -> None:
    lengths = {str(path.relative_to(PACKAGE)): len(path.read_text().splitlines()) for path in PACKAGE.rglob("*.py")}

    assert {name: length for name, length in lengths.items() if length > 250} == {}


def test_what_aiohttp_and_asyncio_do_not_promise_is_touched_in_one_file() -> None:
    private = re.compile(
        r"aiohttp\._|base_protocol|tcp_helpers|sslproto|HttpRequestParser|WebSocketReader|\(web\.RequestHandler"
    )
    touching = {path.name for path in PACKAGE.rglob("*.py") if private.search(path.read_text())}

    # The second tries what the first assumes; the third overrides a method that has no underscore.
    assert touching == {"aiohttp_inside.py", "assumptions.py", "refusals.py"}
