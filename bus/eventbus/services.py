"""Who a service is: the one that holds a token, which is looked up in constant time."""

from __future__ import annotations

import hmac
from collections.abc import Mapping, Sequence

from .routing import Service


class Services:
    """The services that may connect, each under its secret token.

    Args:
        by_token: Each service under its token.
    """

    def __init__(self, by_token: Mapping[str, Service]) -> None:
        self._by_token = [(_encode(token), service) for token, service in by_token.items()]

    def with_token(self, token: str) -> Service | None:
        """Find the service that has this token; takes the same time whichever it is."""
        given = _encode(token)
        found = None
        for known, service in self._by_token:
            if hmac.compare_digest(known, given):
                found = service
        return found

    def with_header(self, values: Sequence[str]) -> Service | None:
        """Find the service by its Authorization header: ``TOKEN``, as in 2014, or ``Bearer TOKEN`` (RFC 6750, 2.1)."""
        authorization = values[0] if len(values) == 1 else ""
        scheme, _, rest = authorization.partition(" ")
        return self.with_token(rest.strip() if scheme.lower() == "bearer" else authorization)


def _encode(token: str) -> bytes:
    """Take a token back to bytes; those from the environment or a header need not have been UTF-8."""
    return token.encode(errors="surrogateescape")
