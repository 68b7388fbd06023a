"""The settings that every service has: read once from the environment into one frozen object."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

# A server that listens on every address is reached on this machine's own.
WILDCARD_HOSTS = ("0.0.0.0", "::")  # noqa: S104 - recognized here, never a default


class ConfigError(Exception):
    """A setting that the service cannot start with; its text is one line that says what to change."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the service was told, checked.

    Attributes:
        eventbus_url: Where the bus is, without a slash at the end.
        token: This service's secret; never shown.
        connected_file: A file that exists while the service is connected and authenticated, for a container's health
            check; none by default.
        handler_timeout: Seconds after which the bus is told no longer that a handler is at work.
        runner: The process with which the service ends; 0 for none.
    """

    eventbus_url: str = "http://localhost:3001"
    token: str = field(repr=False)
    connected_file: Path | None = None
    handler_timeout: float = 300.0
    runner: int = 0

    @classmethod
    def from_env(cls, environ: Mapping[str, str], token_variable: str) -> Settings:
        """Read and check every setting.

        Args:
            environ: Such as ``os.environ``; an empty value counts as not set.
            token_variable: The one that holds this service's token.

        Raises:
            ConfigError: The first wrong value.
        """
        env = {name: value.strip() for name, value in environ.items() if value.strip()}
        connected_file = env.get("EVENTBUS_CONNECTED_FILE")
        return cls(
            eventbus_url=_eventbus_url(env),
            token=_token(env, token_variable),
            connected_file=Path(connected_file) if connected_file else None,
            handler_timeout=_seconds(env, "EVENTBUS_HANDLER_TIMEOUT", 300.0),
            runner=_runner(env),
        )


def _eventbus_url(env: Mapping[str, str]) -> str:
    url = env.get("EVENTBUS_URL")
    if url is None:
        scheme = "https" if "EVENTBUS_TLS_CERT" in env else "http"  # the bus's own setting
        return f"{scheme}://{_host(env)}:{_port(env)}"
    match = re.fullmatch(r"(https?://(?:[a-z0-9._-]+|\[[0-9a-f:.]+\])(?::([0-9]{1,5}))?)/?", url.lower())
    if match is None or not _is_port(match[2] or "80"):
        raise _wrong("EVENTBUS_URL", url, "expected http:// or https://, a host and perhaps a port, and no path")
    return match[1]


def _host(env: Mapping[str, str]) -> str:
    host = env.get("HTTP_EVENTBUS_SERVER_HOST", "localhost").strip("[]")
    if not re.fullmatch(r"[A-Za-z0-9._:-]+", host):
        raise _wrong("HTTP_EVENTBUS_SERVER_HOST", host, "expected a host name or an address, such as localhost")
    if host in WILDCARD_HOSTS:
        return "localhost"
    return f"[{host}]" if ":" in host else host


def _port(env: Mapping[str, str]) -> str:
    port = env.get("HTTP_EVENTBUS_SERVER_PORT", "3001")
    if not _is_port(port):
        raise _wrong("HTTP_EVENTBUS_SERVER_PORT", port, "expected a port number from 1 to 65535")
    return port


def _is_port(text: str) -> bool:
    return re.fullmatch(r"[0-9]{1,5}", text) is not None and 1 <= int(text) <= 65535


def _seconds(env: Mapping[str, str], name: str, default: float) -> float:
    value = env.get(name, str(default))
    if not re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", value) or float(value) == 0:
        raise _wrong(name, value, "expected a number of seconds above 0")
    return float(value)


def _runner(env: Mapping[str, str]) -> int:
    number = env.get("EVENTBUS_RUNNER", "0")
    if not re.fullmatch(r"[0-9]{1,9}", number):
        raise _wrong("EVENTBUS_RUNNER", number, "expected a process's number, or 0 for none")
    return int(number)


def _token(env: Mapping[str, str], variable: str) -> str:
    token = env.get(variable)
    if token is None:
        raise ConfigError(
            f"{variable} is not set: set it to the token that the bus knows this service by (see services.json)"
        )
    if not re.fullmatch(r"[!-~]+", token):
        raise ConfigError(f"{variable}: expected visible ASCII characters only (the value is not shown)")
    return token


def _wrong(name: str, value: str, expected: str) -> ConfigError:
    return ConfigError(f"{name}={value}: {expected}")
