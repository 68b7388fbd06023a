"""From a question to its answers: calls the handler, and makes of what it returns the answers to this very question."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from inspect import iscoroutinefunction
from typing import Any

from .threads import in_a_thread

Event = dict[str, Any]
Handler = Callable[[Event], list[Event]] | Callable[[Event], Coroutine[Any, Any, list[Event]]]


class NotNow(Exception):
    """A handler cannot answer at present; the text says why. The question comes again later."""


async def answers_to(question: Event, handler: Handler) -> list[Event]:
    """Call the handler; give its events, ready to be published.

    Raises:
        TypeError: What it returned is no list of events.
        Exception: Whatever the handler raises.
    """
    returned = _events(await _returned_by(handler, question))
    return [_addressed(event, question, number) for number, event in enumerate(returned, start=1)]


async def _returned_by(handler: Handler, question: Event) -> object:
    try:
        return await (handler(question) if iscoroutinefunction(handler) else in_a_thread(handler, question))
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task and task.cancelling():
            raise  # nobody wants the answer any more
        raise RuntimeError("the handler waited for what was cancelled") from error


def _events(returned: object) -> list[Event]:
    if isinstance(returned, list) and all(isinstance(event, dict) and "name" in event for event in returned):
        return returned
    expected = 'expected a list of events, such as [{"name": "shout-completed", "data": "HELLO"}], or [] for no answer'
    raise TypeError(f"the handler returned {returned!r}; {expected}")


def _addressed(event: Event, question: Event, number: int) -> Event:
    """Make a handler's event the answer to a question: for the one who asked, and with an id of its own.

    The id is made of what nobody else can have written: clients choose the ids of their questions, and two may choose
    the same. Whoever answers the same question, now or later, gives the same id, and the bus adds the answer once.
    """
    context = {**question["context"], "cause": str(question["seq"])}
    return {**event, "id": f"{question['epoch']}-{question['seq']}-{number}", "context": context}
