"""Settings: read once from the environment into one frozen object. `.env.example` explains each of them.

A wrong value stops the start with one line that names the variable, the value and what was expected.
"""

from __future__ import annotations

import difflib
import re
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network

from .patterns import Patterns

DEFAULT_PORTS = {"http": 80, "https": 443}
SHORTEST = 0.01  # seconds; what is done more often than that does nothing else
WILDCARD_HOSTS = ("0.0.0.0", "::")  # noqa: S104 - recognized here, never a default

# Clients ask; the answers are the services' word.
ALL_BUT_ANSWERS = Patterns(["*"], but_not=["*-completed"])


class ConfigError(Exception):
    """A setting or file that the bus cannot start with; its text is one line that says what to change."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the bus was told, checked.

    Attributes:
        file_server_host: Where the static site listens.
        file_server_port: 1 to 65535.
        host: Where the bus listens.
        port: 1 to 65535.
        url: Where programs find the bus, without a slash at the end.
        public_url: What the browser is told; the same as `url` unless something stands in front of the bus.
        log: Which log, such as ``"sqlite:data/events.db"``; see `eventbus.log.open_log`.
        services: Path of the services file.
        tls_cert: Path of the certificate chain that the bus and the static site show; none for http.
        tls_key: Path of its private key.
        trusted_proxies: Where a web server may stand whose word about who it speaks for is believed.
        allow_workshop_token: Whether the token that everybody knows may be used where others can reach the bus.
        allowed_origins: Origins whose pages may use the bus, such as ``"http://localhost:3000"``.
        client_events: Names that clients may publish.
        max_event: Largest event, in bytes of JSON.
        max_body: Largest request body, in bytes.
        max_batch: Most events in one request.
        client_rate: Events that a client may publish in a second; 0 for no limit.
        max_connections: WebSockets that may be open at once.
        send_buffer: Bytes waiting for one socket above which nothing more is written to it.
        identify_timeout: Seconds a connection has to identify or authenticate itself.
        heartbeat: Seconds between pings; who lets three of them pass without a sign of life is cut off.
        identity_lifetime: Seconds an identity lives after its last socket closed or its last publish.
        ack_wait: Seconds a member of a group has to ack an event, or to say that it is working on it.
        max_deliveries: Attempts of a group at an event, after which it becomes a dead letter.
        deduplication_seconds: Seconds within which a repeated id is a duplicate, if its event is kept so long.
        fast_path: Whether plain requests to publish take a short cut past the web server.
        runner: The process with which a program ends; 0 for none.
        unknown: What is set and looks like a setting, but is none: a line for each.
        retention_events: Events that the log keeps; 0 if all.
        retention_bytes: Bytes of events that the log keeps; 0 if all.
        retention_seconds: Seconds that the log keeps an event; 0 if for ever.
    """

    file_server_host: str = "localhost"
    file_server_port: int = 3000
    host: str = "localhost"
    port: int = 3001
    url: str = "http://localhost:3001"
    public_url: str = "http://localhost:3001"
    log: str = "sqlite:data/events.db"
    services: str = "services.json"
    tls_cert: str = ""
    tls_key: str = ""
    trusted_proxies: tuple[IPv4Network | IPv6Network, ...] = ()
    allow_workshop_token: bool = False
    allowed_origins: frozenset[str] = frozenset({"http://localhost:3000"})
    client_events: Patterns = ALL_BUT_ANSWERS
    max_event: int = 256 * 1024
    max_body: int = 1024 * 1024
    max_batch: int = 1_000
    client_rate: int = 50
    max_connections: int = 10_000
    send_buffer: int = 1024 * 1024
    identify_timeout: float = 10.0
    heartbeat: float = 20.0
    identity_lifetime: float = 24 * 60 * 60.0
    ack_wait: float = 30.0
    max_deliveries: int = 5
    deduplication_seconds: float = 24 * 60 * 60.0
    retention_events: int = 1_000_000
    retention_bytes: int = 1024 * 1024 * 1024
    retention_seconds: float = 7 * 24 * 60 * 60.0
    fast_path: bool = True
    runner: int = 0
    unknown: tuple[str, ...] = ()

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> Settings:
        """Read and check every setting.

        Args:
            environ: Such as ``os.environ``; an empty value counts as not set.

        Raises:
            ConfigError: The first wrong value.
        """
        env = _Reader(environ)
        file_server_host = env.host("HTTP_FILE_SERVER_HOST", "localhost")
        file_server_port = env.port("HTTP_FILE_SERVER_PORT", 3000)
        host = env.host("HTTP_EVENTBUS_SERVER_HOST", "localhost")
        port = env.port("HTTP_EVENTBUS_SERVER_PORT", 3001)
        tls_cert, tls_key = env.both("EVENTBUS_TLS_CERT", "EVENTBUS_TLS_KEY")
        scheme = "https" if tls_cert else "http"
        own_url = origin("localhost" if host in WILDCARD_HOSTS else host, port, scheme)
        url = env.url("EVENTBUS_URL", own_url, scheme=scheme)
        return cls(
            file_server_host=file_server_host,
            file_server_port=file_server_port,
            host=host,
            port=port,
            url=url,
            public_url=env.url("EVENTBUS_PUBLIC_URL", url, scheme=scheme),
            log=env.text("EVENTBUS_LOG", "sqlite:data/events.db"),
            services=env.text("EVENTBUS_SERVICES", "services.json"),
            tls_cert=tls_cert,
            tls_key=tls_key,
            trusted_proxies=env.networks("EVENTBUS_TRUSTED_PROXIES"),
            allow_workshop_token=env.switch("EVENTBUS_ALLOW_WORKSHOP_TOKEN", default=False),
            allowed_origins=env.origins(
                "EVENTBUS_ALLOWED_ORIGINS", default_origins(file_server_host, file_server_port, scheme)
            ),
            client_events=env.patterns("EVENTBUS_CLIENT_EVENTS", ALL_BUT_ANSWERS),
            max_event=env.whole_number("EVENTBUS_MAX_EVENT", 256 * 1024, unit="bytes"),
            max_body=env.whole_number("EVENTBUS_MAX_BODY", 1024 * 1024, unit="bytes"),
            max_batch=env.whole_number("EVENTBUS_MAX_BATCH", 1_000, unit="events"),
            client_rate=env.whole_number("EVENTBUS_CLIENT_RATE", 50, unit="events a second", least=0),
            max_connections=env.whole_number("EVENTBUS_MAX_CONNECTIONS", 10_000, unit="connections"),
            send_buffer=env.whole_number("EVENTBUS_SEND_BUFFER", 1024 * 1024, unit="bytes"),
            heartbeat=env.seconds("EVENTBUS_HEARTBEAT", 20.0),
            identify_timeout=env.seconds("EVENTBUS_IDENTIFY_TIMEOUT", 10.0),
            identity_lifetime=env.seconds("EVENTBUS_IDENTITY_LIFETIME", 24 * 60 * 60.0),
            ack_wait=env.seconds("EVENTBUS_ACK_WAIT", 30.0),
            max_deliveries=env.whole_number("EVENTBUS_MAX_DELIVERIES", 5, unit="attempts"),
            deduplication_seconds=env.seconds("EVENTBUS_DEDUPLICATION_SECONDS", 24 * 60 * 60.0),
            retention_events=env.whole_number("EVENTBUS_RETENTION_EVENTS", 1_000_000, unit="events", least=0),
            retention_bytes=env.whole_number("EVENTBUS_RETENTION_BYTES", 1024 * 1024 * 1024, unit="bytes", least=0),
            retention_seconds=env.seconds("EVENTBUS_RETENTION_SECONDS", 7 * 24 * 60 * 60.0, or_none=True),
            fast_path=env.switch("EVENTBUS_FAST_PATH", default=True),
            runner=env.whole_number("EVENTBUS_RUNNER", 0, unit="a process", least=0),
            unknown=tuple(env.unknown()),
        )

    @property
    def scheme(self) -> str:
        """What the bus and the static site speak: ``"http"``, or ``"https"`` if there is a certificate."""
        return "https" if self.tls_cert else "http"


def origin(host: str, port: int, scheme: str = "http") -> str:
    """Write a server's origin as a browser does: no default port, IPv6 addresses in brackets (RFC 6454, 6.2)."""
    bracketed = f"[{host}]" if ":" in host else host
    return f"{scheme}://{bracketed.lower()}" + ("" if port == DEFAULT_PORTS[scheme] else f":{port}")


def default_origins(host: str, port: int, scheme: str = "http") -> frozenset[str]:
    """The static site under each of the names by which its own machine knows it."""
    hosts = {"localhost", "127.0.0.1", "::1"} | ({host} - set(WILDCARD_HOSTS))
    return frozenset(origin(host, port, scheme) for host in hosts)


class _Reader:
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
        value = self.text(name, default).strip("[]")
        try:
            socket.getaddrinfo(value, None)
        except (OSError, UnicodeError):
            raise self._wrong(
                name, value, "this host name does not resolve; use localhost, 0.0.0.0 or an address of this machine"
            ) from None
        return value

    def port(self, name: str, default: int) -> int:
        value = self.text(name, str(default))
        if not re.fullmatch(r"[0-9]{1,5}", value) or not 1 <= int(value) <= 65535:
            raise self._wrong(name, value, "expected a port number from 1 to 65535")
        return int(value)

    def whole_number(self, name: str, default: int, *, unit: str, least: int = 1) -> int:
        value = self.text(name, str(default))
        if not re.fullmatch(r"[0-9]{1,15}", value) or int(value) < least:
            raise self._wrong(name, value, f"expected a whole number of {unit}, {least} or more")
        return int(value)

    def seconds(self, name: str, default: float, *, or_none: bool = False) -> float:
        value = self.text(name, str(default))
        is_number = re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", value)
        if not is_number or (float(value) < SHORTEST and not (or_none and float(value) == 0)):
            zero = ", or 0 for no limit" if or_none else ""
            raise self._wrong(name, value, f"expected a number of seconds, {SHORTEST} or more{zero}")
        return float(value)

    def switch(self, name: str, *, default: bool) -> bool:
        value = self.text(name, "on" if default else "off")
        if value not in ("on", "off"):
            raise self._wrong(name, value, "expected on or off")
        return value == "on"

    def url(self, name: str, default: str, *, scheme: str) -> str:
        value = self.text(name, default)
        parts = _split_origin(value)
        if parts is None:
            raise self._wrong(name, value, "expected http:// or https://, a host and perhaps a port, and no path")
        if scheme == "https" and parts[2] == "http":
            raise self._wrong(name, value, "expected https://, as EVENTBUS_TLS_CERT is set")
        return origin(*parts)

    def origins(self, name: str, default: frozenset[str]) -> frozenset[str]:
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
        value = self.text(name, "")
        try:
            return tuple(ip_network(part.strip()) for part in value.split(",")) if value else ()
        except ValueError as error:
            example = "expected addresses or networks such as 127.0.0.1 or 10.0.0.0/8, a comma between two"
            raise self._wrong(name, value, f"{error}; {example}") from None

    def patterns(self, name: str, default: Patterns) -> Patterns:
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
