"""Retention: lets the oldest events go, by number and by age, in small steps between which publishing goes on."""

from __future__ import annotations

import asyncio
import logging
import time

from .event import timestamp
from .log import Log
from .problems import Unavailable

logger = logging.getLogger("eventbus")

TRIM_EVERY = 1.0  # seconds


async def keep_trimming(log: Log, *, max_events: int, max_age: float) -> None:
    """Trim for ever.

    Args:
        log: What is trimmed.
        max_events: Events that stay; 0 if all.
        max_age: Seconds after which an event goes; 0 if never.
    """
    while True:
        await asyncio.sleep(TRIM_EVERY)
        try:
            while await log.trim(keep=max_events or None, since=timestamp(time.time() - max_age) if max_age else ""):
                pass
        except Unavailable as problem:
            logger.error("old events wait for their next turn: %s", problem.detail)  # noqa: TRY400 - one line
