"""A connection to the bus, on which the service has said who it is."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from .config import Settings
from .reasons import one_line

logger = logging.getLogger(__name__)

# Seconds after which an attempt to connect or to authenticate has failed.
TIMEOUT = 10.0
# Seconds that the bus has to hang up, too.
CLOSE_SECONDS = 1.0
# The bus closes with this code when the credentials are wrong, or the service may not do what it tried.
NOT_ALLOWED = 4403


class NotAllowed(Exception):
    """The bus does not accept this service. Trying again is no use: its settings must be changed."""


class DirectConnect(connect):
    """Connects to the address that it is given. Where a redirect leads, nobody may learn the token."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        """Give what is raised instead of following; websockets calls this for whatever keeps it from connecting."""
        if isinstance(exc, InvalidStatus) and (places := exc.response.headers.get_all("Location")):
            return ConnectionError(f"it redirects to {places[0][:200]}, and the token is not for whoever is there")
        return exc


@asynccontextmanager
async def connected(settings: Settings, **wishes: object) -> AsyncIterator[tuple[ClientConnection, str]]:
    """Connect and authenticate; give the socket and the epoch of the bus's log.

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
        # While a service has enough to do, no pongs are read: the bus does the heartbeat. Our pings go on, for without
        # them a service that only listens would never learn that the bus's machine is gone.
        ping_timeout=None,
        max_size=None,  # the bus bounds an event; a smaller bound here would only break the connection
        proxy=None,  # as for publishing
    ) as socket:
        with _refusal_by_close_code():
            answer = await _authenticate(socket, settings.token, wishes)
            logger.info('connected to %s as "%s"', settings.eventbus_url, answer.get("service"))
            if answer.get("gap"):
                logger.warning("events are lost: the bus has let them go; it goes on with #%s", answer.get("oldest"))
            with _file_while_connected(settings.connected_file):
                yield socket, answer["epoch"]


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


@contextmanager
def _refusal_by_close_code() -> Iterator[None]:
    try:
        yield
    except ConnectionClosed as error:
        if error.rcvd is not None and error.rcvd.code == NOT_ALLOWED:
            raise NotAllowed(one_line(error.rcvd.reason)) from error
        raise


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
