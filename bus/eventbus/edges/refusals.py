"""The one place where what a handler raises becomes an HTTP answer."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from http import HTTPStatus

from aiohttp import web
from aiohttp.typedefs import Handler

from ..problems import Defect, Problem, problem_json

logger = logging.getLogger("eventbus")


@web.middleware
async def answer_problems(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn whatever a handler raises into ``application/problem+json`` (RFC 9457)."""
    try:
        return await handler(request)
    except Problem as problem:
        return _problem(problem.status, problem.title, problem.detail, problem.headers)
    except web.HTTPException as error:  # aiohttp's own, such as 404 and 405
        status = HTTPStatus(error.status)
        headers = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else {}
        missing = f"{request.method} {request.path} is not to be had here"
        return _problem(status, status.phrase, missing if status in (404, 405) else str(error.text), headers)
    except ConnectionError:
        raise  # the other side hung up: nobody is left to answer, and `serving` keeps it out of the log
    except Exception:
        logger.exception("a defect of the bus, while it handled %s %r", request.method, request.path)
        defect = Defect()
        return _problem(defect.status, defect.title, defect.detail, defect.headers)


def _problem(status: HTTPStatus, title: str, detail: str, headers: Mapping[str, str]) -> web.Response:
    body = problem_json(status=status, title=title, detail=detail)
    return web.Response(status=status, body=body, content_type="application/problem+json", headers=headers)
