"""Turns: one piece of each host, and then everything else."""

from __future__ import annotations

import asyncio

import pytest
from eventbus.limits import turns
from eventbus.limits.turns import Turns


async def test_hosts_have_their_turns_one_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "AT_ONCE", 60)
    done: list[str] = []
    waiting = Turns()
    for piece in ("a1", "a2", "a3", "b1", "c1", "c2"):
        waiting.wait(piece[0], lambda piece=piece: done.append(piece))

    await asyncio.sleep(0)

    assert done == ["a1", "b1", "c1", "a2", "c2", "a3"]


async def test_everything_else_has_its_turn_in_between(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "AT_ONCE", 1e-9)
    done: list[int] = []
    waiting = Turns()
    for piece in range(3):
        waiting.wait("a", lambda piece=piece: done.append(piece))

    seen = []
    for _ in range(4):
        await asyncio.sleep(0)
        seen.append(len(done))

    assert seen == [1, 2, 3, 3]


async def test_pieces_that_bring_another_one_have_no_more_turns_than_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "AT_ONCE", 1e-9)
    done: list[int] = []
    waiting = Turns()

    def piece() -> None:
        done.append(len(done))
        waiting.wait("a", piece)

    waiting.wait("a", piece)
    for _ in range(10):
        await asyncio.sleep(0)

    assert len(done) == 10


async def test_a_piece_may_bring_the_next_one_and_a_defect_holds_up_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    reported = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context["exception"]))
    done: list[str] = []
    waiting = Turns()
    waiting.wait("a", lambda: 1 // 0)
    waiting.wait("b", lambda: waiting.wait("b", lambda: done.append("next")))
    waiting.wait("a", lambda: done.append("other"))

    for _ in range(3):
        await asyncio.sleep(0)

    assert sorted(done) == ["next", "other"]
    assert [type(error) for error in reported] == [ZeroDivisionError]
