"""How the service talks: it connects to the bus, hands each question to its handler, and publishes the answers.

What it answers stands in `handlers`; nothing here changes when it learns to answer one more event.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sqlite3
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, WebSocketException

from .backoff import Backoff, full_jitter
from .config import Settings
from .handlers import HANDLERS, Event, Handler
from .publisher import Publisher, one_line
from .registry import RegistryFile

logger = logging.getLogger(__name__)

# All instances of this service share its questions: the bus gives each to one of them, and again, to another perhaps,
# until it is acked. What was asked before the first of them ever started waits for it in the log.
GROUP = {"group": "domain-service", "after": 0}
# While so many questions wait for their answers, no more are taken: other instances may have room for them.
MOST_AT_ONCE = 500
# Seconds after which a connection attempt or a request has failed.
TIMEOUT = 10.0
# Seconds that the answers under way have left when the service stops, and the socket before them.
STOP_SECONDS = 1.0
# The bus closes with this code when the credentials are wrong, or the service may not do what it tried.
NOT_ALLOWED = 4403
# Seconds until a question that could not be answered is delivered again: 4, 16, 64, 256. Then it is a dead letter.
LATER = 4.0


class NotAllowed(Exception):
    """The bus does not accept this service. Trying again is no use: its settings must be changed."""


class Service:
    """Answers the questions on the bus.

    Args:
        settings: Where the bus is, and who we are there.
        registry: What the handlers look into and change.
        http: A session made by `open_session`.
        handlers: What is answered, by event name.
        backoff: Seconds to wait before an attempt to connect or publish, from the number of those that failed.
    """

    def __init__(
        self,
        settings: Settings,
        registry: RegistryFile,
        http: aiohttp.ClientSession,
        *,
        handlers: Mapping[str, Handler] = HANDLERS,
        backoff: Backoff = full_jitter,
    ) -> None:
        self._settings = settings
        self._registry = registry
        self._publisher = Publisher(http, f"{settings.eventbus_url}/", backoff)
        self._handlers = handlers
        self._backoff = backoff
        self._room = asyncio.Semaphore(MOST_AT_ONCE)
        self._answering: set[asyncio.Task[None]] = set()

    async def listen(self) -> None:
        """Take questions from the bus for ever; when the connection breaks, come back.

        Raises:
            NotAllowed: The bus does not accept this service.
        """
        failed = 0
        while True:
            try:
                async with self._connection() as (socket, epoch):
                    failed = 0
                    await self._take_questions(socket, epoch)
            except (OSError, WebSocketException) as error:
                _raise_if_not_allowed(error)
                seconds = self._backoff(failed)
                failed += 1
                url, reason = self._settings.eventbus_url, _reason(error)
                logger.warning("reconnecting to %s in %.1f s because %s", url, seconds, reason)
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

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[tuple[ClientConnection, str]]:
        """Connect and authenticate; give the socket and the epoch of the bus's log."""
        async with connect(
            f"{self._settings.eventbus_url.replace('http', 'ws', 1)}/ws",
            open_timeout=TIMEOUT,
            close_timeout=STOP_SECONDS,
            compression=None,  # the bus does not compress, so that one encoding of an event serves every socket
            # While the room is full, no pongs are read: the bus does the heartbeat. Our pings go on, for without
            # them a service that only listens would never learn that the bus's machine is gone.
            ping_timeout=None,
            max_size=None,  # the bus bounds an event; a smaller bound here would only break the connection
            proxy=None,  # as for publishing
        ) as socket:
            names, prefetch = list(self._handlers), MOST_AT_ONCE
            answer = await _authenticate(socket, self._settings.token, names=names, prefetch=prefetch)
            logger.info('connected to %s as "%s"', self._settings.eventbus_url, answer.get("service"))
            with _file_while_connected(self._settings.connected_file):
                yield socket, answer["epoch"]

    async def _take_questions(self, socket: ClientConnection, epoch: str) -> None:
        """Start to answer each question as it comes, so that one visitor does not wait for another's answer."""
        while True:
            frame = _decode(await socket.recv())
            if "action" not in frame and frame.get("name") in self._handlers:
                await self._room.acquire()
                self._start_to_answer(frame, epoch, socket)

    def _start_to_answer(self, question: Event, epoch: str, socket: ClientConnection) -> None:
        task = asyncio.create_task(self._answer_and_say_so(question, epoch, socket))
        self._answering.add(task)
        task.add_done_callback(self._answered)

    def _answered(self, task: asyncio.Task[None]) -> None:
        self._answering.discard(task)
        self._room.release()

    async def _answer_and_say_so(self, question: Event, epoch: str, socket: ClientConnection) -> None:
        """Ack a question once its answers are in the log, and no sooner: what we do not ack, the bus delivers again."""
        seq, delivery = question.get("seq"), question.get("delivery", 1)
        done: dict[str, Any] = {"action": "ack", "seq": seq}
        if not await self._answer(question, epoch):
            done = {"action": "nack", "seq": seq, "delay": LATER**delivery}
        with suppress(ConnectionClosed):  # then it comes again, and gets the same answer
            await socket.send(json.dumps(done))

    async def _answer(self, question: Event, epoch: str) -> bool:
        """Publish the answers; tell whether all of them are in the log."""
        label = f"{question['name']} #{question.get('seq')}"
        try:
            await asyncio.sleep(self._settings.delay)
            handler = self._handlers[question["name"]]
            events = await asyncio.to_thread(self._registry.answer, question, epoch=epoch, handler=handler)
            answers = [_addressed(event, question, epoch, number) for number, event in enumerate(events, start=1)]
            if all([await self._publisher.publish(answer) for answer in answers]):
                delivery = question.get("delivery", 1)
                logger.info("answered %s%s", label, f", delivery {delivery}" if delivery > 1 else "")
                return True
        except sqlite3.Error as error:
            logger.error("%s stays unanswered: the registry says %s", label, one_line(error))  # noqa: TRY400 - one line
        except Exception:  # a mistake in a handler must not end the service, and its author wants to see where it is
            logger.exception("%s stays unanswered: its handler failed", label)
        return False


def open_session(settings: Settings) -> aiohttp.ClientSession:
    """Make the HTTP session that publishes in this service's name."""
    return aiohttp.ClientSession(
        headers={"Authorization": f"Bearer {settings.token}"},
        timeout=aiohttp.ClientTimeout(total=TIMEOUT),
        json_serialize=partial(json.dumps, ensure_ascii=False),  # escaped, a context could outgrow the largest event
    )


async def _authenticate(socket: ClientConnection, token: str, **wishes: object) -> dict[str, Any]:
    async with asyncio.timeout(TIMEOUT):
        await socket.send(json.dumps({"action": "authenticate", "credentials": token, **GROUP, **wishes}))
        answer = _decode(await socket.recv())
    if answer.get("authenticated") is False:
        raise NotAllowed(one_line(answer.get("error")))
    if answer.get("authenticated") is not True or "epoch" not in answer:
        raise ConnectionError("it does not answer as the bus does")
    return answer


def _raise_if_not_allowed(error: Exception) -> None:
    if isinstance(error, ConnectionClosed) and error.rcvd is not None and error.rcvd.code == NOT_ALLOWED:
        raise NotAllowed(one_line(error.rcvd.reason)) from error


def _reason(error: Exception) -> str:
    """Say in plain words why there is no connection; what is rare keeps its own."""
    if "Connect call failed" in str(error):  # for each of the host's addresses, perhaps
        return "nobody answers there"
    if not isinstance(error, ConnectionClosed):
        return one_line(error)
    return f"the bus said: {one_line(error.rcvd.reason)}" if error.rcvd else "the connection broke"


def _decode(frame: str | bytes) -> dict[str, Any]:
    """Read one frame from the bus: an event, or the answer to a command; that one has an `action`."""
    try:
        decoded = json.loads(frame, parse_int=_whole_number)
    except (ValueError, RecursionError):
        logger.warning("ignored a frame that is not JSON")
        return {}
    return decoded if isinstance(decoded, dict) else {}


def _whole_number(digits: str) -> float:
    """Python refuses to read a number of thousands of digits; here such a number is as good as infinity."""
    return int(digits) if len(digits) < 1000 else float(digits)


def _addressed(event: Event, question: Event, epoch: str, number: int) -> Event:
    """Make a handler's event the answer to a question: for the one who asked, and with an id of its own.

    The id is made of what nobody else can have written: clients choose the ids of their questions, and two may choose
    the same. Whoever answers the same question, now or later, gives the same id, and the bus adds the answer once.
    """
    context = {**question["context"], "cause": str(question["seq"])}
    return {**event, "id": f"{epoch}-{question['seq']}-{number}", "context": context}


@contextmanager
def _file_while_connected(path: Path | None) -> Iterator[None]:
    """Keep a file there as long as the connection lasts, for those who can look at files only."""
    if path:
        path.touch()
    try:
        yield
    finally:
        if path:
            path.unlink(missing_ok=True)
