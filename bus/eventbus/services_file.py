"""The services file: which services there are, and the token that proves to be one of them."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

from .environment import ConfigError
from .patterns import EVERYTHING, Patterns
from .routing import Service
from .services import Services

logger = logging.getLogger("eventbus")

RESERVED_NAMES = ("client", "eventbus")  # an event's source says these of other publishers
WELL_KNOWN_TOKEN = "workshop-only"  # noqa: S105 - everybody knows it; the bus warns while it is in use
MAKE_A_TOKEN = "python3 -c 'import secrets; print(secrets.token_hex())'"  # noqa: S105 - a command


class _Entry(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """One service as the file writes it; a misspelt key must not give rights, so unknown ones are refused."""

    name: str
    token: str
    publish: list[str] = msgspec.field(default_factory=lambda: ["*"])
    subscribe: list[str] = msgspec.field(default_factory=lambda: ["*"])
    watch: bool = False  # part of the file's form; nothing reads these two yet
    faults: bool = False


def load_services(path: str, environ: Mapping[str, str], *, reached_by_others: str = "") -> Services:
    """Read the services file.

    Args:
        path: A JSON list; ``${VAR}`` in a token is read from `environ`.
        environ: Such as ``os.environ``.
        reached_by_others: The setting that lets other machines reach the bus, as ``"NAME=value"``: then the token that
            everybody knows is refused.

    Raises:
        ConfigError: It cannot be read, or is not a services file; says which entry is wrong, and why.
    """
    try:
        entries = msgspec.json.decode(Path(path).read_bytes(), type=list[_Entry])
    except OSError as error:
        raise ConfigError(f"EVENTBUS_SERVICES={path}: {error.strerror}; name a services file") from None
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ConfigError(f"EVENTBUS_SERVICES={path}: this is not a services file: {error}") from None
    try:
        services = Services(dict(_services(entries, environ)))
    except ValueError as error:
        raise ConfigError(f"EVENTBUS_SERVICES={path}: {error}") from None
    if service := services.with_token(WELL_KNOWN_TOKEN):
        _look_at_the_known_token(service.name, reached_by_others)
    return services


def _look_at_the_known_token(name: str, reached_by_others: str) -> None:
    if reached_by_others:
        raise ConfigError(
            f"{reached_by_others}: others can reach the bus, and everybody knows the token {WELL_KNOWN_TOKEN!r} of "
            f"{name!r}; make another, {MAKE_A_TOKEN}, or say EVENTBUS_ALLOW_WORKSHOP_TOKEN=on if they cannot"
        )
    warning = "service %r uses the token %r, which everybody knows: fine on your machine, else set another"
    logger.warning(warning, name, WELL_KNOWN_TOKEN)


def _services(entries: list[_Entry], environ: Mapping[str, str]) -> Iterator[tuple[str, Service]]:
    names, tokens = set(RESERVED_NAMES), set[str]()
    for entry in entries:
        if not entry.name.isprintable() or not entry.name.strip() or entry.name in names:
            raise ValueError(f"the name {entry.name!r} is empty, reserved or used twice; each service needs its own")
        names.add(entry.name)
        token = _fill_in(entry, environ)
        if token is None:
            continue
        if not token.strip() or token in tokens:
            raise ValueError(f"the token of {entry.name!r} is empty or used twice; each service needs its own")
        tokens.add(token)
        yield token, _service(entry)


def _fill_in(entry: _Entry, environ: Mapping[str, str]) -> str | None:
    """Return the entry's token with its variables filled in; None if one is not set, which switches the entry off."""
    variables = re.findall(r"\$\{(\w+)\}", entry.token)
    if "$" in re.sub(r"\$\{\w+\}", "", entry.token):
        raise ValueError(f"the token of {entry.name!r} has a $; write a variable as ${{NAME}}, without default")
    for variable in variables:
        if not environ.get(variable, "").strip():
            logger.warning("service %r is switched off: %s is not set", entry.name, variable)
            return None
    return re.sub(r"\$\{(\w+)\}", lambda match: environ[match[1]].strip(), entry.token)


def _service(entry: _Entry) -> Service:
    try:
        return Service(name=entry.name, publish=_patterns(entry.publish), subscribe=_patterns(entry.subscribe))
    except ValueError as error:
        raise ValueError(f"service {entry.name!r}: {error}") from None


def _patterns(texts: list[str]) -> Patterns:
    return EVERYTHING if texts == ["*"] else Patterns(texts)
