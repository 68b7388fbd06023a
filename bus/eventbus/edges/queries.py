"""What stands behind a request's question mark."""

from __future__ import annotations

from aiohttp import web

from ..patterns import Patterns
from ..problems import AnotherLog, BadParameter


def names_within(request: web.Request, subscribed: Patterns) -> Patterns:
    """Read ``name=PATTERN``, which narrows what a service may read.

    Raises:
        BadParameter: It is no pattern.
    """
    if "name" not in request.query:
        return subscribed
    try:
        return Patterns([request.query["name"]], within=subscribed)
    except ValueError as error:
        raise BadParameter(f"name={request.query['name']}: {error}") from None


def check_epoch(request: web.Request, epoch: str) -> None:
    """Compare ``epoch=NAME``, if it is there, with the log's.

    Raises:
        AnotherLog: It is not the same.
    """
    asked = request.query.get("epoch", epoch)
    if asked != epoch:
        raise AnotherLog(f"epoch={asked}: the log is {epoch} now, where positions mean something else")


def whole_number(request: web.Request, name: str, default: int) -> int:
    """Read ``name=NUMBER``.

    Raises:
        BadParameter: It is no whole number of at most 18 digits.
    """
    value = request.query.get(name, str(default))
    if not (value.isascii() and value.isdigit() and len(value) <= 18):
        raise BadParameter(f"{name}={value}: expected a whole number, 0 or more")
    return int(value)
