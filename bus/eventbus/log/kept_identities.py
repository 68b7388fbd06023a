"""The identities of clients, kept in the log: which addresses were given out, and until when they live."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping

from ..identities import TOKEN_PREFIX, address_of, new_token
from ..problems import LogUnavailable
from . import Log

logger = logging.getLogger("eventbus")

_REMEMBERED = 100_000  # bounds memory, not the number of identities


class KeptIdentities:
    """The addresses that were given out, each with its expiry; tokens are never stored.

    Args:
        log: Keeps them.
        lifetime: Seconds that an identity lives after its last use.
        is_connected: Has an address an open socket? Then its identity lives, wherever the clock leaps to.
        clock: Seconds, such as `Ages.now`: one that leapt would end all identities at once.
    """

    def __init__(
        self,
        log: Log,
        *,
        lifetime: float,
        clock: Callable[[], float],
        is_connected: Callable[[str], bool] = lambda _: False,
    ) -> None:
        self._log = log
        self._lifetime = lifetime
        self._is_connected = is_connected
        self._clock = clock
        self._expiries: dict[str, float] = {}  # what the log said lately: it is asked at each publish

    @property
    def refresh_every(self) -> float:
        """Seconds between two refreshes of an identity in use: a tenth of its life, so that few events write one."""
        return self._lifetime / 10

    async def issue(self) -> str:
        """Make an identity, and return its token once its address is durable."""
        token = new_token()
        await self.refresh([address_of(token)])
        return token

    async def use(self, token: str) -> str | None:
        """Return the address of this token's identity, which lives on from now; None if there is none, or no more."""
        if not token.startswith(TOKEN_PREFIX):
            return None
        address = address_of(token)
        left = await self._expiry(address) - self._clock()
        lives = left > 0 or self._is_connected(address)
        if lives and left < self._lifetime + self.refresh_every:
            await self.refresh([address])
        return address if lives else None

    async def refresh(self, addresses: Iterable[str]) -> bool:
        """Let these live from now on, as they are in use; forget a few that expired, and tell if there may be more."""
        # One that comes soon after this is not refreshed, and its socket may close just before the next refresh of all:
        # it has `refresh_every` twice, to live for a whole lifetime after that.
        expiries = dict.fromkeys(addresses, self._clock() + self._lifetime + 2 * self.refresh_every)
        more = await self._log.keep_identities(expiries, now=self._clock())
        self._remember(expiries)
        return more

    async def keep_refreshing(self, addresses: Callable[[], Iterable[str]]) -> None:
        """Refresh those in use for ever, so that no identity expires under an open socket; forget all that expired."""
        while True:
            await asyncio.sleep(self.refresh_every)
            try:
                more = await self.refresh(addresses())
                while more:
                    more = await self.refresh([])
            except LogUnavailable as problem:
                logger.error("identities wait for their next turn: %s", problem.detail)  # noqa: TRY400 - one line

    async def _expiry(self, address: str) -> float:
        if address not in self._expiries:
            self._remember({address: await self._log.identity_expiry(address)})
        return self._expiries[address]

    def _remember(self, expiries: Mapping[str, float]) -> None:
        if len(self._expiries) > _REMEMBERED:
            self._expiries.clear()
        self._expiries.update(expiries)
