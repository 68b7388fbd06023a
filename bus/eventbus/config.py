"""Settings: read once from the environment into one frozen object. `.env.example` explains each of them.

A wrong value stops the start with one line that names the variable, the value and what was expected.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address

from .environment import Environment, origin
from .patterns import Patterns

WILDCARD_HOSTS = ("0.0.0.0", "::")  # noqa: S104 - recognized here, never a default

# Clients ask; the answers are the services' word.
ALL_BUT_ANSWERS = Patterns(["*"], but_not=["*-completed"])


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
        env, default = Environment(environ), cls()
        file_server_host = env.host("HTTP_FILE_SERVER_HOST", default.file_server_host)
        file_server_port = env.port("HTTP_FILE_SERVER_PORT", default.file_server_port)
        host = env.host("HTTP_EVENTBUS_SERVER_HOST", default.host)
        port = env.port("HTTP_EVENTBUS_SERVER_PORT", default.port)
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
            log=env.text("EVENTBUS_LOG", default.log),
            services=env.text("EVENTBUS_SERVICES", default.services),
            tls_cert=tls_cert,
            tls_key=tls_key,
            trusted_proxies=env.networks("EVENTBUS_TRUSTED_PROXIES"),
            allow_workshop_token=env.switch("EVENTBUS_ALLOW_WORKSHOP_TOKEN", default=default.allow_workshop_token),
            allowed_origins=env.origins(
                "EVENTBUS_ALLOWED_ORIGINS", default_origins(file_server_host, file_server_port, scheme)
            ),
            client_events=env.patterns("EVENTBUS_CLIENT_EVENTS", default.client_events),
            max_event=env.whole_number("EVENTBUS_MAX_EVENT", default.max_event, unit="bytes"),
            max_body=env.whole_number("EVENTBUS_MAX_BODY", default.max_body, unit="bytes"),
            max_batch=env.whole_number("EVENTBUS_MAX_BATCH", default.max_batch, unit="events"),
            client_rate=env.whole_number("EVENTBUS_CLIENT_RATE", default.client_rate, unit="events a second", least=0),
            max_connections=env.whole_number("EVENTBUS_MAX_CONNECTIONS", default.max_connections, unit="connections"),
            send_buffer=env.whole_number("EVENTBUS_SEND_BUFFER", default.send_buffer, unit="bytes"),
            heartbeat=env.seconds("EVENTBUS_HEARTBEAT", default.heartbeat),
            identify_timeout=env.seconds("EVENTBUS_IDENTIFY_TIMEOUT", default.identify_timeout),
            identity_lifetime=env.seconds("EVENTBUS_IDENTITY_LIFETIME", default.identity_lifetime),
            ack_wait=env.seconds("EVENTBUS_ACK_WAIT", default.ack_wait),
            max_deliveries=env.whole_number("EVENTBUS_MAX_DELIVERIES", default.max_deliveries, unit="attempts"),
            deduplication_seconds=env.seconds("EVENTBUS_DEDUPLICATION_SECONDS", default.deduplication_seconds),
            retention_events=env.whole_number(
                "EVENTBUS_RETENTION_EVENTS", default.retention_events, unit="events", least=0
            ),
            retention_bytes=env.whole_number(
                "EVENTBUS_RETENTION_BYTES", default.retention_bytes, unit="bytes", least=0
            ),
            retention_seconds=env.seconds("EVENTBUS_RETENTION_SECONDS", default.retention_seconds, or_none=True),
            fast_path=env.switch("EVENTBUS_FAST_PATH", default=default.fast_path),
            runner=env.whole_number("EVENTBUS_RUNNER", default.runner, unit="a process", least=0),
            unknown=tuple(env.unknown()),
        )

    @property
    def scheme(self) -> str:
        """What the bus and the static site speak: ``"http"``, or ``"https"`` if there is a certificate."""
        return "https" if self.tls_cert else "http"


def is_loopback(host: str) -> bool:
    """Can only programs of this machine reach what listens on this host?"""
    addresses = {str(address[0]) for _, _, _, _, address in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)}
    return all(ip_address(address.partition("%")[0]).is_loopback for address in addresses)


def default_origins(host: str, port: int, scheme: str = "http") -> frozenset[str]:
    """The static site under each of the names by which its own machine knows it."""
    hosts = {"localhost", "127.0.0.1", "::1"} | ({host} - set(WILDCARD_HOSTS))
    return frozenset(origin(host, port, scheme) for host in hosts)
