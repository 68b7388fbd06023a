"""Live editing with docker-compose.dev.yml: what is saved here is what runs there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from compose import Compose
from machine import end, wait_until
from web import request


@pytest.fixture(scope="module")
def watched(engine: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Compose]:
    """A copy of the project that `docker compose watch` watches."""
    directory = tmp_path_factory.mktemp("watched") / "eventbus"
    compose = Compose(directory, files=("docker-compose.yml", "docker-compose.dev.yml"))
    watch = compose.start("watch")
    try:
        wait_until(lambda: "Watch enabled" in compose.printed("watch"), "`watch` is ready", seconds=300)
        yield compose
    finally:
        try:
            end(watch, within=30)
        finally:
            compose.remove()


def append(file: Path, text: str) -> None:
    with file.open("a") as opened:
        opened.write(text)


def test_a_changed_page_is_served(watched: Compose) -> None:
    append(watched.directory / "static-site/public/index.html", "<!-- changed -->\n")

    wait_until(lambda: "<!-- changed -->" in request("GET", watched.site_url).text, "the changed page")


@pytest.mark.parametrize(
    ("service", "package"),
    [
        ("bus", "bus/eventbus"),
        ("example-service", "example-service/domain_service"),
        ("example-service", "example-service/eventbus_client"),
    ],
)
def test_a_program_with_changed_code_starts_again(watched: Compose, service: str, package: str) -> None:
    append(watched.directory / package / "__init__.py", f"print('{package} is new', flush=True)\n")

    wait_until(lambda: f"{package} is new" in watched.run("logs", service), f"{service} runs the changed code")
