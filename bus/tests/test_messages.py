"""Commands: what is one, what is a bad one, and what does not speak this protocol at all."""

from __future__ import annotations

import json

import pytest
from eventbus.edges.messages import (
    Ack,
    Authenticate,
    BadCommand,
    Command,
    CommandError,
    Identified,
    Identify,
    Nack,
    NotACommand,
    Ping,
    Working,
    decode_command,
    encode_answer,
)


@pytest.mark.parametrize(
    ("text", "command"),
    [
        ('{"action": "identify"}', Identify()),
        ('{"action": "identify", "token": null}', Identify()),
        ('{"action": "identify", "token": "token-1"}', Identify(token="token-1")),
        ('{"token": "token-1", "after": 5, "more": [{}], "action": "identify"}', Identify(token="token-1", after=5)),
        ('{"action": "identify", "token": "t", "after": 0, "epoch": "e"}', Identify(token="t", after=0, epoch="e")),
        (
            '{"action": "authenticate", "names": ["a*"], "after": 1, "epoch": "e", "group": "my group", "prefetch": 1}',
            Authenticate(names=["a*"], after=1, epoch="e", group="my group", prefetch=1),
        ),
        ('{"action": "ack", "seq": 5}', Ack(seq=5)),
        ('{"action": "ack", "seq": [5, 6]}', Ack(seq=[5, 6])),
        ('{"action": "nack", "seq": 5}', Nack(seq=5, delay=0)),
        ('{"action": "nack", "seq": 5, "delay": 0.5}', Nack(seq=5, delay=0.5)),
        ('{"action": "working", "seq": 5}', Working(seq=5)),
        ('{"action": "working", "seq": [], "more": 1}', Working(seq=[])),
        ('{"action": "ping", "more": 1}', Ping()),
        ('{"action": "authenticate", "credentials": "secret"}', Authenticate(credentials="secret")),
        ('{"action": "authenticate"}', Authenticate()),
        ('{"action": "authenticate", "credentials": {"a": 1}}', Authenticate(credentials={"a": 1})),
        (' {"\\u0061ction": "identify"} ', Identify()),
    ],
)
def test_a_command_is_read_whatever_else_it_says(text: str, command: Command) -> None:
    assert decode_command(text) == command


@pytest.mark.parametrize(
    ("text", "action"),
    [
        ("{}", None),
        ('{"action": null}', None),
        ('{"action": 5}', None),
        ('{"action": ["identify"]}', None),
        ('{"action": ""}', ""),
        ('{"action": "Identify"}', "Identify"),
        ('{"action": "dance"}', "dance"),
        ('{"action": "identify", "token": 5}', "identify"),
        ('{"action": "identify", "token": {}}', "identify"),
        ('{"action": "authenticate", "credentials": 1e999}', "authenticate"),
        ('{"action": "identify", "after": -1}', "identify"),
        ('{"action": "identify", "after": "5"}', "identify"),
        ('{"action": "identify", "after": 1e30}', "identify"),
        ('{"action": "identify", "after": 100000000000000000000000000000}', "identify"),
        ('{"action": "identify", "epoch": 5}', "identify"),
        ('{"action": "authenticate", "names": "check-*"}', "authenticate"),
        ('{"action": "authenticate", "group": ""}', "authenticate"),
        ('{"action": "authenticate", "group": " x"}', "authenticate"),
        ('{"action": "authenticate", "group": "x\\n"}', "authenticate"),
        ('{"action": "authenticate", "group": "gr\u00fcn"}', "authenticate"),
        ('{"action": "authenticate", "prefetch": 0}', "authenticate"),
        ('{"action": "authenticate", "group": "g", "working": 5}', "authenticate"),
        ('{"action": "authenticate", "group": "g", "working": ["5"]}', "authenticate"),
        ('{"action": "authenticate", "prefetch": 100000}', "authenticate"),
        ('{"action": "ack"}', "ack"),
        ('{"action": "ack", "seq": "5"}', "ack"),
        ('{"action": "ack", "seq": [5, "6"]}', "ack"),
        ('{"action": "working"}', "working"),
        ('{"action": "working", "seq": "5"}', "working"),
        ('{"action": "nack", "seq": [5]}', "nack"),
        ('{"action": "nack", "seq": 5, "delay": -1}', "nack"),
        ('{"action": "nack", "seq": 5, "delay": 1e9}', "nack"),
    ],
)
def test_a_bad_command_is_answered_with_its_own_action(text: str, action: str | None) -> None:
    with pytest.raises(BadCommand) as bad:
        decode_command(text)

    assert bad.value.action == action
    assert bad.value.error


@pytest.mark.parametrize(
    "text",
    ["", "hi", "[]", '"identify"', "5", "null", "{", '{"action": "identify"', '{"action": "\\ud800"}', '{"a": NaN}'],
    ids=lambda text: text[:30],
)
def test_text_that_is_not_a_json_object_is_no_command(text: str) -> None:
    with pytest.raises(NotACommand):
        decode_command(text)


@pytest.mark.parametrize("depth", range(900, 1100, 5))
def test_a_deeply_nested_command_is_read_or_refused(depth: int) -> None:
    text = '{"action": "authenticate", "credentials": ' + "[" * depth + "]" * depth + "}"

    try:
        command = decode_command(text)
    except (BadCommand, NotACommand):
        return

    assert isinstance(command, Authenticate)


def test_answers_carry_their_action() -> None:
    answer = Identified(token="t", address="a", resumed=False, seq=1, epoch="e", max_event=9)

    assert json.loads(encode_answer(answer)) == {
        "action": "identify", "token": "t", "address": "a", "resumed": False, "seq": 1, "epoch": "e", "max_event": 9,
    }  # fmt: skip


def test_an_error_carries_the_action_it_answers() -> None:
    assert json.loads(encode_answer(CommandError(action=None, error="what?"))) == {"action": None, "error": "what?"}
