"""How a service talks: it takes questions from the bus, has them answered, and says which are done.

What it answers stands in its handlers; nothing here changes when it learns to answer one more event.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Coroutine, Mapping
from contextlib import suppress

import aiohttp
from websockets.exceptions import ConnectionClosed, WebSocketException

from .answers import Event, Handler, NotNow, answers_to
from .backoff import Backoff, full_jitter
from .config import Settings
from .connection import Connection, connected
from .in_hand import InHand, Work
from .publisher import Publisher
from .reasons import one_line, reason

logger = logging.getLogger(__name__)

# So many questions are answered at once, and no more are asked for: other instances may have room for them.
MOST_AT_ONCE = 500
# How often, in each ack wait, the bus is told what is in hand.
TELLS = 3
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
        self._in_hand = InHand(settings.handler_timeout, places=MOST_AT_ONCE)
        self._connection: Connection | None = None
        self._can_say = asyncio.Event()  # there is a connection, or there will be none any more
        self._epoch = ""  # of the log of the last connection

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
                async with connected(self._settings, **wishes, **self._still_in_hand()) as connection:
                    proven = time.monotonic() + PROOF_SECONDS
                    await self._talk(connection)
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
        """Stop, if that has not happened on a connection: there will be none any more."""
        self._can_say.set()
        await self._finish()

    async def _finish(self) -> None:
        """Give the answers under way a moment to get out, and drop the rest."""
        if not self._answering:
            return
        _, late = await asyncio.wait(self._answering, timeout=STOP_SECONDS)
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)
        if late:
            logger.warning("questions left unanswered: %d", len(late))

    def _still_in_hand(self) -> dict[str, object]:
        """Say what came on the last connection and is still being worked on: the bus need not give it to anybody."""
        working = self._in_hand.seqs(self._epoch)
        said: dict[str, object] = {"working": working} if working else {}
        return said | {"epoch": self._epoch} if self._epoch else said  # a log that lost its end tells of a gap

    async def _talk(self, connection: Connection) -> None:
        self._connection, self._epoch = connection, connection.epoch
        self._can_say.set()
        telling = asyncio.create_task(self._keep_telling(connection))
        try:
            await self._take_questions(connection)
        except asyncio.CancelledError:
            await self._finish()
            raise
        finally:
            self._lose(connection)
            telling.cancel()

    def _lose(self, connection: Connection) -> None:
        if self._connection is connection:
            self._connection = None
            self._can_say.clear()

    async def _keep_telling(self, connection: Connection) -> None:
        """Tell the bus, for ever, what is in hand: nobody else gets that meanwhile."""
        while connection.ack_wait:
            with suppress(ConnectionClosed):
                await connection.say(action="working", seq=self._in_hand.seqs(connection.epoch))
            await asyncio.sleep(connection.ack_wait / TELLS)

    async def _take_questions(self, connection: Connection) -> None:
        """Start to answer each question as it comes, so that one visitor does not wait for another's answer."""
        while True:
            frame = await connection.hear()
            if "action" not in frame and isinstance(frame.get("name"), str):
                # A seq is a place in one log. Together with that log's name it tells a question from all others.
                self._take(frame | {"epoch": connection.epoch})

    def _take(self, question: Event) -> None:
        if begun := self._in_hand.find(question):
            logger.info("%s #%s came again while its handler is at work", question["name"], question.get("seq"))
            if begun.hangs:
                self._start(self._put_off(question))
        else:
            self._start(self._answer_and_say_so(self._in_hand.take(question)))

    def _start(self, doing: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(doing)
        self._answering.add(task)
        task.add_done_callback(self._answering.discard)

    async def _answer_and_say_so(self, work: Work) -> None:
        """Ack a question once its answers are in the log, and no sooner: what we do not ack, the bus delivers again."""
        question = work.question
        try:
            if question["name"] not in self._handlers:
                await self._leave_to_another(question)
                return
            async with self._room:
                answered = await self._answer(work)
            if answered:
                await self._say(question, action="ack", seq=question.get("seq"))
            else:
                await self._put_off(question)
        finally:
            self._in_hand.finish(work)

    async def _put_off(self, question: Event) -> None:
        """Give a question back that could not be answered: later each time."""
        delay = LATER ** min(_delivery(question), LONGEST_AFTER)
        await self._say(question, action="nack", seq=question.get("seq"), delay=delay)

    async def _leave_to_another(self, question: Event) -> None:
        """Give back what a newer instance of this service wants: the last one to come says so for all."""
        seq = question.get("seq")
        logger.warning("%s #%s is for another instance: this one has no handler for it", question["name"], seq)
        await self._say(question, action="nack", seq=seq, delay=LATER)

    async def _say(self, question: Event, **command: object) -> None:
        """Tell the bus, on this connection or, if it breaks, the next one, unless that leads to another log."""
        while True:
            await self._can_say.wait()
            connection = self._connection
            if connection is None or connection.epoch != question["epoch"]:
                return  # then it comes again, and gets the same answer
            try:
                await connection.say(**command)
            except ConnectionClosed:
                self._lose(connection)
            else:
                return

    async def _answer(self, work: Work) -> bool:
        """Publish the answers; tell whether all of them are in the log."""
        question = work.question
        name, delivery = question["name"], _delivery(question)
        label = f"{name} #{question.get('seq')}"
        try:
            work.begin()
            answers = await answers_to(question, self._handlers[name])
            work.is_answered()
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
