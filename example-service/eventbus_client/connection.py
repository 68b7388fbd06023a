"""A connection to the bus, on which the service has said who it is."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.frames import CloseCode

from .config import Settings
from .liveness import MISSED_BEATS, Pulse, watched
from .reasons import one_line

logger = logging.getLogger(__name__)

# Seconds after which an attempt to connect or to authenticate has failed.
TIMEOUT = 10.0
# Seconds that the bus has to hang up, too.
CLOSE_SECONDS = 1.0
# The bus closes with this code when the credentials are wrong, or the service may not do what it tried.
NOT_ALLOWED = 4403
# Seconds between two looks whether the bus lives, if it does not say how often its own heart beats.
HEARTBEAT = 20.0


class NotAllowed(Exception):
    """The bus does not accept this service. Trying again is no use: its settings must be changed."""


class DirectConnect(connect):
    """Connects to the address that it is given. Where a redirect leads, nobody may learn the token."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        """Give what is raised instead of following; websockets calls this for whatever keeps it from connecting."""
        if isinstance(exc, InvalidStatus) and (places := exc.response.headers.get_all("Location")):
            return ConnectionError(f"it redirects to {places[0][:200]}, and the token is not for whoever is there")
        return exc


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """A connection on which the service is known.

    Attributes:
        epoch: The name of the bus's log.
        ack_wait: Seconds within which the bus wants to hear of a question; none if this bus cannot be told that it is
            being worked on.
    """

    _socket: ClientConnection
    _pulse: Pulse
    epoch: str
    ack_wait: float | None

    async def hear(self) -> dict[str, Any]:
        """Wait for a frame: an event, or the answer to a command; that one has an `action`.

        Raises:
            ConnectionError: The bus has been silent for too long.
            ConnectionClosed: It hung up.
        """
        try:
            async with self._pulse.until_silence():
                frame = await self._socket.recv()
        except TimeoutError:
            raise ConnectionError(f"nothing came from it for {MISSED_BEATS} heartbeats") from None
        self._pulse.hear()
        return decode(frame)

    async def say(self, **command: object) -> None:
        """Send a command."""
        await self._socket.send(json.dumps(command))


@asynccontextmanager
async def connected(settings: Settings, **wishes: object) -> AsyncIterator[Connection]:
    """Connect and authenticate.

    Args:
        settings: Where the bus is, and who we are there.
        wishes: Fields of the command `authenticate`.

    Raises:
        NotAllowed: The bus does not accept this service, now or later.
        OSError: There is no connection. A certificate that is not trusted is one.
        WebSocketException: The connection broke, or the other side is no bus.
    """
    async with DirectConnect(
        f"{settings.eventbus_url.replace('http', 'ws', 1)}/ws",
        additional_headers={"Authorization": f"Bearer {settings.token}"},  # some connections are kept for services
        open_timeout=TIMEOUT,
        close_timeout=CLOSE_SECONDS,
        compression=None,  # the bus does not compress, so that one encoding of an event serves every socket
        ping_interval=None,  # `Pulse` does that, as often as the bus wants it
        max_size=None,  # the bus bounds an event; a smaller bound here would only break the connection
        proxy=None,  # as for publishing
    ) as socket:
        with _refusal_by_close_code():
            answer = await _authenticate(socket, settings.token, wishes)
            logger.info('connected to %s as "%s"', settings.eventbus_url, answer.get("service"))
            if answer.get("gap"):
                logger.warning("events are lost: the bus has let them go; it goes on with #%s", answer.get("oldest"))
            ack_wait, heartbeat = _seconds(answer.get("ack_wait")), _seconds(answer.get("heartbeat")) or HEARTBEAT
            with _file_while_connected(settings.connected_file):
                async with _leaving_on_purpose(socket), watched(socket, heartbeat) as pulse:
                    yield Connection(_socket=socket, _pulse=pulse, epoch=answer["epoch"], ack_wait=ack_wait)


def decode(frame: str | bytes) -> dict[str, Any]:
    """Read one frame from the bus: an event, or the answer to a command; that one has an `action`."""
    try:
        decoded = json.loads(frame, parse_int=_whole_number)
    except (ValueError, RecursionError):
        logger.warning("ignored a frame that is not JSON")
        return {}
    return decoded if isinstance(decoded, dict) else {}


async def _authenticate(socket: ClientConnection, token: str, wishes: dict[str, object]) -> dict[str, Any]:
    async with asyncio.timeout(TIMEOUT):
        await socket.send(json.dumps({"action": "authenticate", "credentials": token, **wishes}))
        answer = decode(await socket.recv())
    if answer.get("authenticated") is False:
        raise NotAllowed(one_line(answer.get("error")))
    if "error" in answer:
        raise ConnectionError(f"the bus said: {one_line(answer['error'])}")
    if answer.get("authenticated") is not True or "epoch" not in answer:
        raise ConnectionError("it does not answer as the bus does")
    return answer


@asynccontextmanager
async def _leaving_on_purpose(socket: ClientConnection) -> AsyncIterator[None]:
    """Tell the bus when it is we who end the connection: what we have in hand is not to blame."""
    try:
        yield
    except asyncio.CancelledError:
        await socket.close(CloseCode.GOING_AWAY, "the service stops")
        raise


@contextmanager
def _refusal_by_close_code() -> Iterator[None]:
    try:
        yield
    except ConnectionClosed as error:
        if error.rcvd is not None and error.rcvd.code == NOT_ALLOWED:
            raise NotAllowed(one_line(error.rcvd.reason)) from error
        raise


def _seconds(value: object) -> float | None:
    """Read what the bus says that it is set to; what is no such number says nothing."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < 10**9
    return float(value) if is_number else None  # type: ignore[arg-type]


def _whole_number(digits: str) -> float:
    """Python refuses to read a number of thousands of digits; here such a number is as good as infinity."""
    return int(digits) if len(digits) < 1000 else float(digits)


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
