"""The load of questions and answers: client, server, service, server, client."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Any

from .checker import Checker
from .events import event
from .publishers import posters
from .run import Run
from .subscribers import messages
from .wire import Poster, Socket


async def round_trip(run: Run) -> None:
    """Client, bus, service, bus, client: each client asks again once it has its answer."""
    jobs: deque[bytes] = deque()
    answering = deque(await posters(run, min(run.spec["clients"], 16)))
    checker = Checker(run.faults)
    asked = [0] * run.spec["clients"]
    service, _ = await Socket.open(run.port, {"action": "authenticate", "credentials": run.token})

    def answer() -> None:
        while jobs and answering:
            run.under_way += 1
            answering.popleft().post(jobs.popleft())

    def answered(poster: Poster, status: int) -> None:
        run.under_way -= 1
        if status != 200:
            run.problem(f"the service was answered {status}")
        answering.append(poster)
        answer()

    for poster in answering:
        poster.answered = lambda status, poster=poster: answered(poster, status)  # type: ignore[misc]

    def question(payload: bytes) -> None:
        taken = checker.take(payload)
        if taken and taken[0][0] == b"question":
            (_, client), number, sent = taken
            jobs.append(event(b"answer", client, client, number, sent, identifiers[client]))
            answer()

    identifiers: list[bytes] = []
    clients: list[tuple[Checker, Callable[[], None]]] = []
    service.listen(messages(service, question))
    for number in range(run.spec["clients"]):
        socket, hello = await Socket.open(run.port, {"action": "identify"})
        identifiers.append(hello["token"].encode())
        clients.append(asker(run, number, socket, hello, await Poster.open(run.port), asked))
    for _, ask in clients:
        ask()
    await run.measure()
    owed = {(kind, client): asked[client] for client in range(len(asked)) for kind in (b"question", b"answer")}
    await run.arrived(lambda: checker.received + sum(c.received for c, _ in clients), 2 * sum(owed.values()))
    checker.finish(owed)
    for number, (own, _) in enumerate(clients):
        own.finish({(kind, number): asked[number] for kind in (b"question", b"answer")})


def asker(
    run: Run, number: int, socket: Socket, hello: dict[str, Any], poster: Poster, asked: list[int]
) -> tuple[Checker, Callable[[], None]]:
    """One client of the round trip; return its checker, and what makes it begin."""
    token = hello["token"]
    checker = Checker(run.faults, to=number, identifiers={token, hello.get("address", token)})
    open_ends = 0  # the receipt and the answer, of which both must come before the next question

    def ask() -> None:
        nonlocal open_ends
        if open_ends := max(open_ends - 1, 0):
            return
        if run.stopping:
            return
        open_ends = 2
        run.under_way += 1
        poster.post(event(b"question", number, number, asked[number], time.monotonic_ns(), token.encode()))
        asked[number] += 1

    def answered(status: int) -> None:
        run.under_way -= 1
        if status != 200:
            run.problem(f"a client was answered {status}")
        ask()

    def message(payload: bytes) -> None:
        taken = checker.take(payload)
        if taken and taken[0][0] == b"answer":
            if run.measuring:
                run.events += 1
                run.times.append(time.monotonic_ns() - taken[2])
            ask()

    poster.answered = answered
    socket.listen(messages(socket, message))
    return checker, ask
