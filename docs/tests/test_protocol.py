"""What the tables of docs/protocol.md say is what the bus has."""

from __future__ import annotations

import json
import re

from documents import ROOT, blocks
from eventbus.edges.channel import Close
from eventbus.edges.messages import COMMANDS
from eventbus.edges.refusals import ANSWERS
from eventbus.event import Draft, logged

PAGE = ROOT / "docs" / "protocol.md"
TEXT = PAGE.read_text()


def rows_after(heading: str) -> list[str]:
    """Return the first cells of the first table below a heading."""
    below = TEXT.partition(f"\n{heading}\n")[2]
    table = below[below.index("\n|") :].partition("\n\n")[0]
    return re.findall(r"^\| (.+?) \|", table, re.MULTILINE)[2:]


def test_an_event_has_the_fields_of_the_reference() -> None:
    [shown] = [block for block in blocks(PAGE) if "test" in block.options]
    fields = [field.strip("`") for field in rows_after("## Events")]

    assert list(json.loads(shown.text)) == fields
    assert fields == list(json.loads(logged(Draft(name="hi"), id="1", seq=1, time="t", source="client").json))


def test_every_refusal_of_the_bus_is_in_the_table() -> None:
    statuses = {int(status) for row in rows_after("### Errors") for status in re.findall(r"\d+", row)}

    assert statuses == {status for status, _ in ANSWERS.values()} | {404, 405}


def test_every_close_code_of_the_bus_is_in_the_table() -> None:
    codes = {int(code) for row in rows_after("### Close codes") for code in re.findall(r"\d{4}", row)}

    assert set(Close) <= codes
    assert codes - set(Close) <= {1000, 1001, 1006, 1009, 1011}  # those of the WebSocket protocol itself


def test_every_command_is_in_the_table() -> None:
    said = {action for row in rows_after("## WebSocket") for action in re.findall(r'"action": "(\w+)"', row)}

    assert said == set(COMMANDS)
