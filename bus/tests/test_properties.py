"""What must hold for every event, pattern and subscriber, not only for those that somebody thought of."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
import pytest
from eventbus.event import MAX_DEPTH, Draft, Event, _nesting, decode_draft, logged
from eventbus.identities import address_of, new_token
from eventbus.log import Log, Publisher
from eventbus.log.by_url import open_log
from eventbus.log.sqlite import indexes, tail
from eventbus.patterns import OWN, Patterns, matches
from eventbus.problems import NotAnEvent, NotJson, Problem
from eventbus.routing import Client, Service, receives
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

MAX_SIZE = 1_000_000

# Every character that UTF-8 can carry, of every plane, and each way that JSON has to write it.
characters = st.characters(exclude_categories=["Cs"])
numbers = st.one_of(
    st.integers().map(str),
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.sampled_from(["1e400", "-0.0", "-0", "1E+2", "0.10", str(2**70), "123456789012345678901234567890.5"]),
)
strings = st.builds(json.dumps, st.text(characters), ensure_ascii=st.booleans())
scalars = st.one_of(st.sampled_from(["null", "true", "false"]), numbers, strings)


def _array(values: list[str]) -> str:
    return f"[{','.join(values)}]"


def _object(members: list[tuple[str, str]]) -> str:
    return "{" + ", ".join(f"{key} : {value}" for key, value in members) + "}"


json_texts = st.recursive(
    scalars,
    lambda values: st.one_of(
        st.lists(values, max_size=4).map(_array), st.lists(st.tuples(strings, values), max_size=4).map(_object)
    ),
    max_leaves=15,
)
names = st.text("ab.-:_9", min_size=1, max_size=8)
patterns = st.text("ab.-*", min_size=1, max_size=8)


def value_of(text: str) -> Any:
    """Read JSON so that nothing is rounded and no key is lost."""
    return json.loads(text, parse_float=lambda digits: ("float", digits), parse_int=str, object_pairs_hook=tuple)


@pytest.fixture(scope="module", params=["memory:", "sqlite:{}/events.db"], ids=["memory", "sqlite"])
def runner_and_log(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """One log for all examples: opening a file for each would take most of the time."""
    with asyncio.Runner() as runner, opened(runner, request.param.format(tmp_path_factory.mktemp("log"))) as log:
        yield runner, log


@contextmanager
def opened(runner: asyncio.Runner, url: str) -> Iterator[Log]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tail, "MAX_EVENTS", 0)  # all is read from the file
        log = open_log(url)
        yield log
    runner.run(log.close())


clients = st.sampled_from(["client-a", "client-b", "client-c"])
some_events = st.lists(
    st.tuples(clients, st.none() | clients, st.none() | st.sampled_from("123")), min_size=1, max_size=6
)
steps = st.one_of(
    st.tuples(st.just("append"), some_events),
    st.tuples(st.just("trim"), st.integers(0, 10)),
    st.tuples(st.just("restart"), st.none()),
)


@settings(deadline=None, max_examples=100)
@given(st.lists(steps, max_size=15), st.integers(0, 5), st.integers(1, 8))
def test_a_log_in_a_file_says_what_one_in_memory_says(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, Any]], held: int, every: int
) -> None:
    url = f"sqlite:{tmp_path_factory.mktemp('log')}/events.db?sync=normal"

    async def walk() -> None:
        memory, file = open_log("memory:"), open_log(url)
        for log in (memory, file):
            await log.keep_identities(dict.fromkeys(["client-a", "client-b", "client-c"], 1e10), now=0)
        for step, what in steps:
            if step == "append":
                entries = [
                    (
                        Draft(name="n", context={"identifier": to} if to else {}, id=chosen or msgspec.UNSET),
                        Publisher(source="client", scope=by),
                    )
                    for by, to, chosen in what
                ]
                found = [await log.append(entries) for log in (memory, file)]
                assert [(each.seq, each.duplicate) for each in found[0]] == [(e.seq, e.duplicate) for e in found[1]]
            elif step == "trim":
                for log in (memory, file):
                    await log.trim(keep=what)
            else:
                await file.close()
                file = open_log(url)
            assert await look_at(memory) == await look_at(file)
        await file.close()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tail, "MAX_EVENTS", held)
        patch.setattr(indexes, "EVERY", every)
        asyncio.run(walk())


async def look_at(log: Log) -> list[Any]:
    """Ask a log all that can be asked, from some positions."""
    seen: list[Any] = [log.head, log.trimmed]
    for after in range(0, log.head + 2, 3):
        for address in (None, "client-a", "client-b", "client-c"):
            events = await log.read(after=after, limit=100, address=address)
            lost = await log.has_lost(after=after, address=address)
            seen.append((after, address, [event.seq for event in events], lost))
    return seen


@settings(deadline=None)
@given(data=json_texts, keys=st.dictionaries(st.text(characters), st.text(characters), max_size=3))
@example(data=r'"\u0000\ud83d\ude00"', keys={"identifier": "\0"})
@example(data='{"a": 1, "a": 2, "": {}}', keys={})
@example(data="[" * MAX_DEPTH + "]" * MAX_DEPTH, keys={})
def test_what_is_published_comes_out_equal(runner_and_log: Any, data: str, keys: dict[str, str]) -> None:
    runner, log = runner_and_log
    body = f'{{"name": "n", "data": {data}, "context": {json.dumps(keys)}}}'

    draft = decode_draft(body.encode(), max_size=MAX_SIZE)
    [appended] = runner.run(log.append([(draft, Publisher(source="client", scope="client-a"))]))
    [event] = runner.run(log.read(after=appended.seq - 1, limit=1))
    written = value_of(event.json.decode())

    fields = dict(written)
    assert fields["data"] == value_of(data)
    assert dict(fields["context"]) == keys


@given(depth=st.integers(MAX_DEPTH + 1, 2_000), opening=st.sampled_from(["[", '{"[": ']))
@example(depth=MAX_DEPTH + 1, opening="[")
def test_what_is_nested_deeper_is_refused(depth: int, opening: str) -> None:
    closing = "]" if opening == "[" else "}"
    body = f'{{"name": "n", "data": {opening * depth}1{closing * depth}}}'

    with pytest.raises((NotAnEvent, NotJson)):
        decode_draft(body.encode(), max_size=MAX_SIZE)


def depth_of(json: bytes) -> int:
    """Count character by character: how deep a parser may be by the end of some first part of it."""
    depth = deepest = 0
    quoted = escaped = False
    for character in json.decode():
        if escaped:
            escaped = False
        elif quoted:
            escaped, quoted = character == "\\", character != '"'
        elif character == '"':
            quoted = True
        elif character in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif character in "]}":
            depth -= 1
    return deepest


# Many brackets, so that the short way for few of them is not taken.
bracketed = st.lists(
    st.sampled_from(["[" * 30, "]" * 20, "{", "}", "[", "]", '"', '\\"', "\\\\", "é", ",1"]), max_size=40
)


@given(json_texts, st.integers(MAX_DEPTH, 600))
@example('{"[": "\\\\", "\\"]": "["}', MAX_DEPTH)
@example("{}", 512)
def test_the_depth_is_what_a_parser_would_find(text: str, around: int) -> None:
    body = ("[" * around + f"{text},{text}" + "]" * around).encode()

    assert _nesting(body, MAX_DEPTH) == depth_of(body)
    assert _nesting(body, MAX_DEPTH) >= around


@given(bracketed)
@example(["]" * 100, "[" * 90])
@example(["[" * 80, '"', "]" * 80])
def test_malformed_text_is_not_thought_less_deep_than_a_parser_would_go(parts: list[str]) -> None:
    body = "".join(parts).encode()

    assert _nesting(body, MAX_DEPTH) >= _depth_until_a_backslash(body)


def _depth_until_a_backslash(body: bytes) -> int:
    """Every parser stops at a backslash that stands in no string."""
    text, quoted, at = body.decode(), False, 0
    while at < len(text) and (quoted or text[at] != "\\"):
        quoted ^= text[at] == '"'
        at += 1 + (quoted and text[at] == "\\")
    return depth_of(text[:at].encode())


@given(before=st.text(characters), half=st.integers(0xD800, 0xDFFF), after=st.text(characters))
def test_half_of_a_surrogate_pair_is_refused(before: str, half: int, after: str) -> None:
    assume(not after.startswith("\\"))
    text = json.dumps(before)[:-1] + f"\\u{half:04x}" + json.dumps(after)[1:]
    assume(not re.search(r"(?i)\\ud[89ab]..\\ud[c-f]..", text))

    with pytest.raises(NotJson):
        decode_draft(f'{{"name": "n", "data": [{text}]}}'.encode(), max_size=MAX_SIZE)


@given(st.binary(max_size=200))
@example(b'{"name": "n", "data": NaN}')
@example(b'{"name": "n", "data": "\xed\xa0\x80"}')
def test_any_bytes_are_an_event_or_are_refused(body: bytes) -> None:
    try:
        draft = decode_draft(body, max_size=MAX_SIZE)
    except Problem:
        return
    assert msgspec.json.decode(_logged(draft).json, type=Draft).name == draft.name


@given(pattern=patterns, name=names)
def test_a_pattern_means_what_the_regular_expression_means(pattern: str, name: str) -> None:
    means = re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), name) is not None

    assert matches(pattern, name) == means


@given(
    parts=st.lists(st.text("ab-", max_size=3), min_size=1, max_size=4), between=st.lists(names, min_size=4, max_size=4)
)
def test_a_pattern_matches_whatever_stands_for_its_stars(parts: list[str], between: list[str]) -> None:
    name = "".join(part + filling for part, filling in zip(parts, between, strict=False))

    assert matches("*".join([*parts, ""]), name)


@given(st.lists(patterns, max_size=4), st.lists(patterns, max_size=3), st.lists(patterns, max_size=3), names)
@example(["*"], [], ["eventbus.*"], "eventbus.dead-letter")
def test_a_narrower_list_adds_nothing(wide: list[str], but_not: list[str], narrow: list[str], name: str) -> None:
    allowed = Patterns(wide, but_not=but_not)
    asked = Patterns(narrow, within=allowed)

    assert (name in asked) == (name in allowed and name in Patterns(narrow))


@given(wanted=st.lists(patterns, max_size=4), rest=names)
def test_the_bus_s_own_events_come_only_to_those_who_ask(wanted: list[str], rest: str) -> None:
    assert OWN + rest not in Patterns(wanted)
    assert OWN + rest in Patterns([*wanted, f"{OWN}*"])


@given(
    name=names, context=st.dictionaries(st.sampled_from(["identifier", "cause", "x"]), names), wanted=st.lists(patterns)
)
def test_an_event_reaches_the_service_that_wants_it_and_the_client_it_is_addressed_to(
    name: str, context: dict[str, str], wanted: list[str]
) -> None:
    event = _logged(Draft(name=name, context=context))
    addressed = context.get("identifier")

    assert receives(Service(name="s", subscribe=Patterns(wanted)), event) == (name in Patterns(wanted))
    assert [receives(Client(address), event) for address in context.values()] == [
        address == addressed for address in context.values()
    ]
    assert not receives(Client("somebody else"), event)


@given(st.text(characters))
def test_an_address_is_no_token_and_is_its_own_address(text: str) -> None:
    address = address_of(new_token())

    assert address_of(address) == address
    assert address_of(text) == text or text.startswith("token-")
    assert text != address


def _logged(draft: Draft) -> Event:
    return logged(draft, id="1", seq=1, time="2026-11-23T09:00:00.123Z", source="client")
