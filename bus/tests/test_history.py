"""The judge of the runs with faults can find each fault: else its silence would mean nothing."""

from __future__ import annotations

from dataclasses import replace

import pytest
from history import Connection, Stored, judge

LOG = [
    Stored(1, "a", "job", "anna"),
    Stored(2, "b", "job", "ben"),
    Stored(4, "c", "note", "anna"),
    Stored(5, "d", "job"),
]
ANSWERED = {"a": 1, "b": 2, "c": 4}  # whether "d" was stored, its publisher never heard

Heard = list[tuple[int, str, int]]

BEFORE, BACK, SERVICE, SOME, LEFT, OTHER = range(6)


def everything() -> list[Connection]:
    """Anna came back once, one service wants jobs only, and one of two members left before it acked its last event."""
    return [
        Connection("anna", "anna", heard=[(1, "a", 1)]),
        Connection("anna", "anna", after=1, heard=[(4, "c", 1)]),
        Connection("service", heard=[(1, "a", 1), (2, "b", 1), (4, "c", 1), (5, "d", 1)]),
        Connection("some", names=frozenset({"job"}), heard=[(1, "a", 1), (2, "b", 1), (5, "d", 1)]),
        Connection("group", member=True, heard=[(1, "a", 1), (4, "c", 1)], acked={1}),
        Connection("group", member=True, after=4, heard=[(2, "b", 1), (5, "d", 1), (4, "c", 2)], acked={2, 4, 5}),
    ]


def test_a_run_without_a_fault_is_judged_so() -> None:
    report = judge(ANSWERED, LOG, everything())

    assert report.wrong == []
    assert (report.stored, report.delivered, report.redelivered) == (4, 14, 1)


@pytest.mark.parametrize(
    ("log", "kind", "said"),
    [
        (LOG[1:], "lost", "'a' was answered #1, and the log says None"),
        ([replace(LOG[0], seq=3), *LOG[2:]], "lost", "'b' was answered #2, and the log says None"),
        ([*LOG, Stored(6, "a", "job", "anna")], "repeated", "'a' is in the log 2 times"),
        ([LOG[1], LOG[0], *LOG[2:]], "reordered", "the log has #1 after #2"),
    ],
)
def test_a_fault_of_the_log_is_found(log: list[Stored], kind: str, said: str) -> None:
    assert said in getattr(judge(ANSWERED, log, everything()), kind)


@pytest.mark.parametrize(
    ("connection", "heard", "kind", "said"),
    [
        (BACK, [], "lost", "#4 never reached anna"),
        (SERVICE, [(1, "a", 1), (4, "c", 1), (5, "d", 1)], "lost", "#2 never reached service"),
        (SOME, [(1, "a", 1), (5, "d", 1)], "lost", "#2 never reached some"),
        (OTHER, [(2, "b", 1), (4, "c", 2)], "lost", "#5 never reached group"),
        (BEFORE, [(1, "a", 1), (1, "a", 1)], "repeated", "#1 came twice over one connection of anna"),
        (BEFORE, [(1, "a", 1), (1, "a", 2)], "repeated", "#1 came twice over one connection of anna"),
        (BACK, [(1, "a", 1), (4, "c", 1)], "repeated", "#1 came again to anna, back after #1"),
        (LEFT, [(1, "a", 1), (4, "c", 1), (4, "c", 1)], "repeated", "#4 came twice over one connection of group"),
        (SERVICE, [(2, "b", 1), (1, "a", 1), (4, "c", 1), (5, "d", 1)], "reordered", "#1 came after #2 over one"),
        (LEFT, [(4, "c", 1), (1, "a", 1)], "reordered", "#1 came after #4 over one connection of group"),
        (BEFORE, [(1, "a", 1), (2, "b", 1)], "misdelivered", "#2, 'b', reached anna"),
        (BEFORE, [(1, "a", 1), (3, "x", 1)], "misdelivered", "#3, 'x', reached anna"),
        (SERVICE, [(1, "b", 1), (2, "b", 1), (4, "c", 1), (5, "d", 1)], "misdelivered", "#1, 'b', reached service"),
        (SOME, [(1, "a", 1), (2, "b", 1), (4, "c", 1), (5, "d", 1)], "misdelivered", "#4, 'c', reached some"),
    ],
)
def test_a_fault_of_delivery_is_found(connection: int, heard: Heard, kind: str, said: str) -> None:
    connections = everything()
    connections[connection].heard = heard

    report = judge(ANSWERED, LOG, connections)

    [found] = getattr(report, kind)
    assert said in found
    assert report.wrong == [found]


@pytest.mark.parametrize(
    ("heard", "acked"),
    [
        ([(2, "b", 1), (5, "d", 1), (4, "c", 2)], {2, 5}),
        ([(2, "b", 1), (5, "d", 1)], {2, 4, 5}),
    ],
    ids=["no ack", "an ack of a member that never had it"],
)
def test_an_event_that_no_member_did_is_found(heard: Heard, acked: set[int]) -> None:
    connections = everything()
    connections[OTHER].heard, connections[OTHER].acked = heard, acked

    report = judge(ANSWERED, LOG, connections)

    assert report.wrong == report.never_acked == ["#4 was acked by no member of group that had heard it"]


def test_what_a_cut_connection_had_in_flight_comes_again_rightly() -> None:
    """Whoever never heard it came back with a cursor below it."""
    connections = everything()
    connections[BEFORE].heard = []
    connections[BACK] = Connection("anna", "anna", after=0, heard=[(1, "a", 1), (4, "c", 1)])

    assert judge(ANSWERED, LOG, connections).wrong == []


def test_a_group_may_be_given_again_what_its_members_had_before() -> None:
    """The bus was killed before it kept the place: after that, it counts as the first delivery."""
    connections = everything()
    connections.append(Connection("group", member=True, after=5, heard=[(4, "c", 1), (5, "d", 1)], acked={4, 5}))

    assert judge(ANSWERED, LOG, connections).wrong == []
