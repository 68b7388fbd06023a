"""Each page is read as its reader reads it: what it says to type is typed, and prints what it says."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from documents import PAGES, ROOT, blocks
from reader import STAND_INS, Reader
from trust import need_openssl

pytestmark = pytest.mark.timeout(300)  # a page may have many commands


@pytest.fixture
def reader(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Reader]:
    """Somebody with a copy of the project, and with a browser should the page need one."""
    with closing(Reader(tmp_path / "eventbus", lambda: request.getfixturevalue("page"))) as reader:
        yield reader


@pytest.fixture(scope="session", autouse=True)
def installed() -> None:
    """`make start` in a copy must not install into the virtual environment, which the copy shares."""
    subprocess.run(["make", "--question", "install"], cwd=ROOT, check=True)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_what_a_page_tells_its_reader_to_do_works_as_it_says(path: Path, reader: Reader) -> None:
    if path.stem == "running":
        need_openssl()
    for block in blocks(path):
        reader.read(block)


def test_a_machine_without_curl_can_run_these_tests(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    path = f"{STAND_INS}:{os.environ['PATH']}"

    with closing(Reader(tmp_path / "eventbus", lambda: request.getfixturevalue("page"), path=path)) as reader:
        for block in blocks(ROOT / "docs" / "protocol.md"):
            reader.read(block)
