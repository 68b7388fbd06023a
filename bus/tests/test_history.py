"""The judge of the runs with faults can find each fault: else its silence would mean nothing."""

from __future__ import annotations

from dataclasses import replace

import pytest
from history import Connection, Stored, judge

LOG = [Stored(1, "a", "anna"), Stored(2, "b", "ben"), Stored(4, "c", "anna"), Stored(5, "d")]
ANSWERED = {"a": 1, "b": 2, "c": 4}  # whether "d" was stored, its publisher never heard


def everything() -> list[Connection]:
    """Anna came back once, the group has two members, and one of them was given what the other did not ack."""
    return [
        Connection("anna", "anna", [(1, "a", 1)]),
        Connection("anna", "anna", [(4, "c", 1)]),
        Connection("service", None, [(1, "a", 1), (2, "b", 1), (4, "c", 1), (5, "d", 1)]),
        Connection("group", None, [(1, "a", 1), (4, "c", 1)]),
        Connection("group", None, [(2, "b", 1), (5, "d", 1), (4, "c", 2)]),
    ]


def test_a_run_without_a_fault_is_judged_so() -> None:
    report = judge(ANSWERED, LOG, everything())

    assert report.wrong == []
    assert (report.stored, report.delivered, report.redelivered) == (4, 11, 1)


@pytest.mark.parametrize(
    ("log", "kind", "said"),
    [
        (LOG[1:], "lost", "'a' was answered #1, and the log says None"),
        ([replace(LOG[0], seq=3), *LOG[2:]], "lost", "'b' was answered #2, and the log says None"),
        ([*LOG, Stored(6, "a", "anna")], "repeated", "'a' is in the log 2 times"),
        ([LOG[1], LOG[0], *LOG[2:]], "reordered", "the log has #1 after #2"),
    ],
)
def test_a_fault_of_the_log_is_found(log: list[Stored], kind: str, said: str) -> None:
    assert said in getattr(judge(ANSWERED, log, everything()), kind)


@pytest.mark.parametrize(
    ("connection", "heard", "kind", "said"),
    [
        (1, [], "lost", "#4 never reached anna"),
        (2, [(1, "a", 1), (4, "c", 1), (5, "d", 1)], "lost", "#2 never reached service"),
        (4, [(2, "b", 1), (4, "c", 2)], "lost", "#5 never reached group"),
        (0, [(1, "a", 1), (1, "a", 1)], "repeated", "#1 came twice over one connection of anna"),
        (2, [(2, "b", 1), (1, "a", 1), (4, "c", 1), (5, "d", 1)], "reordered", "#1 came after #2 over one"),
        (0, [(1, "a", 1), (2, "b", 1)], "misdelivered", "#2, 'b', reached anna"),
        (0, [(1, "a", 1), (3, "x", 1)], "misdelivered", "#3, 'x', reached anna"),
        (2, [(1, "b", 1), (2, "b", 1), (4, "c", 1), (5, "d", 1)], "misdelivered", "#1, 'b', reached service"),
    ],
)
def test_a_fault_of_delivery_is_found(connection: int, heard: list[tuple[int, str, int]], kind: str, said: str) -> None:
    connections = everything()
    connections[connection].heard = heard

    [found] = getattr(judge(ANSWERED, LOG, connections), kind)

    assert said in found
