"""The one place where a refusal becomes an HTTP answer: ``application/problem+json`` (RFC 9457).

    NotJson, BadParameter    400
    NoRight                  401, WWW-Authenticate
    NotAllowed               403
    TooSlow                  408
    AnotherLog               409
    TooLarge                 413
    NotAnEvent               422
    WrongVersion             426, Sec-WebSocket-Version
    TooFast                  429, Retry-After
    HeadTooLarge             431
    Defect                   500
    Unavailable              503, Retry-After

A handler raises, and `answer_problems` answers. Below the web server, `raw_refusal` writes the answer's bytes.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from http import HTTPStatus
from types import MappingProxyType

import msgspec
from aiohttp import web
from aiohttp.typedefs import Handler

from ..problems import (
    AnotherLog,
    BadParameter,
    NoRight,
    NotAllowed,
    NotAnEvent,
    NotJson,
    Problem,
    TooFast,
    TooLarge,
    TooManyChunks,
    TooSlow,
    Unavailable,
)

OF_ALL_ANSWERS = MappingProxyType({"Server": "eventbus", "X-Content-Type-Options": "nosniff"})
"""Headers: no version, which is nobody's business, and no guessing at what an answer holds."""

MOST_SAID = 200
"""Characters of what the parser says, which may repeat what came."""

RETRY_AFTER = 1
"""Seconds after which a request is worth another try that was refused because the bus was unavailable."""

logger = logging.getLogger("eventbus")


class WrongVersion(Problem):
    """A handshake for another version of WebSocket (RFC 6455, 4.4)."""


class HeadTooLarge(Problem):
    """The head of a request is larger than the limit."""


class Defect(Problem):
    """The bus is wrong, not the request; whether anything was added is not known."""

    def __init__(self) -> None:
        super().__init__("a defect of the bus; its log tells more")


ANSWERS: Mapping[type[Problem], tuple[HTTPStatus, str]] = {
    NotJson: (HTTPStatus.BAD_REQUEST, "The body is not JSON"),
    BadParameter: (HTTPStatus.BAD_REQUEST, "Bad parameter"),
    NoRight: (HTTPStatus.UNAUTHORIZED, "Authorization required"),
    NotAllowed: (HTTPStatus.FORBIDDEN, "Not allowed"),
    TooSlow: (HTTPStatus.REQUEST_TIMEOUT, "Too slow"),
    AnotherLog: (HTTPStatus.CONFLICT, "Another log"),
    TooLarge: (HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "Too large"),
    NotAnEvent: (HTTPStatus.UNPROCESSABLE_ENTITY, "Not an event"),
    WrongVersion: (HTTPStatus.UPGRADE_REQUIRED, "Upgrade required"),
    TooFast: (HTTPStatus.TOO_MANY_REQUESTS, "Too fast"),
    HeadTooLarge: (HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "Head too large"),
    Defect: (HTTPStatus.INTERNAL_SERVER_ERROR, "Internal Server Error"),
    Unavailable: (HTTPStatus.SERVICE_UNAVAILABLE, "Unavailable"),
}
"""The status and the title of each kind of refusal, and of the kinds below it."""


@web.middleware
async def answer_problems(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn whatever a handler raises into ``application/problem+json`` (RFC 9457)."""
    try:
        return await handler(request)
    except Problem as problem:
        status, title = _answer_to(problem)
        return _response(status, title, problem.detail, _headers_of(problem))
    except web.HTTPException as error:  # aiohttp's own, such as 404 and 405
        status = HTTPStatus(error.status)
        headers = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else {}
        missing = f"{request.method} {request.path} is not to be had here"
        return _response(status, status.phrase, missing if status in (404, 405) else str(error.text), headers)
    except ConnectionError:
        raise  # the other side hung up: nobody is left to answer, and `server.running` keeps it out of the log
    except Exception:
        logger.exception("a defect of the bus, while it handled %s %r", request.method, request.path)
        return _response(*_answer_to(Defect()), Defect().detail, {})


class ProblemHandler(web.RequestHandler):
    """aiohttp's side of a connection, which answers what is no HTTP as a problem, too; its own answer is plain text."""

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer what never came to a handler."""
        super().handle_error(request, status, exc, message)
        kind = HTTPStatus(status)
        said, *_ = (message or kind.description).strip().splitlines()
        answer = _response(kind, kind.phrase, f"this is no HTTP (RFC 9112): {said[:MOST_SAID]}", OF_ALL_ANSWERS)
        answer.force_close()
        return answer


def raw_refusal(problem: Problem, headers: bytes) -> bytes:
    """Write a whole HTTP answer, for those who speak below the web server (RFC 9112, 4).

    Args:
        problem: Why.
        headers: More of them, each with its line's end.
    """
    status, title = _answer_to(problem)
    body = problem_json(status=status, title=title, detail=problem.detail)
    own = {"Content-Type": "application/problem+json", "Content-Length": str(len(body)), **OF_ALL_ANSWERS}
    first_line = f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode()
    return first_line + header_lines({**own, **_headers_of(problem)}) + headers + b"\r\n" + body


def header_lines(headers: Mapping[str, str]) -> bytes:
    """Write headers, each with its line's end (RFC 9112, 5)."""
    return "".join(f"{name}: {value}\r\n" for name, value in headers.items()).encode()


def problem_json(*, status: HTTPStatus, title: str, detail: str) -> bytes:
    """Write a problem document (RFC 9457, 3); ``about:blank`` says that the status tells the type (4.2.1)."""
    shown = detail.encode(errors="replace").decode()  # it may repeat what came in a header, which is any bytes
    return msgspec.json.encode({"type": "about:blank", "title": title, "status": status.value, "detail": shown})


def _answer_to(problem: Problem) -> tuple[HTTPStatus, str]:
    return next(ANSWERS[kind] for kind in type(problem).__mro__ if kind in ANSWERS)


def _headers_of(problem: Problem) -> Mapping[str, str]:
    match problem:
        case NoRight():
            return {"WWW-Authenticate": "Bearer"}
        case TooFast():
            return {"Retry-After": str(problem.retry_after)}
        case Unavailable():
            return {"Retry-After": str(RETRY_AFTER)}
        case WrongVersion():
            return {"Sec-WebSocket-Version": "13", "Upgrade": "websocket", "Connection": "Upgrade"}
        case TooManyChunks():
            return {"Connection": "close"}
        case _:
            return {}


def _response(status: HTTPStatus, title: str, detail: str, headers: Mapping[str, str]) -> web.Response:
    body = problem_json(status=status, title=title, detail=detail)
    return web.Response(status=status, body=body, content_type="application/problem+json", headers=headers)
