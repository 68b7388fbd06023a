"""How much of what comes in may be held at a time, so that requests cannot fill the memory."""

from __future__ import annotations

from contextlib import AbstractContextManager
from functools import lru_cache
from weakref import WeakValueDictionary

from ..problems import Overloaded
from ..routing import Service
from .hosts import places_of

MAX_HELD = 64 * 1024 * 1024
"""Bytes of requests that services may have under way together, and as many that all others may."""

SMALL = 64 * 1024
"""Bytes up to which a request is small."""

SHARE_OF_THE_LARGE = 0.75
"""The rest is kept for small requests, so that they pass beside large ones."""

SHARE_OF_A_HOST = 1 / 8
"""Of the bytes that all but services may have under way."""

SHARE_OF_A_SITE = 0.5
"""More may all hosts of a site not have, however many they are."""


class RequestBytes:
    """What all requests hold. Services have a budget apart; of the other one a host has a share.

    Anybody at all can begin to send a body and never end.
    """

    def __init__(self) -> None:
        self._of_services = Budget(MAX_HELD)
        self._of_others = Budget(MAX_HELD, share=SHARE_OF_A_HOST)

    def hold(self, service: Service | None, *, host: str) -> Hold:
        """Count the bytes of a request, as they come, until the block is left."""
        return (self._of_services if service else self._of_others).hold(host=host)


class Budget:
    """Counts the bytes of requests from when they have come until they are answered; what is announced holds nothing.

    Args:
        limit: Bytes that may be held at a time.
        share: The part of them that one host may have.
    """

    def __init__(self, limit: int, *, share: float = 1.0) -> None:
        self._limit = limit
        self._share = share
        self._all = _Account(limit)
        self._accounts: WeakValueDictionary[str, _Account] = WeakValueDictionary()  # of each place that is in use
        self._of_hosts = lru_cache(maxsize=1024)(self._open)  # for each request of a host they are the same

    def hold(self, *, host: str) -> Hold:
        """Count a host's bytes, as they come, until the block is left."""
        return Hold(self._of_hosts(host))

    def _open(self, host: str) -> list[_Account]:
        """Find or make the accounts for which a host counts."""
        accounts = [self._all]
        for place, hosts in places_of(host):
            share = self._share if hosts == 1 else max(self._share, min(hosts * self._share, SHARE_OF_A_SITE))
            accounts.append(self._accounts.setdefault(place, _Account(self._limit * share)))
        return accounts


class Hold(AbstractContextManager["Hold"]):
    """What one request holds. By hand, as every request makes one: a generator takes three times as long."""

    __slots__ = ("_accounts", "_held")

    def __init__(self, accounts: list[_Account]) -> None:
        self._accounts = accounts
        self._held = 0

    def grow(self, more: int) -> None:
        """Count so many bytes that have come. What is larger than the limit passes alone.

        Raises:
            Overloaded: They are too many beside those of others, in all or for this host.
        """
        held = self._held
        size = held + more
        for account in self._accounts:
            others = account.held - held
            large = account.large - held if held > SMALL else account.large
            is_full = others and others + size > account.limit
            if is_full or (size > SMALL and large and large + size > account.limit * SHARE_OF_THE_LARGE):
                raise Overloaded("more is being published than the bus can hold; send it again later, with the same id")
        self._hold(size)

    def _hold(self, size: int) -> None:
        held, self._held = self._held, size
        for account in self._accounts:
            account.held += size - held
        if size > SMALL or held > SMALL:
            large = _if_large(size) - _if_large(held)
            for account in self._accounts:
                account.large += large

    def __exit__(self, *_: object) -> None:
        self._hold(0)


class _Account:
    """What the requests of a place hold, and may hold; a part of it is held by large ones."""

    __slots__ = ("__weakref__", "held", "large", "limit")

    def __init__(self, limit: float) -> None:
        self.limit = limit
        self.held = 0
        self.large = 0


def _if_large(size: int) -> int:
    return size if size > SMALL else 0
