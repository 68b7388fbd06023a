"""The pages as text: which there are, their fenced blocks, links and headings. What is made of these is in the tests.

A fenced block says in its first line how it is checked; that line is not shown to readers:

    ```console               commands after `$ `, run one after the other; under each, what it prints
    ```console eventually    the same, but a command is repeated until it prints that
    ```console background    one command that keeps running, and lines that it prints sooner or later;
                             with the word `afresh`, all others like it are stopped before
    ```text stopped          what the first of these prints after Ctrl-C
    ```LANGUAGE file=PATH    lines as they stand in that file; a line with only `…` leaves some out
    ```diff file=PATH        an edit that the reader makes
    ```text ask=DOMAIN       what the page lists after one has asked for that domain name
    ```js browser            typed into the browser's console; ```text logged says what appears there
    ```text in=PATH          messages that stand in that file
    ```LANGUAGE test=NAME    anything else: a test of this name looks at it

A command in `NOT_RUN` (see reader.py) is not typed here, because another test runs the same.

In what a command prints, `…` stands for anything.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])

_FENCE = re.compile(r"^```(\w+)(.*)\n((?:.*\n)*?)```$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block.

    Attributes:
        where: The page and the line, for messages.
        language: The first word of its first line.
        options: The rest of that line; a word alone has an empty value.
        text: What it holds.
    """

    where: str
    language: str
    options: dict[str, str]
    text: str


def blocks(page: Path) -> Iterator[Block]:
    """Give a page's fenced blocks in order."""
    text = page.read_text()
    for match in _FENCE.finditer(text):
        where = f"{page.relative_to(ROOT)}:{text.count(chr(10), 0, match.start()) + 1}"
        words = [word.partition("=") for word in match[2].split()]
        yield Block(where, match[1], {name: value for name, _, value in words}, match[3])


def prose(page: Path) -> str:
    """Return a page without its fenced blocks."""
    return _FENCE.sub("", page.read_text())


def code_spans(page: Path) -> list[str]:
    """Return what stands between backticks in the prose."""
    return re.findall(r"`([^`\n]+)`", prose(page))


def links(page: Path) -> list[str]:
    """Return the targets of a page's links and pictures, those in HTML too."""
    text = re.sub(r"`[^`\n]+`", "", prose(page))
    return re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r'(?:src|srcset|href)="([^"]+)"', text)


def anchors(page: Path) -> set[str]:
    """Return what a link to a heading of the page may name after the #, by GitHub's rule."""
    titles = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def commands(block: Block) -> Iterator[tuple[str, str]]:
    """Give a console block's commands, each with what it should print."""
    command: list[str] = []
    output: list[str] = []
    for line in block.text.splitlines():
        if line.startswith("$ "):
            if command:
                yield "\n".join(command), "\n".join(output)
            command, output = [line.removeprefix("$ ")], []
        elif command and command[-1].endswith("\\") and not output:
            command.append(line)
        else:
            output.append(line)
    yield "\n".join(command), "\n".join(output)


def looks_like(expected: str, printed: str) -> bool:
    """Is this what was expected, where `…` stands for anything?"""
    pattern = re.escape(expected.strip()).replace("…", r"[\s\S]*?")
    return re.fullmatch(pattern, printed.strip()) is not None
