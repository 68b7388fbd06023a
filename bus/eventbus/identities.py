"""Who a client is: a secret token, given once, and the public address derived from it.

Whoever sees an event sees the address, and can answer it; only who holds the token can speak as the client.
"""

from __future__ import annotations

import hashlib
import secrets
from typing import Protocol

TOKEN_PREFIX = "token-"  # noqa: S105 - the prefix is no secret
ADDRESS_PREFIX = "client-"


def new_token() -> str:
    """Make a client's secret: 256 random bits."""
    return TOKEN_PREFIX + secrets.token_urlsafe(32)


def address_of(identifier: str) -> str:
    """Turn a token into its address; an address, and whatever is neither, stays as it is."""
    if not identifier.startswith(TOKEN_PREFIX):
        return identifier
    return ADDRESS_PREFIX + hashlib.sha256(identifier.encode()).hexdigest()[:32]


class Identities(Protocol):
    """The identities that were given out and live."""

    async def use(self, token: str) -> str | None:
        """Return the address of this token's identity, which lives on from now; None if there is none, or no more."""
