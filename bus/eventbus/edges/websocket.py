"""The WebSocket edge: one `Connection` for each socket obeys commands; events go out through its `SocketOutlet`."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager, suppress

from aiohttp import WSMessage, WSMsgType

from ..groups import Member
from ..problems import LogUnavailable, NoRight
from . import messages
from .admission import Admission, Admitted
from .channel import CLOSING, Channel, Close, Line, reason_of
from .messages import BadCommand, NotACommand, NotAuthenticated, decode_command, encode_answer

logger = logging.getLogger("eventbus")


class WebSockets:
    """All that are open: asks them for signs of life, and closes them in the end.

    Args:
        admission: Says who may come in, and lets them.
        identify_timeout: Seconds a connection has to identify or authenticate itself.
        heartbeat: Seconds between pings.

    Attributes:
        stopping: True once the bus is about to stop: no more are to be opened.
    """

    def __init__(self, *, admission: Admission, identify_timeout: float, heartbeat: float) -> None:
        self._admission = admission
        self._identify_timeout = identify_timeout
        self._heartbeat = heartbeat
        self._open: dict[Connection, asyncio.Task[None] | None] = {}
        self.stopping = False

    async def speak(
        self,
        channel: Channel,
        outlet: Line,
        *,
        host: str,
        on_service: Callable[[], None],
        place: AbstractContextManager[object],
    ) -> None:
        """Speak with the other side of a channel until one of both hangs up.

        Args:
            channel: Its handshake is done.
            outlet: What is sent goes there.
            host: Where the other side is.
            on_service: Called once the other side has shown that it is one.
            place: What it takes up; left in the end.
        """
        connection = Connection(channel, outlet, admission=self._admission, host=host, on_service=on_service)
        self._open[connection] = asyncio.current_task()
        if self.stopping:  # since the handshake was answered
            outlet.close(Close.RESTART, "the bus is stopping")
        with place:
            try:
                await connection.run(identify_timeout=self._identify_timeout)
            finally:
                del self._open[connection]

    async def keep_beating(self) -> None:
        """Ask everybody for a sign of life, for ever, and cut off those who give none."""
        while True:
            await asyncio.sleep(self._heartbeat)
            for connection in list(self._open):
                connection.beat()

    async def close_all(self) -> None:
        """Close every connection together, with 1012; take no new ones."""
        self.stopping = True
        for connection in self._open:
            connection.outlet.close(Close.RESTART, "the bus is stopping")
        if tasks := [task for task in self._open.values() if task]:
            await asyncio.wait(tasks, timeout=CLOSING)


class Connection:
    """One socket: first unknown, then a client's or a service's.

    Args:
        channel: What comes is read there.
        outlet: What is sent goes there.
        admission: Says who may come in.
        host: Where the other side is.
        on_service: Called once the other side has shown that it is one.
    """

    __slots__ = ("__weakref__", "_admission", "_channel", "_delivery", "_host", "_member", "_on_service", "outlet")

    def __init__(
        self,
        channel: Channel,
        outlet: Line,
        *,
        admission: Admission,
        host: str,
        on_service: Callable[[], None],
    ) -> None:
        self._channel = channel
        self.outlet = outlet
        self._admission = admission
        self._host = host
        self._on_service = on_service
        self._delivery: AbstractContextManager[Member | None] | None = None  # begins once it is known who is there
        self._member: Member | None = None

    async def run(self, *, identify_timeout: float) -> None:
        """Obey commands until the connection ends; it is to say who it is within the time-out, in seconds."""
        await self._obey_all(identify_timeout)
        # One who hung up is answered; one who was told to go is heard out, so that it reads why.
        self.outlet.close(Close.NORMAL)
        async for _ in self._channel.messages():
            pass
        self.outlet.hang_up()

    def beat(self) -> None:
        """Ask for a sign of life."""
        self._channel.expect_pong()
        self.outlet.beat()

    async def _obey_all(self, identify_timeout: float) -> None:
        incoming = self._channel.messages()
        try:
            async with asyncio.timeout(identify_timeout) as until_known:
                await self._obey_until_known(incoming, until_known)
            if self._delivery:  # nothing was awaited since the answer named a position, so no event slips through
                with self._delivery as self._member:
                    async for message in incoming:
                        await self._obey(message)
                    self.outlet.hear_goodbye(self._channel.goodbye)
        except TimeoutError:
            self.outlet.close(Close.NEVER_IDENTIFIED, "neither identified nor authenticated in time")
        except ConnectionError:
            pass  # the other side hung up in mid-send
        except LogUnavailable:
            self.outlet.close(Close.FAILED, "the log cannot be written; connect again")
        except Exception:
            logger.exception("a defect of the bus, in a connection")
            self.outlet.failed()

    async def _obey_until_known(self, incoming: AsyncIterator[WSMessage], until_known: asyncio.Timeout) -> None:
        async for message in incoming:
            end = until_known.when()
            until_known.reschedule(None)  # what the bus takes for its answer does not count
            await self._obey(message)
            until_known.reschedule(end)
            if self._delivery:
                return

    async def _obey(self, message: WSMessage) -> None:
        if self.outlet.parting:
            if self._member and message.type is WSMsgType.TEXT:  # an ack that was under way counts
                with suppress(ConnectionError):  # nothing is answered any more
                    await self._obey_text(message.data)
            return
        self.outlet.hear()
        if message.type is WSMsgType.PING:
            self.outlet.pong(message.data)
            await self.outlet.drained()  # or pongs to one that never reads would pile up
        elif message.type is WSMsgType.BINARY:
            self._answer(messages.CommandError(action=None, error="expected text, got binary"))
            self.outlet.close(Close.UNSUPPORTED, "text only")
        elif message.type is WSMsgType.TEXT:
            await self._obey_text(message.data)
        elif message.type is WSMsgType.ERROR:
            self.outlet.close(message.data.code, reason_of(message.data.code))

    async def _obey_text(self, text: str) -> None:
        try:
            await self._do(decode_command(text))
        except BadCommand as bad:
            self._answer(messages.CommandError(action=bad.action, error=bad.error))
            await self.outlet.drained()  # or the answers to one that never reads would pile up
        except NotACommand as error:
            self._answer(messages.CommandError(action=None, error=str(error)))
            self.outlet.close(Close.NOT_A_COMMAND, "not a JSON object")

    async def _do(self, command: messages.Command) -> None:
        match command:
            case messages.Ack(seq=seq) if self._member:
                self._member.ack([seq] if isinstance(seq, int) else seq)
            case messages.Nack(seq=seq, delay=delay) if self._member:
                self._member.nack(seq, delay=delay)
            case messages.Working(seq=seq) if self._member:
                self._member.working([seq] if isinstance(seq, int) else seq)
            case messages.Ack() | messages.Nack() | messages.Working():
                raise BadCommand(command, "only a member of a group can say this; authenticate with a group")
            case messages.Ping():
                self._answer(command)
                await self.outlet.drained()  # as in `_obey_text`
            case _ if self._delivery:
                raise BadCommand(command, "this connection has said who it is; open another one")
            case messages.Identify():
                admitted = await self._admission.identify(command, host=self._host)
                self.outlet.bound_as_client()
                self._let_in(admitted)
            case messages.Authenticate():
                await self._authenticate(command)

    async def _authenticate(self, command: messages.Authenticate) -> None:
        try:
            self._let_in(await self._admission.authenticate(command))
            self._on_service()
            self._channel.trust()
        except NoRight as refusal:
            self._answer(NotAuthenticated(error=refusal.detail))
            self.outlet.close(Close.WRONG_CREDENTIALS, "wrong credentials")

    def _let_in(self, admitted: Admitted) -> None:
        self._answer(admitted.answer)
        self._delivery = admitted.join(self.outlet)

    def _answer(self, answer: messages.Answer) -> None:
        self.outlet.say(encode_answer(answer))
