"""Publishing an event, so that it is in the bus's log once, whatever happens to single requests."""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
from functools import partial

import aiohttp

from .answers import Event
from .backoff import Backoff
from .reasons import one_line, reason

logger = logging.getLogger(__name__)

# Seconds after which a request has failed.
TIMEOUT = 10.0
# Seconds for which the bus is left alone at most, whatever it asks for: answers wait meanwhile.
LONGEST_PAUSE = 60.0
# After any answer but 200 it is not known that the event was added. After these another attempt may go better; after
# all others it will not.
TRY_AGAIN = frozenset({408, 429, *range(500, 600)})


class NotAdded(Exception):
    """It is not known that the bus added the event this time.

    Attributes:
        seconds: How long the bus asks to be left alone.
    """

    def __init__(self, reason: str, *, seconds: float = 0.0) -> None:
        super().__init__(reason)
        self.seconds = seconds


class Publisher:
    """Publishes events over HTTP in the name of the service whose token the session carries."""

    def __init__(self, http: aiohttp.ClientSession, url: str, backoff: Backoff) -> None:
        self._http = http
        self._url = url
        self._backoff = backoff

    async def publish(self, event: Event) -> bool:
        """Try until the bus has added the event, or says that it never will; tell which.

        The event carries its id, so the bus knows a repeated attempt from a second event.
        """
        for attempt in itertools.count():
            try:
                return await self._post(event)
            except (NotAdded, aiohttp.ClientError, TimeoutError) as error:
                seconds = _asked_to_wait(error) + self._backoff(attempt)
                logger.warning("publishing %s again in %.1f s because %s", event["name"], seconds, reason(error))
            await asyncio.sleep(seconds)
        raise AssertionError  # pragma: no cover - it counts for ever

    async def _post(self, event: Event) -> bool:
        async with self._http.post(self._url, json=event, allow_redirects=False) as response:
            if response.status in TRY_AGAIN:
                raise NotAdded(f"the bus answered {response.status}", seconds=_retry_after(response))
            if response.status != 200:
                logger.error("%s is dropped: %s", event["name"], await _refusal(response))
                return False
            if not _is_receipt(await response.read()):
                raise NotAdded("it does not answer as the bus does")
            return True


def open_session(token: str) -> aiohttp.ClientSession:
    """Make the HTTP session that publishes in the name of the service with this token."""
    return aiohttp.ClientSession(
        headers={"Authorization": f"Bearer {token}"},
        timeout=aiohttp.ClientTimeout(total=TIMEOUT),
        json_serialize=partial(json.dumps, ensure_ascii=False),  # escaped, a context could outgrow the largest event
    )


def _is_receipt(body: bytes) -> bool:
    """Whether this is the bus's word that it added the event: what stands in its place may say 200, too."""
    try:
        receipt = json.loads(body)
    except (ValueError, RecursionError):
        return False
    return isinstance(receipt, dict) and isinstance(receipt.get("seq"), int)


def _asked_to_wait(error: Exception) -> float:
    return error.seconds if isinstance(error, NotAdded) else 0.0


def _retry_after(response: aiohttp.ClientResponse) -> float:
    """Read the header in its usual form, a whole number of seconds; the other one, a date, is worth a usual wait."""
    value = response.headers.get("Retry-After", "")
    return min(float(value), LONGEST_PAUSE) if value.isascii() and value.isdigit() else 0.0


async def _refusal(response: aiohttp.ClientResponse) -> str:
    text = await response.text(errors="replace")
    return f"the bus answered {response.status} {one_line(text[:500])}"
