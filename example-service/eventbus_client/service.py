"""How a service talks: it takes questions from the bus, has them answered, and says which are done.

What it answers stands in its handlers; nothing here changes when it learns to answer one more event.
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import aiohttp
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed, WebSocketException

from .answers import Event, Handler, NotNow, answers_to
from .backoff import Backoff, full_jitter
from .config import Settings
from .connection import connected, decode
from .publisher import Publisher
from .reasons import one_line, reason

logger = logging.getLogger(__name__)

# While so many questions wait for their answers, no more are taken: other instances may have room for them.
MOST_AT_ONCE = 500
# Seconds that the answers under way have left when the service stops.
STOP_SECONDS = 1.0
# Seconds after which a connection counts as one that works. Before that it may be one that the bus closes each time.
PROOF_SECONDS = 5.0
# Seconds until a question that could not be answered is delivered again: 4, 16, 64, 256. Then it is a dead letter.
LATER = 4.0
# A bus that is told to deliver more often still puts nothing off for more than a day; after so many, it is 18 hours.
LONGEST_AFTER = 8


class Service:
    """Answers the questions on the bus.

    Args:
        settings: Where the bus is, and who we are there.
        http: A session made by `open_session`.
        handlers: What is answered, by event name.
        group: The instances of this service share its questions: the bus gives each to one of them, and again, to
            another perhaps, until it is acked. What was asked before the first of them ever started waits in the log.
        backoff: Seconds to wait before an attempt to connect or publish, from the number of those that failed.
    """

    def __init__(
        self,
        settings: Settings,
        http: aiohttp.ClientSession,
        handlers: Mapping[str, Handler],
        *,
        group: str,
        backoff: Backoff = full_jitter,
    ) -> None:
        self._settings = settings
        self._publisher = Publisher(http, f"{settings.eventbus_url}/", backoff)
        self._handlers = handlers
        self._group = group
        self._backoff = backoff
        self._room = asyncio.Semaphore(MOST_AT_ONCE)
        self._answering: set[asyncio.Task[None]] = set()

    async def listen(self) -> None:
        """Take questions from the bus for ever; when the connection breaks, come back.

        Raises:
            NotAllowed: The bus does not accept this service.
        """
        wishes = {"group": self._group, "after": 0, "names": list(self._handlers), "prefetch": MOST_AT_ONCE}
        failed = 0
        while True:
            proven = math.inf
            try:
                async with connected(self._settings, **wishes) as (socket, epoch):
                    proven = time.monotonic() + PROOF_SECONDS
                    await self._take_questions(socket, epoch)
            except (OSError, WebSocketException) as error:
                if time.monotonic() >= proven:
                    failed = 0
                seconds = self._backoff(failed)
                failed += 1
                logger.warning(
                    "reconnecting to %s in %.1f s because %s", self._settings.eventbus_url, seconds, reason(error)
                )
                await asyncio.sleep(seconds)

    async def stop(self) -> None:
        """Give the answers under way a moment to get out, and drop the rest."""
        if not self._answering:
            return
        _, late = await asyncio.wait(self._answering, timeout=STOP_SECONDS)
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)
        if late:
            logger.warning("questions left unanswered: %d", len(late))

    async def _take_questions(self, socket: ClientConnection, epoch: str) -> None:
        """Start to answer each question as it comes, so that one visitor does not wait for another's answer."""
        while True:
            frame = decode(await socket.recv())
            name = frame.get("name")
            if "action" in frame or not isinstance(name, str):
                continue
            if name not in self._handlers:
                await self._leave_to_another(frame, socket)
            else:
                await self._room.acquire()
                # A seq is a place in one log. Together with that log's name it tells a question from all others.
                self._start_to_answer(frame | {"epoch": epoch}, socket)

    async def _leave_to_another(self, event: Event, socket: ClientConnection) -> None:
        """Give back what a newer instance of this service wants: the last one to come says so for all."""
        logger.warning(
            "%s #%s is for another instance: this one has no handler for it", event["name"], event.get("seq")
        )
        await socket.send(json.dumps({"action": "nack", "seq": event.get("seq"), "delay": LATER}))

    def _start_to_answer(self, question: Event, socket: ClientConnection) -> None:
        task = asyncio.create_task(self._answer_and_say_so(question, socket))
        self._answering.add(task)
        task.add_done_callback(self._answered)

    def _answered(self, task: asyncio.Task[None]) -> None:
        self._answering.discard(task)
        self._room.release()

    async def _answer_and_say_so(self, question: Event, socket: ClientConnection) -> None:
        """Ack a question once its answers are in the log, and no sooner: what we do not ack, the bus delivers again."""
        done: dict[str, Any] = {"action": "ack", "seq": question.get("seq")}
        if not await self._answer(question):
            done |= {"action": "nack", "delay": LATER ** min(_delivery(question), LONGEST_AFTER)}
        with suppress(ConnectionClosed):  # then it comes again, and gets the same answer
            await socket.send(json.dumps(done))

    async def _answer(self, question: Event) -> bool:
        """Publish the answers; tell whether all of them are in the log."""
        name, delivery = question["name"], _delivery(question)
        label = f"{name} #{question.get('seq')}"
        try:
            answers = await answers_to(question, self._handlers[name])
            if all([await self._publisher.publish(answer) for answer in answers]):
                logger.info("answered %s%s", label, f", delivery {delivery}" if delivery > 1 else "")
                return True
        except NotNow as error:
            logger.error("%s stays unanswered: %s", label, one_line(error))  # noqa: TRY400 - one line
        except (Exception, SystemExit):  # a mistake must not end the service, and its author wants to see where it is
            logger.exception("%s stays unanswered: its handler failed", label)
        return False


def _delivery(question: Event) -> int:
    """Give the number of times that it was delivered: what is no such number is none that the bus has sent."""
    delivery = question.get("delivery")
    return delivery if isinstance(delivery, int) and delivery > 1 else 1
