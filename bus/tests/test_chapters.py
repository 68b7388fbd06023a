"""What the first chapters of the workshop read stays short enough for an evening, and free of the web server."""

from __future__ import annotations

import re
from pathlib import Path

import eventbus
import pytest

PACKAGE = Path(eventbus.__file__).parent
CHAPTERS = ("event", "routing", "log/memory", "hub", "edges/http_api", "edges/websocket", "app")
EDGES = {
    "edges/http_api", "edges/requests", "edges/websocket", "edges/refusals", "edges/guard", "edges/welcome",
    "edges/cors", "server/http_protocol", "server/plain_requests", "server/upgrade", "server/running", "app",
    "__main__",
}  # fmt: skip
MODULES = sorted(PACKAGE.rglob("*.py"))


def test_the_first_chapters_have_about_900_lines() -> None:
    lines = sum(len((PACKAGE / f"{chapter}.py").read_text().splitlines()) for chapter in CHAPTERS)

    assert lines < 900


@pytest.mark.parametrize("module", MODULES, ids=lambda module: str(module.relative_to(PACKAGE)))
def test_only_the_edges_know_the_web_server(module: Path) -> None:
    knows = re.search(r"^(from|import) aiohttp", module.read_text(), re.MULTILINE) is not None

    assert knows == (str(module.relative_to(PACKAGE).with_suffix("")) in EDGES)
