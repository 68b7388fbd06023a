"""Name patterns: which event names somebody may publish or wants to read. ``*`` matches any run of characters.

The bus's own events, `OWN`, are in a list only if one of its patterns begins like them: nobody gets them unasked.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

OWN = "eventbus."
"""What the names of the bus's own events begin with."""

_PATTERN = re.compile(r"[A-Za-z0-9._:*-]{1,200}")


class Patterns:
    """A list of name patterns; a name is in it if any of them matches.

    Args:
        patterns: Such as ``["check-*", "register-domain"]``.
        but_not: Patterns of names that are left out all the same.
        within: A wider list that a name must be in as well; `EVERYTHING` narrows nothing.

    Raises:
        ValueError: A pattern has a character that no event name has.
    """

    def __init__(self, patterns: Iterable[str], *, but_not: Iterable[str] = (), within: Patterns | None = None) -> None:
        self._patterns = tuple(patterns)
        self._but_not = tuple(but_not)
        self._within = within
        for pattern in self._patterns + self._but_not:
            if not _PATTERN.fullmatch(pattern):
                raise ValueError(f"{pattern!r} is no name pattern (letters, digits, . _ : - and * for any run of them)")
        # A busy bus sees few different names, so an answer is worth keeping.
        self._contains = lru_cache(maxsize=1024)(self._look_up)

    def __contains__(self, name: str) -> bool:
        return self._contains(name)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Patterns) and self._key == other._key

    def __hash__(self) -> int:
        return hash(self._key)

    def __str__(self) -> str:
        return ", ".join(self._patterns) + "".join(f", not {pattern}" for pattern in self._but_not)

    @property
    def _wider(self) -> Patterns | None:
        return None if self._within is EVERYTHING else self._within

    @property
    def _key(self) -> tuple[object, ...]:
        return self._patterns, self._but_not, self._wider

    def _look_up(self, name: str) -> bool:
        if self._wider is not None and name not in self._wider:
            return False
        asked = [p for p in self._patterns if p.startswith(OWN)] if name.startswith(OWN) else self._patterns
        return any(matches(p, name) for p in asked) and not any(matches(p, name) for p in self._but_not)


EVERYTHING = Patterns(["*"])


def matches(pattern: str, name: str) -> bool:
    """Does `pattern` match the whole of `name`? Takes time in proportion to the name's length, whatever the pattern."""
    head, *rest = pattern.split("*")
    if not rest:
        return name == pattern
    *middle, tail = rest
    start, end = len(head), len(name) - len(tail)
    if start > end or not name.startswith(head) or not name.endswith(tail):
        return False
    for part in middle:  # the leftmost place for each part leaves most room for the next
        start = name.find(part, start, end)
        if start < 0:
            return False
        start += len(part)
    return True
