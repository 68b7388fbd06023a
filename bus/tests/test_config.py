"""Settings: their defaults, and one line for each wrong value."""

from __future__ import annotations

import pytest
from eventbus.config import Settings
from eventbus.environment import ConfigError


def test_without_an_environment_the_settings_are_the_defaults() -> None:
    defaults, settings = Settings(), Settings.from_env({})

    assert settings.allowed_origins == {"http://localhost:3000", "http://127.0.0.1:3000", "http://[::1]:3000"}
    for name in Settings.__slots__:
        if name != "allowed_origins":
            assert getattr(settings, name) == getattr(defaults, name), name


def test_an_empty_value_counts_as_not_set() -> None:
    settings = Settings.from_env({"HTTP_EVENTBUS_SERVER_PORT": "", "EVENTBUS_LOG": " ", "EVENTBUS_ALLOWED_ORIGINS": ""})

    assert (settings.port, settings.log) == (3001, "sqlite:data/events.db")


def test_each_setting_is_read_from_its_variable() -> None:
    settings = Settings.from_env(
        {
            "HTTP_FILE_SERVER_HOST": "127.0.0.1",
            "HTTP_FILE_SERVER_PORT": "4000",
            "HTTP_EVENTBUS_SERVER_HOST": "0.0.0.0",
            "HTTP_EVENTBUS_SERVER_PORT": "4001",
            "EVENTBUS_URL": "http://bus:3001",
            "EVENTBUS_PUBLIC_URL": "https://bus.example.com/",
            "EVENTBUS_LOG": "memory:",
            "EVENTBUS_SERVICES": "other.json",
            "EVENTBUS_CLIENT_EVENTS": "check-*, register-domain",
            "EVENTBUS_MAX_EVENT": "1000",
            "EVENTBUS_MAX_BODY": "2000",
            "EVENTBUS_SEND_BUFFER": "3000",
            "EVENTBUS_FAST_PATH": "off",
            "EVENTBUS_IDENTIFY_TIMEOUT": "0.5",
            "EVENTBUS_IDENTITY_LIFETIME": "60",
        }
    )

    assert (settings.file_server_host, settings.file_server_port) == ("127.0.0.1", 4000)
    assert (settings.host, settings.port) == ("0.0.0.0", 4001)
    assert (settings.url, settings.public_url) == ("http://bus:3001", "https://bus.example.com")
    assert (settings.log, settings.services) == ("memory:", "other.json")
    assert "check-domain" in settings.client_events
    assert "renew-domain" not in settings.client_events
    assert (settings.max_event, settings.max_body, settings.send_buffer) == (1000, 2000, 3000)
    assert not settings.fast_path
    assert (settings.identify_timeout, settings.identity_lifetime) == (0.5, 60.0)


def test_with_a_certificate_everything_is_https() -> None:
    settings = Settings.from_env({"EVENTBUS_TLS_CERT": "server.pem", "EVENTBUS_TLS_KEY": "server.key"})

    assert (settings.tls_cert, settings.tls_key) == ("server.pem", "server.key")
    assert (settings.url, settings.public_url) == ("https://localhost:3001", "https://localhost:3001")
    assert settings.allowed_origins == {"https://localhost:3000", "https://127.0.0.1:3000", "https://[::1]:3000"}


@pytest.mark.parametrize("name", ["EVENTBUS_URL", "EVENTBUS_PUBLIC_URL"])
def test_with_a_certificate_an_http_address_is_a_mistake(name: str) -> None:
    environ = {"EVENTBUS_TLS_CERT": "server.pem", "EVENTBUS_TLS_KEY": "server.key", name: "http://bus:3001"}

    with pytest.raises(ConfigError, match=f"{name}=http://bus:3001: expected https://"):
        Settings.from_env(environ)


@pytest.mark.parametrize("given", ["EVENTBUS_TLS_CERT", "EVENTBUS_TLS_KEY"])
def test_a_certificate_without_its_key_or_the_other_way_round_is_refused(given: str) -> None:
    with pytest.raises(ConfigError, match=f"is not set, but {given} is: set both, or neither"):
        Settings.from_env({given: "server.pem"})


def test_proxies_are_addresses_and_networks() -> None:
    settings = Settings.from_env({"EVENTBUS_TRUSTED_PROXIES": "127.0.0.1, 10.0.0.0/8,::1"})

    assert [str(network) for network in settings.trusted_proxies] == ["127.0.0.1/32", "10.0.0.0/8", "::1/128"]


def test_clients_may_publish_all_but_answers() -> None:
    names = Settings.from_env({}).client_events

    assert "check-domain" in names
    assert "check-domain-completed" not in names


@pytest.mark.parametrize(
    ("host", "url"),
    [("0.0.0.0", "http://localhost:3001"), ("::", "http://localhost:3001"), ("::1", "http://[::1]:3001")],
)
def test_programs_find_the_bus_where_it_listens(host: str, url: str) -> None:
    settings = Settings.from_env({"HTTP_EVENTBUS_SERVER_HOST": host})

    assert settings.url == settings.public_url == url


def test_a_browser_is_told_the_programs_url_unless_it_has_its_own() -> None:
    assert Settings.from_env({"EVENTBUS_URL": "http://bus:3001"}).public_url == "http://bus:3001"


@pytest.mark.parametrize(
    ("environ", "origins"),
    [
        ({"HTTP_FILE_SERVER_PORT": "80"}, {"http://localhost", "http://127.0.0.1", "http://[::1]"}),
        (
            {"HTTP_FILE_SERVER_HOST": "127.0.0.2"},
            {"http://localhost:3000", "http://127.0.0.1:3000", "http://[::1]:3000", "http://127.0.0.2:3000"},
        ),
        (
            {"HTTP_FILE_SERVER_HOST": "0.0.0.0"},
            {"http://localhost:3000", "http://127.0.0.1:3000", "http://[::1]:3000"},
        ),
        (
            {"EVENTBUS_ALLOWED_ORIGINS": "https://Example.com:443/, http://[::1]:4000"},
            {"https://example.com", "http://[::1]:4000"},
        ),
    ],
)
def test_origins_are_written_as_a_browser_writes_them(environ: dict[str, str], origins: set[str]) -> None:
    assert Settings.from_env(environ).allowed_origins == origins


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("HTTP_FILE_SERVER_HOST", "locahost.invalid", "this host name does not resolve; use localhost, 0.0.0.0 or"),
        ("HTTP_EVENTBUS_SERVER_HOST", "256.1.1.1.invalid", "this host name does not resolve"),
        ("HTTP_EVENTBUS_SERVER_HOST", "a" * 70, "this host name does not resolve"),
        ("HTTP_FILE_SERVER_PORT", "0", "expected a port number from 1 to 65535"),
        ("HTTP_EVENTBUS_SERVER_PORT", "65536", "expected a port number"),
        ("HTTP_EVENTBUS_SERVER_PORT", "http", "expected a port number"),
        ("HTTP_EVENTBUS_SERVER_PORT", "-1", "expected a port number"),
        ("HTTP_EVENTBUS_SERVER_PORT", "٣٠٠١", "expected a port number"),
        ("EVENTBUS_URL", "localhost:3001", "expected http:// or https://"),
        ("EVENTBUS_URL", "http://bus:3001/path", "no path"),
        ("EVENTBUS_PUBLIC_URL", "ftp://bus", "expected http:// or https://"),
        ("EVENTBUS_PUBLIC_URL", "http://bus:65536", "expected http:// or https://"),
        ("EVENTBUS_URL", "http://bus:0", "expected http:// or https://"),
        ("EVENTBUS_ALLOWED_ORIGINS", "http://localhost:70000", "expected origins"),
        ("EVENTBUS_HEARTBEAT", "0", "expected a number of seconds"),
        ("EVENTBUS_TRUSTED_PROXIES", "10.0.0.1/8", "expected addresses or networks such as 127.0.0.1 or 10.0.0.0/8"),
        ("EVENTBUS_TRUSTED_PROXIES", "nginx", "expected addresses or networks"),
        ("EVENTBUS_ALLOWED_ORIGINS", "*", "expected origins such as http://localhost:3000"),
        ("EVENTBUS_ALLOWED_ORIGINS", "null", "expected origins"),
        ("EVENTBUS_CLIENT_EVENTS", "two words", "is no name pattern"),
        ("EVENTBUS_MAX_EVENT", "0", "expected a whole number of bytes, 1 or more"),
        ("EVENTBUS_MAX_BODY", "1MB", "expected a whole number of bytes"),
        ("EVENTBUS_FAST_PATH", "no", "expected on or off"),
        ("EVENTBUS_SEND_BUFFER", "-5", "expected a whole number of bytes"),
        ("EVENTBUS_IDENTIFY_TIMEOUT", "0", "expected a number of seconds, 0.01 or more"),
        ("EVENTBUS_HEARTBEAT", "0.000000001", "expected a number of seconds, 0.01 or more"),
        ("EVENTBUS_RETENTION_SECONDS", "0.001", "or 0 for no limit"),
        ("EVENTBUS_IDENTITY_LIFETIME", "nan", "expected a number of seconds"),
    ],
)
def test_a_wrong_value_is_refused_in_one_line_that_says_what_was_expected(name: str, value: str, expected: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        Settings.from_env({name: value})

    assert str(refusal.value).startswith(f"{name}={value}: ")
    assert expected in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_of_several_origins_the_wrong_one_is_named() -> None:
    with pytest.raises(ConfigError, match="EVENTBUS_ALLOWED_ORIGINS=localhost: expected"):
        Settings.from_env({"EVENTBUS_ALLOWED_ORIGINS": "http://localhost:3000,localhost"})


def test_a_misspelt_setting_is_named_with_the_one_that_may_be_meant() -> None:
    misspelt = {"EVENTBUS_LOGG": "memory:", "HTTP_EVENTBUS_PORT": "3005"}
    others = {"EVENTBUS_X": "", "EVENTBUS_CONNECTED_FILE": "connected", "EVENTBUS": "x", "PATH": "/bin"}

    assert Settings.from_env(misspelt | others).unknown == (
        "EVENTBUS_LOGG: there is no such setting; did you mean EVENTBUS_LOG?",
        "HTTP_EVENTBUS_PORT: there is no such setting; did you mean HTTP_EVENTBUS_SERVER_PORT?",
    )
