"""docs/settings.md and .env.example name every setting, no other, and the defaults that the programs really have."""

from __future__ import annotations

import re
from pathlib import Path

import domain_service.config
import eventbus.config
import eventbus_client.config
import pytest
from documents import ROOT

SETTING = r"\b[A-Z][A-Z0-9]*(?:_[A-Z]+)+"
CONTAINERS = ROOT / "docker-compose.yml"


def read_by_programs() -> set[str]:
    modules = (eventbus.config, eventbus_client.config, domain_service.config)
    programs = "".join(Path(module.__file__).read_text() for module in modules)
    return set(re.findall(rf'"({SETTING})"', programs)) | set(re.findall(rf"\$\{{({SETTING})", CONTAINERS.read_text()))


def documented() -> dict[str, str]:
    """Return each setting of the page's tables with its default."""
    page = (ROOT / "docs" / "settings.md").read_text()
    return dict(re.findall(rf"^\| `({SETTING})` \| (?:`(.*?)`)? ?\|", page, re.MULTILINE))


def example() -> dict[str, str]:
    """Return each setting of .env.example with its value, as if no line were a comment."""
    lines = re.findall(rf"^#({SETTING})=(.*)$", (ROOT / ".env.example").read_text(), re.MULTILINE)
    return dict(lines)


def test_the_page_lists_exactly_what_the_programs_read() -> None:
    assert documented().keys() == read_by_programs()


def test_the_example_file_lists_the_same_with_the_same_defaults() -> None:
    assert example() == documented()


def test_the_example_file_is_all_comments() -> None:
    lines = (ROOT / ".env.example").read_text().splitlines()

    assert [line for line in lines if line and not line.startswith("#")] == []


def test_the_example_files_values_are_the_defaults_of_the_bus() -> None:
    read = eventbus.config.Settings.from_env

    assert read(example()) == read({})


def test_the_example_files_values_are_the_defaults_of_every_service() -> None:
    def read(environ: dict[str, str]) -> eventbus_client.config.Settings:
        return eventbus_client.config.Settings.from_env(environ, "AUTHORIZATION_TOKEN")

    assert read(example()) == read({"AUTHORIZATION_TOKEN": "workshop-only"})


def test_the_example_files_values_are_the_defaults_of_the_example_service() -> None:
    read = domain_service.config.Settings.from_env

    assert read(example()) == read({})


@pytest.mark.parametrize("file", ["Procfile", "docker-compose.yml", "bus/Dockerfile", "static-site/Dockerfile"])
def test_defaults_that_other_files_write_are_the_documented_ones(file: str) -> None:
    text = (ROOT / file).read_text()
    written = re.findall(rf"\{{({SETTING}):-([^}}$]+)\}}", text) + re.findall(r"^ARG (\w+)=(.*)$", text, re.MULTILINE)

    assert written
    assert {name: documented()[name] for name, _ in written} == dict(written)
