"""Decoding what a publisher wrote, and encoding what the log holds."""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import Any

import msgspec
import pytest
from eventbus.event import decode_draft, logged
from eventbus.ids import new_id
from eventbus.problems import NotAnEvent, NotJson, Problem, TooLarge
from eventbus.timestamps import timestamp

LIMIT = 256 * 1024

# JSON that a careful reader takes and a careless one changes.
ODD_DATA = [
    "1e400",
    "-0.0",
    "1180591620717411303424",
    "0.1000000000000000055511151231257827",
    "1E+2",
    '"\\u0000"',
    '"\\/\\b\\f\\n\\r\\t\\u00e9"',
    '{"b": 1, "a": 2, "b": 3}',
    '{"": {"": []}}',
    '"é ߷ 你 \U0001f600 \U0010ffff \u2028 \x7f"',
    '"\\ud83d\\ude00"',
    "[ 1 ,\t2 ]",
    '"[[[{{{"',
    '"' + '\\"[' * 1000 + '"',
    "null",
    "false",
]

NOT_JSON = [
    b"",
    b" ",
    b'{"name": "hi"',
    b'{"name": "hi", "data": "',
    b'{"name": "hi"} {}',
    b'{"name": "hi",}',
    b"{'name': 'hi'}",
    b'\xef\xbb\xbf{"name": "hi"}',
    b'{"name": "hi", "data": NaN}',
    b'{"name": "hi", "data": Infinity}',
    b'{"name": "hi", "data": -Infinity}',
    b'{"name": "hi", "data": 01}',
    b'{"name": "hi", "data": "\\x"}',
    b'{"name": "hi", "data": "\t"}',
    b'{"name": "hi", "data": "\xff"}',
    b'{"name": "hi", "data": "\xed\xa0\x80"}',
    b'{"name": "hi", "data": "\\ud800"}',
    b'{"name": "hi", "data": "\\udc00"}',
    b'{"name": "\\ud800"}',
    b'{"name": "hi", "context": {"identifier": "\\ud800"}}',
    b'{"name": "hi", "more": "\xff"}',
    b"[" * 100_000,
    b'{"name": "hi", "data": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    b'{"name": "hi", "more": ' + b'{"a":' * 20_000 + b"1" + b"}" * 20_000 + b"}",
    b"]" * 1000 + b"[" * 1500,
]

NOT_AN_EVENT = [
    (b"null", "object"),
    (b'"hi"', "object"),
    (b"5", "object"),
    (b"[]", "object"),
    (b'[{"name": "hi"}]', "object"),
    (b"{}", "name"),
    (b'{"data": 1}', "name"),
    (b'{"name": null}', "name"),
    (b'{"name": 5}', "name"),
    (b'{"name": ["hi"]}', "name"),
    (b'{"name": ""}', "name"),
    (b'{"name": "two words"}', "name"),
    (b'{"name": "line\\n"}', "name"),
    ('{"name": "größe"}'.encode(), "name"),
    (b'{"name": "' + b"a" * 201 + b'"}', "name"),
    (b'{"name": "hi", "context": null}', "context"),
    (b'{"name": "hi", "context": "anna"}', "context"),
    (b'{"name": "hi", "context": []}', "context"),
    (b'{"name": "hi", "context": {"identifier": null}}', "context"),
    (b'{"name": "hi", "context": {"identifier": 5}}', "context"),
    (b'{"name": "hi", "context": {"more": {"a": "b"}}}', "context"),
    (b'{"name": "hi", "id": null}', "id"),
    (b'{"name": "hi", "id": 5}', "id"),
    (b'{"name": "hi", "id": ""}', "id"),
    (b'{"name": "hi", "id": "two words"}', "id"),
    (b'{"name": "hi", "id": "line\\n"}', "id"),
    ('{"name": "hi", "id": "é"}'.encode(), "id"),
    (b'{"name": "hi", "id": "' + b"a" * 129 + b'"}', "id"),
    (b'{"name": "hi", "data": ' + b"[" * 65 + b"]" * 65 + b"}", "data"),
    (b'{"name": "hi", "data": ' + b'{"a":' * 65 + b"1" + b"}" * 65 + b"}", "data"),
    (b'{"name": "hi", "data": ["]]]]", ' + b"[" * 64 + b"]" * 64 + b"]}", "data"),
]


@pytest.mark.parametrize("body", NOT_JSON, ids=lambda body: repr(body[:40]))
def test_what_is_not_json_is_refused(body: bytes) -> None:
    with pytest.raises(NotJson):
        decode_draft(body, max_size=LIMIT)


@pytest.mark.parametrize(("body", "field"), NOT_AN_EVENT, ids=lambda value: repr(value[:40]))
def test_json_that_is_not_an_event_is_refused_with_the_field_that_is_wrong(body: bytes, field: str) -> None:
    with pytest.raises(NotAnEvent, match=field):
        decode_draft(body, max_size=LIMIT)


def test_a_refusal_shows_only_the_beginning_of_a_long_value() -> None:
    with pytest.raises(NotAnEvent) as refusal:
        decode_draft(json.dumps({"name": "ä" * 100_000}).encode(), max_size=10_000_000)

    assert len(refusal.value.detail) < 200


@pytest.mark.parametrize("data", ODD_DATA, ids=lambda data: repr(data[:40]))
def test_data_is_kept_byte_for_byte(data: str) -> None:
    draft = decode_draft(f'{{"name": "hi", "data": {data}}}'.encode(), max_size=LIMIT)

    assert bytes(draft.data).decode() == data


@pytest.mark.parametrize("data", ["[" * 64 + "]" * 64, '{"a":' * 64 + "1" + "}" * 64, "[" + "[],{}," * 5000 + "1]"])
def test_data_may_be_nested_64_deep(data: str) -> None:
    draft = decode_draft(f'{{"name": "hi", "data": {data}}}'.encode(), max_size=LIMIT)

    assert bytes(draft.data).decode() == data


def test_all_but_the_name_may_be_absent() -> None:
    draft = decode_draft(b'{"name": "hi"}', max_size=LIMIT)

    assert bytes(draft.data) == b"null"
    assert draft.context == {}
    assert draft.id is msgspec.UNSET


@pytest.mark.parametrize("name", ["a", "check-domain", "A.b_c:d-9", "a" * 200])
def test_a_name_has_letters_digits_and_four_signs(name: str) -> None:
    assert decode_draft(json.dumps({"name": name}).encode(), max_size=LIMIT).name == name


@pytest.mark.parametrize("event_id", ["!", "~", '"\\/', "a" * 128])
def test_an_id_has_visible_ascii_characters(event_id: str) -> None:
    assert decode_draft(json.dumps({"name": "hi", "id": event_id}).encode(), max_size=LIMIT).id == event_id


def test_unknown_context_keys_are_kept() -> None:
    context = {"cause": "7", "traceparent": "00-…", "": ""}

    draft = decode_draft(json.dumps({"name": "hi", "context": context}).encode(), max_size=LIMIT)

    assert draft.context == context


def test_an_event_may_have_exactly_the_largest_size() -> None:
    body = b'{"name": "hi", "data": "' + b"x" * (LIMIT - 26) + b'"}'
    assert len(body) == LIMIT

    assert decode_draft(body, max_size=LIMIT).name == "hi"
    with pytest.raises(TooLarge, match=f"{LIMIT + 1} bytes; the limit is {LIMIT}"):
        decode_draft(body + b" ", max_size=LIMIT)


@pytest.mark.parametrize(
    "body",
    [
        b'{"name": "hi", "data": ' + b"[" * 65 + b'"' + b'\\"' * 120_000,
        b'{"name": "hi", "data": ' + b"[" * 65 + b'"\\' * 80_000,
        b'{"name": "hi", "data": [' + b'"",{},' * 40_000 + b"1]}",
    ],
    ids=["an open string of escaped quotes", "only backslashes and quotes", "many small strings"],
)
def test_a_body_made_to_be_slow_is_decided_in_no_time(body: bytes) -> None:
    start = time.process_time()

    with suppress(Problem):
        decode_draft(body, max_size=LIMIT)

    assert time.process_time() - start < 1


def lines_run(function: Callable[[], object]) -> int:
    """Count the lines of Python that a call runs, in whatever it calls."""
    count, before = 0, sys.gettrace()

    def trace(_frame: FrameType, event: str, _arg: Any) -> Any:
        nonlocal count
        count += event == "line"
        return trace

    sys.settrace(trace)
    try:
        function()
    finally:
        sys.settrace(before)
    return count


@pytest.mark.parametrize("part", ["[],", '"",{},', '{"[":"\\"["},', '"\\\\",' + "[" * 50 + "]" * 50 + ","])
def test_a_long_body_takes_no_more_steps_than_a_short_one(part: str) -> None:
    short, long = [f'{{"name": "hi", "data": [{part * count}1]}}'.encode() for count in (600, 2_000)]

    steps = [lines_run(lambda body=body: decode_draft(body, max_size=LIMIT)) for body in (short, long)]  # type: ignore[misc]

    assert steps[0] == steps[1]


def test_ids_made_by_the_bus_differ_and_sort_by_time() -> None:
    ids = [new_id() for _ in range(1000)]

    assert len(set(ids)) == 1000
    assert [i[:13] for i in ids] == sorted(i[:13] for i in ids)


def test_time_is_utc_with_milliseconds() -> None:
    assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", timestamp(time.time()))


def test_an_encoded_event_has_every_field() -> None:
    draft = decode_draft(b'{"name": "hi", "data": [1], "context": {"a": "b"}, "id": "1"}', max_size=LIMIT)

    assert json.loads(logged(draft, id="1", seq=42, time="t", source="client").json) == {
        "name": "hi", "data": [1], "context": {"a": "b"}, "id": "1", "seq": 42, "time": "t", "source": "client",
    }  # fmt: skip
