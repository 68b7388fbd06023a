"""What holds for every page: nothing in it goes unchecked, and every link leads somewhere."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml
from documents import PAGES, ROOT, Block, anchors, blocks, code_spans, commands, links, looks_like
from reader import NOT_RUN

every_page = pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
BLOCKS = [block for path in PAGES for block in blocks(path)]
LISTINGS = [block for block in BLOCKS if "file" in block.options and block.language != "diff"]
MESSAGES = [block for block in BLOCKS if "in" in block.options]
MADE_BY_RUNNING = ("data/", "certificates/", "e2e/artifacts")
TESTS = "".join(path.read_text() for path in Path(__file__).parent.glob("test_*.py"))

WAYS_TO_CHECK = {
    ("console", ()),
    ("console", ("eventually",)),
    ("console", ("background",)),
    ("console", ("background", "afresh")),
    ("diff", ("file",)),
    ("text", ("ask",)),
    ("js", ("browser",)),
    ("text", ("logged",)),
    ("text", ("in",)),
    ("text", ("stopped",)),
}


def test_the_pages_are_there() -> None:
    assert {"README", "CONTRIBUTING", "CHANGELOG", "architecture", "protocol"} <= {path.stem for path in PAGES}


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.where)
def test_every_block_says_how_it_is_checked(block: Block) -> None:
    way = (block.language, tuple(block.options))

    assert way in WAYS_TO_CHECK or way[1] in (("file",), ("test",))


@every_page
def test_every_fence_is_a_block(path: Path) -> None:
    fences = re.findall(r"^\s*(?:```|~~~)", path.read_text(), re.MULTILINE)

    assert len(fences) == 2 * len(list(blocks(path)))


@pytest.mark.parametrize("name", [block.options["test"] for block in BLOCKS if "test" in block.options])
def test_the_test_that_a_block_names_is_there(name: str) -> None:
    assert f"def {name}(" in TESTS


@pytest.mark.parametrize("block", LISTINGS, ids=lambda block: block.where)
def test_a_listing_shows_what_stands_in_its_file(block: Block) -> None:
    text = (ROOT / block.options["file"]).read_text()

    assert all(part in text for part in re.split(r"^\s*…\n", block.text, flags=re.MULTILINE))


@pytest.mark.parametrize("block", MESSAGES, ids=lambda block: block.where)
def test_a_message_stands_in_the_program_that_shows_it(block: Block) -> None:
    source = (ROOT / block.options["in"]).read_text()

    for line in block.text.splitlines():
        for part in line.split("…"):
            assert part.strip() in source


@every_page
def test_every_link_leads_somewhere(path: Path) -> None:
    for link in links(path):
        file, _, anchor = link.partition("#")
        target = path if not file else (path.parent / file).resolve()
        if not link.startswith(("http://", "https://")):
            assert target.exists(), link
            assert not anchor or anchor in anchors(target), link


@every_page
def test_a_path_in_code_type_is_one(path: Path) -> None:
    paths = [span for span in code_spans(path) if re.fullmatch(r"[\w.-]+(/[\w.-]+)*/?", span) and "/" in span]

    for each in paths:
        found = any((room / each).exists() for room in (ROOT, ROOT / "bus" / "eventbus"))
        assert found or each.startswith(MADE_BY_RUNNING), each


@every_page
def test_every_make_target_exists(path: Path) -> None:
    for target in re.findall(r"(?:`|^\$ )make ([a-z]+)\b", path.read_text(), re.MULTILINE):
        done = subprocess.run(["make", "--dry-run", target], cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


@every_page
def test_every_setting_it_names_exists(path: Path) -> None:
    known = (ROOT / "docs" / "settings.md").read_text() + "".join(p.read_text() for p in ROOT.glob("docs/examples/*"))
    local = {"ONLOOKER_TOKEN"}  # of the walkthrough's own service

    for name in re.findall(r"`((?:HTTP|EVENTBUS|DOMAIN_SERVICE|AUTHORIZATION)_[A-Z_]+)", path.read_text()):
        assert name in known or name in local


def test_compose_files_have_what_their_commands_name() -> None:
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    watched = yaml.safe_load((ROOT / "docker-compose.dev.yml").read_text())["services"]

    assert compose["e2e"]["profiles"] == ["e2e"]
    assert any("watch" in service.get("develop", {}) for service in watched.values())


@pytest.mark.parametrize("command", NOT_RUN)
def test_a_command_that_is_not_run_here_is_run_elsewhere(command: str) -> None:
    file, words = NOT_RUN[command]
    said = {said for block in BLOCKS if block.language == "console" for said, _ in commands(block)}

    assert command in said
    assert words in (ROOT / file).read_text()


@every_page
def test_no_page_names_a_place_that_only_its_author_has(path: Path) -> None:
    assert not re.search(r"/(?:root|home|work|tmp)/|registry\.npmjs|files\.pythonhosted|docker\.io", path.read_text())


def test_dots_stand_for_anything_and_nothing_else_does() -> None:
    assert looks_like("a … c", "a b\nb c")
    assert not looks_like("a.c", "abc")


@pytest.mark.parametrize("room", ["bus", "example-service"])
def test_the_changelog_begins_with_the_version_of_the_packages(room: str) -> None:
    version = tomllib.loads((ROOT / room / "pyproject.toml").read_text())["project"]["version"]

    assert re.findall(r"^## (\d+\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)[0] == version
