"""What a server needs of the edges to answer some requests itself, past aiohttp."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from aiohttp import web

from ..limits.hosts import Network
from .cors import Cors
from .guard import Guard
from .handshake import Handshakes
from .http_api import HttpApi


@dataclass(frozen=True, slots=True, kw_only=True)
class Edges:
    """The parts of an app that answer requests.

    Attributes:
        guard: Whom the bus hears at all.
        cors: Makes headers for browsers.
        http: Publishes.
        handshakes: Opens WebSockets.
        max_body: Largest request body, in bytes.
        proxies: Where web servers may stand that speak for others.
    """

    guard: Guard
    cors: Cors
    http: HttpApi
    handshakes: Handshakes
    max_body: int
    proxies: Collection[Network]


EDGES = web.AppKey("EDGES", Edges)
"""An app's."""
