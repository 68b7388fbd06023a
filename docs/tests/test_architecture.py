"""What docs/architecture.md says stands in a file does stand there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from documents import ROOT

PAGE = ROOT / "docs" / "architecture.md"
# Such as: `Hub.run` in [`hub.py`](../bus/eventbus/hub.py)
PLACES = re.findall(r"`([\w.#]+)`\s+in\s+\[`[^`]+`\]\(([^)]+)\)", PAGE.read_text())


def defined_names(path: Path) -> set[str]:
    """Return what a file defines: methods of classes as `Class.method`."""
    if path.suffix == ".py":
        return set(_names_in(ast.parse(path.read_text()).body, ""))
    method_or_function = r"^(?:  (?:async )?|(?:export )?(?:async )?(?:function|class|const) )(#?\w+)\b"
    return set(re.findall(method_or_function, path.read_text(), re.MULTILINE))


def _names_in(body: list[ast.stmt], prefix: str) -> list[str]:
    names = []
    for node in body:
        match node:
            case ast.ClassDef():
                names += [prefix + node.name, *_names_in(node.body, f"{prefix}{node.name}.")]
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                names.append(prefix + node.name)
            case ast.AnnAssign(target=ast.Name(id=name)) | ast.Assign(targets=[ast.Name(id=name)]):
                names.append(prefix + name)
    return names


@pytest.mark.parametrize(("name", "link"), PLACES)
def test_a_file_defines_what_the_page_says_is_in_it(name: str, link: str) -> None:
    assert name in defined_names((PAGE.parent / link).resolve())


def test_the_pictures_name_only_files_that_exist() -> None:
    named = set(re.findall(r"\b\w+\.(?:py|js)\b", (ROOT / "docs" / "an-events-way.svg").read_text()))
    rooms = [ROOT / "bus" / "eventbus", ROOT / "static-site" / "public", ROOT / "example-service"]

    assert named - {path.name for room in rooms for path in room.rglob("*")} == set()
