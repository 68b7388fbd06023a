"""The environment: reads one variable at a time, and says in one line what is wrong with its value."""

from __future__ import annotations

import difflib
import re
import socket
from collections.abc import Iterator, Mapping
from ipaddress import IPv4Network, IPv6Network, ip_network

from .patterns import Patterns

DEFAULT_PORTS = {"http": 80, "https": 443}
SHORTEST_WAIT = 0.01
"""Seconds; what is done more often than that does nothing else."""


class ConfigError(Exception):
    """A setting or file that the bus cannot start with; its text is one line that says what to change."""


class Environment:
    """Reads one variable at a time, with its default, and says what is wrong with it."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self._known = {"EVENTBUS_CONNECTED_FILE", "EVENTBUS_HANDLER_TIMEOUT"}  # a service's

    def unknown(self) -> Iterator[str]:
        """Name what is set, looks like a setting, and is none that was asked for."""
        for name in sorted(self._environ.keys() - self._known):
            if self._environ[name] and name.startswith(("EVENTBUS_", "HTTP_EVENTBUS_", "HTTP_FILE_SERVER_")):
                [close] = difflib.get_close_matches(name, sorted(self._known), n=1, cutoff=0)
                yield f"{name}: there is no such setting; did you mean {close}?"

    def text(self, name: str, default: str) -> str:
        """Return a value without the space around it; an empty one counts as not set."""
        self._known.add(name)
        return self._environ.get(name, "").strip() or default

    def both(self, name: str, other: str) -> tuple[str, str]:
        """Two that mean nothing without each other."""
        values = self.text(name, ""), self.text(other, "")
        if any(values) and not all(values):
            missing, given = (name, other) if values[1] else (other, name)
            raise ConfigError(f"{missing} is not set, but {given} is: set both, or neither")
        return values

    def host(self, name: str, default: str) -> str:
        """Read a name or an address that this machine knows."""
        value = self.text(name, default).strip("[]")
        try:
            socket.getaddrinfo(value, None)
        except (OSError, UnicodeError):
            raise self._wrong(
                name, value, "this host name does not resolve; use localhost, 0.0.0.0 or an address of this machine"
            ) from None
        return value

    def port(self, name: str, default: int) -> int:
        """Read a port, from 1 to 65535."""
        value = self.text(name, str(default))
        if not re.fullmatch(r"[0-9]{1,5}", value) or not 1 <= int(value) <= 65535:
            raise self._wrong(name, value, "expected a port number from 1 to 65535")
        return int(value)

    def whole_number(self, name: str, default: int, *, unit: str, least: int = 1) -> int:
        """Read a number of what `unit` says."""
        value = self.text(name, str(default))
        if not re.fullmatch(r"[0-9]{1,15}", value) or int(value) < least:
            raise self._wrong(name, value, f"expected a whole number of {unit}, {least} or more")
        return int(value)

    def seconds(self, name: str, default: float, *, or_none: bool = False) -> float:
        """Read a duration; with `or_none`, 0 says that there is no limit."""
        value = self.text(name, str(default))
        is_number = re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", value)
        if not is_number or (float(value) < SHORTEST_WAIT and not (or_none and float(value) == 0)):
            zero = ", or 0 for no limit" if or_none else ""
            raise self._wrong(name, value, f"expected a number of seconds, {SHORTEST_WAIT} or more{zero}")
        return float(value)

    def switch(self, name: str, *, default: bool) -> bool:
        """Read ``on`` or ``off``."""
        value = self.text(name, "on" if default else "off")
        if value not in ("on", "off"):
            raise self._wrong(name, value, "expected on or off")
        return value == "on"

    def url(self, name: str, default: str, *, scheme: str) -> str:
        """Read the address of a server; with a certificate, http is a mistake."""
        value = self.text(name, default)
        parts = _split_origin(value)
        if parts is None:
            raise self._wrong(name, value, "expected http:// or https://, a host and perhaps a port, and no path")
        if scheme == "https" and parts[2] == "http":
            raise self._wrong(name, value, "expected https://, as EVENTBUS_TLS_CERT is set")
        return origin(*parts)

    def origins(self, name: str, default: frozenset[str]) -> frozenset[str]:
        """Read the origins of pages."""
        value = self.text(name, "")
        if not value:
            return default
        return frozenset(self._origin(name, part.strip()) for part in value.split(","))

    def _origin(self, name: str, text: str) -> str:
        parts = _split_origin(text)
        if parts is None:
            raise self._wrong(name, text or ",", "expected origins such as http://localhost:3000, a comma between two")
        return origin(*parts)

    def networks(self, name: str) -> tuple[IPv4Network | IPv6Network, ...]:
        """Read addresses and networks."""
        value = self.text(name, "")
        try:
            return tuple(ip_network(part.strip()) for part in value.split(",")) if value else ()
        except ValueError as error:
            example = "expected addresses or networks such as 127.0.0.1 or 10.0.0.0/8, a comma between two"
            raise self._wrong(name, value, f"{error}; {example}") from None

    def patterns(self, name: str, default: Patterns) -> Patterns:
        """Read patterns of event names."""
        value = self.text(name, "")
        try:
            return Patterns(part.strip() for part in value.split(",")) if value else default
        except ValueError as error:
            raise ConfigError(f"{name}={value}: {error}") from None

    def _wrong(self, name: str, value: str, expected: str) -> ConfigError:
        return ConfigError(f"{name}={value}: {expected}")


def _split_origin(text: str) -> tuple[str, int, str] | None:
    """Take an origin apart into host, port and scheme; None where it is not one (``*`` and ``null`` are not)."""
    match = re.fullmatch(r"(https?)://([a-z0-9._-]+|\[[0-9a-f:.]+\])(?::([0-9]{1,5}))?/?", text.lower())
    if match is None:
        return None
    scheme, host, port = match[1], match[2].strip("[]"), int(match[3] or DEFAULT_PORTS[match[1]])
    return (host, port, scheme) if 1 <= port <= 65535 else None


def origin(host: str, port: int, scheme: str = "http") -> str:
    """Write a server's origin as a browser does: no default port, IPv6 addresses in brackets (RFC 6454, 6.2)."""
    bracketed = f"[{host}]" if ":" in host else host
    return f"{scheme}://{bracketed.lower()}" + ("" if port == DEFAULT_PORTS[scheme] else f":{port}")
