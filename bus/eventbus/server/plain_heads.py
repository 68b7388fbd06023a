"""The heads of plain requests to publish: read once, and known again by comparing bytes."""

from __future__ import annotations

from dataclasses import dataclass

from aiohttp.http import HttpVersion11

from ..edges.parts import Edges
from ..edges.refusals import header_lines
from ..problems import Problem
from ..routing import Service
from .aiohttp_inside import parse_head

MAX_HEADS = 1024
"""Heads that are known; above that, all are forgotten."""

MAX_HEAD = 2048
"""Bytes of a head that is worth knowing."""

_CHANGE_THE_MEANING = ("Transfer-Encoding", "Content-Encoding", "Expect", "Upgrade", "TE", "Trailer")


@dataclass(frozen=True, slots=True)
class PlainHead:
    """What the head of a plain request says.

    Attributes:
        path: Where it goes.
        length: Bytes of the body.
        service: Who publishes; None for a client.
        forwarded: The ``X-Forwarded-For`` headers.
        headers: Of any answer.
    """

    path: str
    length: int
    service: Service | None
    forwarded: list[str]
    headers: bytes


class PlainHeads:
    """Those that came lately.

    Args:
        edges: Who judges them.
    """

    def __init__(self, edges: Edges) -> None:
        self._edges = edges
        self._heads: dict[bytes, PlainHead | None] = {}

    def find(self, block: bytes) -> PlainHead | None:
        """Tell what a request's head says, up to and with its empty line; None if it is not plain."""
        try:
            return self._heads[block]
        except KeyError:
            pass
        if len(block) > MAX_HEAD:
            return None
        if len(self._heads) >= MAX_HEADS:
            self._heads.clear()
        head = self._heads[block] = self._parse(block)
        return head

    def _parse(self, block: bytes) -> PlainHead | None:
        message = parse_head(block)
        if message is None or message.version != HttpVersion11 or message.should_close:
            return None
        headers = message.headers
        lengths = headers.getall("Content-Length", [])
        length = int(lengths[0]) if len(lengths) == 1 else 0
        if (
            message.method != "POST"
            or message.path not in ("/", "/events")
            or any(name in headers for name in _CHANGE_THE_MEANING)
            or not 0 < length <= self._edges.max_body
        ):
            return None
        try:
            service = self._edges.http.publisher(headers)
            self._edges.guard.check(headers, method="POST")
        except Problem:
            return None
        answer = self._edges.cors.headers(headers)
        forwarded = headers.getall("X-Forwarded-For", [])
        return PlainHead(message.path, length, service, forwarded, header_lines(answer))
