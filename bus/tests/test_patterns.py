"""Name patterns: `*` matches any run of characters, and nothing else is special."""

from __future__ import annotations

import time

import pytest
from eventbus.patterns import EVERYTHING, Patterns, matches


@pytest.mark.parametrize(
    ("pattern", "name"),
    [
        ("check-domain", "check-domain"),
        ("*", "anything"),
        ("*", ""),
        ("check-*", "check-domain"),
        ("check-*", "check-"),
        ("*-completed", "check-domain-completed"),
        ("*-domain-*", "check-domain-completed"),
        ("a*b*c", "abc"),
        ("a*b*c", "aXbbYc"),
        ("a**c", "abc"),
        ("*ab*ab*", "abab"),
    ],
)
def test_a_pattern_matches_the_whole_name(pattern: str, name: str) -> None:
    assert matches(pattern, name)


@pytest.mark.parametrize(
    ("pattern", "name"),
    [
        ("check-domain", "check-domains"),
        ("check-domain", "Check-domain"),
        ("check-*", "recheck-domain"),
        ("*-completed", "check-completed-domain"),
        ("aba*aba", "aba"),
        ("a*b*c", "acb"),
        ("*ab*ab*", "aba"),
        ("a.c", "abc"),
    ],
)
def test_a_pattern_does_not_match_other_names(pattern: str, name: str) -> None:
    assert not matches(pattern, name)


def test_a_hostile_pattern_takes_no_longer() -> None:
    start = time.process_time()

    assert not matches("*a" * 90 + "*b", "a" * 200)

    assert time.process_time() - start < 0.1


def test_a_name_is_in_a_list_if_any_pattern_matches_it() -> None:
    patterns = Patterns(["check-*", "register-domain"])

    assert "check-domain" in patterns
    assert "register-domain" in patterns
    assert "renew-domain" not in patterns


def test_an_empty_list_matches_nothing() -> None:
    assert "anything" not in Patterns([])


def test_names_can_be_left_out() -> None:
    patterns = Patterns(["*"], but_not=["*-completed"])

    assert "check-domain" in patterns
    assert "check-domain-completed" not in patterns
    assert str(patterns) == "*, not *-completed"


def test_a_list_can_be_narrowed() -> None:
    patterns = Patterns(["*-domain"], within=Patterns(["check-*"]))

    assert "check-domain" in patterns
    assert "check-name" not in patterns
    assert "register-domain" not in patterns


def test_everything_matches_everything() -> None:
    assert "check-domain" in EVERYTHING


@pytest.mark.parametrize("pattern", ["", "two words", "check-?", "größe", "a" * 201, "a\n"])
def test_what_no_name_could_match_is_no_pattern(pattern: str) -> None:
    with pytest.raises(ValueError, match="is no name pattern"):
        Patterns([pattern])
