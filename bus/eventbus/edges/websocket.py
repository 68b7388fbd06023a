"""The WebSocket edge: one `Connection` for each socket reads commands; events go out through its `SocketOutlet`."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import AbstractContextManager, suppress

from aiohttp import WSMessage, WSMsgType, web

from ..authorization import Authorization
from ..config import Settings
from ..groups import Member
from ..limits.frame_rate import Strangers
from ..limits.websockets import Seat, Seats
from ..problems import LogUnavailable, NoRight, Stopping
from ..server.upgrade import WebSocketProtocol, upgrade
from . import messages
from .admission import Admission, Admitted
from .cors import Cors
from .frames import Close, pong_frame, reason_of, text_frame
from .messages import BadCommand, NotACommand, NotAuthenticated, decode_command, encode_answer
from .requests import sender
from .socket_outlet import CLOSING, SocketOutlet

logger = logging.getLogger("eventbus")


class WebSocketApi:
    """Takes connections, and closes them all in the end.

    Args:
        admission: Says who may come in, and lets them.
        authorization: Tells services by their headers.
        cors: Whose pages may connect.
        settings: Limits.
    """

    def __init__(self, *, admission: Admission, authorization: Authorization, cors: Cors, settings: Settings) -> None:
        self.admission = admission
        self._authorization = authorization
        self.settings = settings
        self._cors = cors
        self.seats, self._strangers = Seats(settings.max_connections), Strangers(settings.client_rate)
        self._connections: dict[Connection, asyncio.Task[None]] = {}
        self._draining = False

    async def connect(self, request: web.Request) -> web.StreamResponse:
        """GET /ws: shake hands, and speak with the other side until one of both hangs up, which is not waited for."""
        self._cors.check(request.headers)
        # Earlier answers to this connection go first: aiohttp would be told when they have gone, and we would not.
        await request.writer.drain()  # from here on nothing is awaited: the connection is aiohttp's, or ours
        if self._draining:
            raise Stopping("the bus is stopping; connect again")
        host = sender(request, trusted_proxies=self.settings.trusted_proxies)
        seat = self.seats.take(
            host, service=self._authorization.is_service(request.headers.getall("Authorization", []))
        )
        protocol = WebSocketProtocol(None if seat.service else self._strangers.connected(host))
        try:
            transport = upgrade(request, protocol)
        except Exception:
            self.seats.leave(seat)
            raise
        connection = Connection(self, transport, protocol, host, seat)
        self._connections[connection] = asyncio.create_task(self._run(connection, seat))
        return web.Response()  # to nobody: what there is to say was said

    async def _run(self, connection: Connection, seat: Seat) -> None:
        try:
            await connection.run()
        finally:
            del self._connections[connection]
            self.seats.leave(seat)

    async def keep_beating(self) -> None:
        """Ask everybody for a sign of life, for ever, and cut off those who give none."""
        while True:
            await asyncio.sleep(self.settings.heartbeat)
            for connection in list(self._connections):
                connection.beat()

    async def close_all(self) -> None:
        """Close every connection together, with 1012; take no new ones."""
        self._draining = True
        for connection in self._connections:
            connection.outlet.close(Close.RESTART, "the bus is stopping")
        if self._connections:
            await asyncio.wait(self._connections.values(), timeout=CLOSING)


class Connection:
    """One socket: first unknown, then a client's or a service's.

    Args:
        api: The parts it works with.
        transport: What is sent goes there.
        protocol: What comes is read there.
        host: Where the other side is.
        seat: Where it sits.
    """

    def __init__(
        self, api: WebSocketApi, transport: asyncio.Transport, protocol: WebSocketProtocol, host: str, seat: Seat
    ) -> None:
        self._api = api
        self._host = host
        self._seat = seat
        self._protocol = protocol
        self.outlet = SocketOutlet(transport, protocol.drained, send_buffer=api.settings.send_buffer)
        self._delivery: AbstractContextManager[Member | None] | None = None  # begins once it is known who is there
        self._member: Member | None = None

    async def run(self) -> None:
        """Obey commands until the connection ends."""
        await self._obey_all()
        # One who hung up is answered; one who was told to go is heard out, so that it reads why.
        self.outlet.close(Close.NORMAL)
        async for _ in self._protocol.messages():
            pass
        self.outlet.hang_up()

    def beat(self) -> None:
        """Ask for a sign of life."""
        self._protocol.expect_pong()
        self.outlet.beat()

    async def _obey_all(self) -> None:
        incoming = self._protocol.messages()
        try:
            async with asyncio.timeout(self._api.settings.identify_timeout) as until_known:
                await self._obey_until_known(incoming, until_known)
            if self._delivery:  # nothing was awaited since the answer named a position, so no event slips through
                with self._delivery as self._member:
                    async for message in incoming:
                        await self._obey(message)
                    self.outlet.hear_goodbye(self._protocol.goodbye)
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
            self.outlet.send(pong_frame(message.data))
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
                admitted = await self._api.admission.identify(command, host=self._host)
                self.outlet.bound_as_client()
                self._let_in(admitted)
            case messages.Authenticate():
                await self._authenticate(command)

    async def _authenticate(self, command: messages.Authenticate) -> None:
        try:
            self._let_in(await self._api.admission.authenticate(command))
            self._api.seats.give_to_service(self._seat)
            self._protocol.trust()
        except NoRight as refusal:
            self._answer(NotAuthenticated(error=refusal.detail))
            self.outlet.close(Close.WRONG_CREDENTIALS, "wrong credentials")

    def _let_in(self, admitted: Admitted) -> None:
        self._answer(admitted.answer)
        self._delivery = admitted.join(self.outlet)

    def _answer(self, answer: messages.Answer) -> None:
        self.outlet.send(text_frame(encode_answer(answer)))
