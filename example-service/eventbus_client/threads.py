"""Functions that may take their time, called beside the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from threading import Thread
from typing import TypeVar

Argument = TypeVar("Argument")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class _Failed:
    error: BaseException


async def in_a_thread(function: Callable[[Argument], Result], argument: Argument) -> Result:
    """Call a function in a thread of its own; raise what it raises.

    The threads of `asyncio.to_thread` are few, and a program cannot end before they have. Here none waits for another,
    and one that does not return is left behind when the program ends.
    """
    future: Future[Result | _Failed] = Future()
    future.set_running_or_notify_cancel()  # from here on, a caller who is cancelled only stops waiting

    def call() -> None:
        try:
            future.set_result(function(argument))
        except BaseException as error:
            future.set_result(_Failed(error))  # as a result, since a future cannot carry a StopIteration as its error

    Thread(target=call, daemon=True).start()
    outcome = await asyncio.wrap_future(future)
    if isinstance(outcome, _Failed):
        raise outcome.error
    return outcome
