"""Who gets events: services that all get the same, and clients that get what is addressed to them."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from typing import Any

from .checker import Checker
from .crowd import Crowd
from .events import NOBODY
from .run import Run
from .wire import PING, PONG, TEXT, Socket, split

OPENING = 50
"""Sockets that are being opened at once."""
SAMPLE = 7
"""Of a crowd's deliveries, the time of one in so many is noted: to note all would cost more than to get them."""


async def crowd_of(run: Run, size: int, moved: Callable[[], None] = lambda: None, **command: Any) -> Crowd:
    """Connect services that get everything; `moved` is called when the slowest of them went on."""
    crowd = Crowd(Checker(run.faults, to=None, identifiers={NOBODY}), size, run.wire.split)
    if not run.ordered:
        crowd.part()

    async def connect(number: int) -> None:
        hello = {"action": "authenticate", "credentials": run.token} | command
        socket, answer = await run.wire.Socket.open(run.port, hello)
        if not answer["authenticated"]:
            run.problem(f"not authenticated: {answer}")
        member = crowd.members[number]

        def fed(data: bytes) -> None:
            before = member.received
            sent, pings = member.feed(data)
            for ping in pings:
                socket.send(PONG, ping)
            if run.measuring:
                run.deliveries += len(sent)
                now = time.monotonic_ns()
                run.times.extend([now - at for at in sent[-before % SAMPLE :: SAMPLE]])
            if member.received > before and crowd.moved(before):
                moved()

        socket.listen(fed)
        socket.lost = lambda: None if run.stopping else run.problem("the server hung up")

    await in_parallel([connect(number) for number in range(size)], OPENING)
    return crowd


async def identify(run: Run, known: list[dict[str, Any]], *, timed: bool = False) -> tuple[list[str], list[Checker]]:
    """Connect clients, with what each says; return their tokens and their checkers."""
    count = len(known)
    tokens = [""] * count
    checkers: list[Checker] = [Checker(run.faults, to=number) for number in range(count)]

    async def connect(number: int) -> None:
        await asyncio.sleep(random.random() * run.spec.get("pause", 0))  # noqa: S311 - no secret
        socket, hello = await Socket.open(run.port, {"action": "identify"} | known[number])
        known[number] |= {"token": hello["token"], "after": hello.get("seq", 0), "epoch": hello.get("epoch", "")}
        tokens[number] = hello["token"]
        checker = checkers[number] = Checker(
            run.faults, to=number, identifiers={hello["token"], hello.get("address", hello["token"])}
        )

        def message(payload: bytes) -> None:
            taken = checker.take(payload)
            if taken and run.measuring and timed:
                run.deliveries += 1
                run.times.append(time.monotonic_ns() - taken[2])

        socket.listen(messages(socket, message))

    await in_parallel([connect(number) for number in range(count)], run.spec.get("opening", OPENING))
    return tokens, checkers


def messages(socket: Socket, take: Callable[[bytes], None]) -> Callable[[bytes], None]:
    """Turn bytes into messages, and answer pings."""
    rest = b""

    def fed(data: bytes) -> None:
        nonlocal rest
        data = rest + data
        frames, consumed = split(data)
        rest = data[consumed:]
        for opcode, payload, _ in frames:
            if opcode == TEXT:
                take(payload)
            elif opcode == PING:
                socket.send(PONG, payload)

    return fed


async def in_parallel(openings: list[Awaitable[None]], most: int) -> None:
    """Do many things, at most so many at once."""
    room = asyncio.Semaphore(most)

    async def one(opening: Awaitable[None]) -> None:
        async with room:
            await opening

    await asyncio.gather(*map(one, openings))
