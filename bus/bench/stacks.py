"""Stacks as py-spy writes them, and the bars of the flame graph that they make."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

THINNEST = 0.004
"""Of the width of all: what is thinner is left out."""
WAITS = "_worker ("  # a thread that has nothing to do


@dataclass(slots=True)
class Frame:
    """A function within those that called it; `count` is how often it was seen."""

    name: str
    count: int = 0
    calls: dict[str, Frame] = field(default_factory=dict)


def tree(stacks: Iterable[str]) -> Frame:
    """Read stacks as py-spy writes them: functions from the outermost on, with `;` between, and how often."""
    root = Frame("")
    for line in stacks:
        stack, _, count = line.rpartition(" ")
        names = stack.split(";")
        if names[-1].startswith(WAITS):
            continue
        frame = root
        frame.count += int(count)
        for name in without_outermost(names):
            frame = frame.calls.setdefault(name, Frame(name))
            frame.count += int(count)
    return root


def without_outermost(names: list[str]) -> list[str]:
    """Replace what is the same in all stacks by the thread's name."""
    for first, thread in (("Handle._run", "event loop"), ("_WorkItem.run", "threads of the log")):
        for index, name in enumerate(names):
            if name.startswith(first):
                return [thread, *names[index + 1 :]]
    return ["event loop" if any("_run_once" in name for name in names) else "threads of the log", names[-1]]


def bars(frame: Frame, at: float, whole: int, depth: int = 0) -> Iterable[tuple[Frame, float, float, int]]:
    """Give each function that is wide enough: where it begins and how wide it is, of 1, and how deep it lies."""
    width = frame.count / whole
    if width < THINNEST:
        return
    if frame.name:
        yield frame, at, width, depth
    for call in sorted(frame.calls.values(), key=lambda call: call.name):
        yield from bars(call, at, whole, depth + 1)
        at += call.count / whole
