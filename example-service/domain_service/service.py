"""The handlers as `eventbus_client` calls them, with a question alone: here each is given the registry."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Mapping

import eventbus_client
from eventbus_client import NotNow

from .handlers import Event, Handler
from .registry import RegistryFile


def with_registry(
    handlers: Mapping[str, Handler], registry: RegistryFile, *, delay: float
) -> dict[str, eventbus_client.Handler]:
    """Give each handler the registry.

    Args:
        handlers: Those that want one.
        registry: What they look into and change.
        delay: Seconds that the registry pretends to think about each question.
    """
    return {name: _with_registry(handler, registry, delay) for name, handler in handlers.items()}


def _with_registry(handler: Handler, registry: RegistryFile, delay: float) -> eventbus_client.Handler:
    async def answer(question: Event) -> list[Event]:
        await asyncio.sleep(delay)
        try:
            return await asyncio.to_thread(registry.answer, question, handler)
        except sqlite3.Error as error:
            raise NotNow(f"the registry says {error}") from error

    return answer
