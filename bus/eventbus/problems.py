"""The refusals, and the one place that turns them into ``application/problem+json`` (RFC 9457).

    Problem
    ├── NotJson              400
    ├── BadParameter         400
    ├── NoRight              401
    ├── NotAllowed           403
    ├── TooSlow              408
    ├── AnotherLog           409
    ├── TooLarge             413
    ├── NotAnEvent           422
    ├── WrongVersion         426, Sec-WebSocket-Version
    ├── TooFast              429, Retry-After
    ├── HeadTooLarge         431
    ├── Defect               500
    └── Unavailable          503, Retry-After

Each is raised where it is known; no handler builds an error reply.
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from types import MappingProxyType
from typing import ClassVar

import msgspec

OF_ALL_ANSWERS = MappingProxyType({"Server": "eventbus", "X-Content-Type-Options": "nosniff"})
"""Headers: no version, which is nobody's business, and no guessing at what an answer holds."""


class Problem(Exception):
    """Why a request was refused; nothing is known to have been added to the log.

    Args:
        detail: What was wrong, with which value, and what to do: one sentence for a person.
    """

    status: ClassVar[HTTPStatus]
    title: ClassVar[str]
    headers: Mapping[str, str] = MappingProxyType({})

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


class NotJson(Problem):
    """The body is not JSON."""

    status = HTTPStatus.BAD_REQUEST
    title = "The body is not JSON"


class BadParameter(Problem):
    """A value in the query cannot be understood."""

    status = HTTPStatus.BAD_REQUEST
    title = "Bad parameter"


class NoRight(Problem):
    """Neither a service's token in the Authorization header nor a client's in the context."""

    status = HTTPStatus.UNAUTHORIZED
    title = "Authorization required"
    headers = MappingProxyType({"WWW-Authenticate": "Bearer"})


class NotAllowed(Problem):
    """The publisher is known, but may not do this."""

    status = HTTPStatus.FORBIDDEN
    title = "Not allowed"


class TooSlow(Problem):
    """The body did not come in time."""

    status = HTTPStatus.REQUEST_TIMEOUT
    title = "Too slow"


class AnotherLog(Problem):
    """A position in a log that is not this one."""

    status = HTTPStatus.CONFLICT
    title = "Another log"


class TooLarge(Problem):
    """The body or the event is larger than the limit."""

    status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    title = "Too large"


class NotAnEvent(Problem):
    """The body is JSON, but not an event."""

    status = HTTPStatus.UNPROCESSABLE_ENTITY
    title = "Not an event"


class WrongVersion(Problem):
    """A handshake for another version of WebSocket (RFC 6455, 4.4)."""

    status = HTTPStatus.UPGRADE_REQUIRED
    title = "Upgrade required"
    headers = MappingProxyType({"Sec-WebSocket-Version": "13", "Upgrade": "websocket", "Connection": "Upgrade"})


class TooFast(Problem):
    """A client publishes more than it may.

    Args:
        detail: As for every problem.
        retry_after: Seconds after which it would pass.
    """

    status = HTTPStatus.TOO_MANY_REQUESTS
    title = "Too fast"

    def __init__(self, detail: str, *, retry_after: int) -> None:
        super().__init__(detail)
        self.headers = {"Retry-After": str(retry_after)}


class Defect(Problem):
    """The bus is wrong, not the request; whether anything was added is not known."""

    status = HTTPStatus.INTERNAL_SERVER_ERROR
    title = "Internal Server Error"

    def __init__(self) -> None:
        super().__init__("a defect of the bus; its log tells more")


class HeadTooLarge(Problem):
    """The head of a request is larger than the limit."""

    status = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
    title = "Head too large"


class Unavailable(Problem):
    """The log cannot take events now, or the bus is draining: come back later."""

    status = HTTPStatus.SERVICE_UNAVAILABLE
    title = "Unavailable"
    headers = MappingProxyType({"Retry-After": "1"})


def raw_refusal(problem: Problem, headers: bytes) -> bytes:
    """Write a whole HTTP answer, for those who speak below the web server (RFC 9112, 4).

    Args:
        problem: Why.
        headers: More of them, each with its line's end.
    """
    body = problem_json(status=problem.status, title=problem.title, detail=problem.detail)
    own = {"Content-Type": "application/problem+json", "Content-Length": str(len(body)), **OF_ALL_ANSWERS}
    status = f"HTTP/1.1 {problem.status.value} {problem.status.phrase}\r\n".encode()
    return status + header_lines({**own, **problem.headers}) + headers + b"\r\n" + body


def header_lines(headers: Mapping[str, str]) -> bytes:
    """Write headers, each with its line's end (RFC 9112, 5)."""
    return "".join(f"{name}: {value}\r\n" for name, value in headers.items()).encode()


def problem_json(*, status: HTTPStatus, title: str, detail: str) -> bytes:
    """Write a problem document (RFC 9457, 3); ``about:blank`` says that the status tells the type (4.2.1)."""
    shown = detail.encode(errors="replace").decode()  # it may repeat what came in a header, which is any bytes
    return msgspec.json.encode({"type": "about:blank", "title": title, "status": status.value, "detail": shown})
