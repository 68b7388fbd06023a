"""How fast strangers may open WebSockets and send frames, and how many of their messages are obeyed in one turn.

Strangers are all that have not shown that they are services. Each frame counts the same, be it a whole message or not.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable

from ..problems import TooFast
from .arrivals import BURST, ROUNDING, Arrivals, Wanted, take
from .hosts import places_of
from .publish_rate import CLIENTS_OF_A_HOST

OBEYED_AT_ONCE = 8
"""Messages that are obeyed in one turn of the loop, however many connections they came from."""

BYTES_OF_A_FRAME = 4096
"""So many bytes that come at once count as a frame."""


class Strangers:
    """Counts their frames, for each connection and for each host, whose count outlives its connections.

    Args:
        rate: Frames that a connection may send in a second, and all of a host ten times as many; 0 for no limit.
        clock: Seconds; only goes forward.
    """

    def __init__(self, rate: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = rate
        self._clock = clock
        of_host = rate * CLIENTS_OF_A_HOST
        self._handshakes = Arrivals(of_host, BURST * of_host, "WebSockets a second from your host")
        self._hosts = Arrivals(1, BURST, "seconds of frames a second")
        self._waiting: deque[asyncio.Future[None]] = deque()
        self.most_at_once = rate * BURST if rate else float("inf")

    def connected(self, host: str) -> Stranger:
        """Meet one more, at this host."""
        return Stranger(self, host)

    def enter(self, host: str) -> None:
        """Count a handshake; frames are counted apart, so that a program that sends too many keeps no neighbour out.

        Raises:
            TooFast: Too many come from this host.
        """
        wanted: list[Wanted] = [(self._handshakes, place, 1 / hosts) for place, hosts in places_of(host)]
        take(wanted, now=self._clock(), advice="connect again in {} s")

    def take(self, frames: int, stranger: Stranger) -> float:
        """Count frames that came at once; see `Stranger.take`."""
        if not self._rate or not frames:
            return 0.0
        now, seconds = self._clock(), frames / self._rate
        ahead = max(stranger.due - now, 0.0)
        of_a_host = min(seconds, BURST) / CLIENTS_OF_A_HOST
        wanted = [(place, of_a_host / hosts) for place, hosts in places_of(stranger.host)]
        rest = max(self._hosts.wait(place, each, now) for place, each in wanted)
        if rest <= BURST:  # too many for this connection count, too: it may come back with as many
            for place, each in wanted:
                self._hosts.add(place, each, now)
        elif frames > 1 or ahead:
            raise self._too_fast(rest)
        if ahead + seconds > BURST + ROUNDING:
            raise self._too_fast(ahead)
        stranger.due = now + ahead + seconds
        return min(max(rest, 0.0), BURST)

    def _too_fast(self, wait: float) -> TooFast:
        return TooFast(f"more than {self._rate} frames a second; come back later", retry_after=int(wait) + 1)

    async def turn(self) -> None:
        """Return when the next message of a stranger may be obeyed: each has its turn, and so has everybody else."""
        turn = asyncio.get_running_loop().create_future()
        if not self._waiting:
            asyncio.get_running_loop().call_soon(self._go_on)
        self._waiting.append(turn)
        await turn

    def _go_on(self) -> None:
        for _ in range(min(OBEYED_AT_ONCE, len(self._waiting))):
            turn = self._waiting.popleft()
            if not turn.done():  # its connection may have ended
                turn.set_result(None)
        if self._waiting:
            asyncio.get_running_loop().call_soon(self._go_on)


class Stranger:
    """One connection.

    Args:
        strangers: All of them.
        host: Where it is.

    Attributes:
        host: As above.
        due: When its frames would have come if it had kept to the rate, on the clock of `strangers`.
        pings: Pings of the bus that it has not answered.
    """

    def __init__(self, strangers: Strangers, host: str) -> None:
        self.host = host
        self.due = 0.0
        self.pings = 0
        self.turn = strangers.turn
        self._strangers = strangers
        self._free = 1  # a room behind one address comes back together, and each in it says who it is

    @property
    def most_at_once(self) -> float:
        """Frames; more of them at once are too many in any case."""
        return self._strangers.most_at_once + self.pings + self._free

    def take(self, frames: int, *, pongs: int, size: int) -> float:
        """Count frames that came at once.

        Args:
            frames: How many.
            pongs: How many of them are pongs.
            size: Bytes.

        Returns:
            Seconds for which no more should be read: the host is ahead of its rate, though not this connection.

        Raises:
            TooFast: This connection is too fast, or its host by far.
        """
        answers = min(pongs, self.pings)
        self.pings -= answers
        free = min(frames - answers, self._free)
        self._free -= free
        return self._strangers.take(max(frames - answers - free, size // BYTES_OF_A_FRAME), self)
