"""Retention: lets the oldest events go, by number, bytes and age, in small steps between which publishing goes on."""

from __future__ import annotations

import asyncio
import logging

from ..config import Settings
from ..problems import LogUnavailable
from . import Log
from .ages import Ages

logger = logging.getLogger("eventbus")

TRIM_EVERY = 1.0
"""Seconds between two looks at what may go."""

KEEP_EVERY = 60
"""Looks after which the ages of events are kept, if there are new events."""

_AGES = ("eventbus", "ages")  # where they are kept: among the places of groups, under a name that no service has


class Retention:
    """Trims a log.

    Args:
        log: What is trimmed.
        settings: How many events, bytes and seconds stay, and how long an id is known.

    Attributes:
        ages: How old its events are.
    """

    def __init__(self, log: Log, *, settings: Settings) -> None:
        self._log = log
        self.ages = Ages()
        self._settings = settings
        self._kept = log.head, False  # when the ages were kept
        self._said = ""  # why nothing could go

    async def begin(self) -> None:
        """Go on where an earlier run of the bus ended."""
        if kept := await self._log.group_place(_AGES):
            self.ages.resume(kept)

    async def keep_trimming(self) -> None:
        """Trim for ever."""
        looks = 0
        while True:
            await asyncio.sleep(TRIM_EVERY)
            looks += 1
            leapt = self.ages.look(self._log.head)
            try:
                await self._trim()
                if leapt or looks % KEEP_EVERY == 0:
                    await self.keep_ages(at_once=leapt)
                self._said = ""
            except LogUnavailable as problem:
                if problem.detail != self._said:
                    logger.error("old events wait for their next turn: %s", problem.detail)  # noqa: TRY400 - one line
                self._said = problem.detail

    async def keep_ages(self, *, at_once: bool = False) -> None:
        """Keep the ages of events over a restart; until something is new, what was kept still says enough.

        Raises:
            LogUnavailable: The log cannot be written.
        """
        head = self._log.head
        self.ages.look(head)
        to_keep = head, self.ages.is_sure
        if to_keep == self._kept and not at_once:
            return
        await self._log.keep_group_places({_AGES: self.ages.to_keep()})
        self._kept = to_keep

    async def _trim(self) -> None:
        settings, position = self._settings, self.ages.position
        self._log.forget_ids(upto=position(settings.deduplication_seconds))
        while await self._log.trim(
            upto=position(settings.retention_seconds) if settings.retention_seconds else 0,
            keep=settings.retention_events or None,
            keep_bytes=settings.retention_bytes or None,
        ):
            pass
        self.ages.forget(self._log.trimmed)
