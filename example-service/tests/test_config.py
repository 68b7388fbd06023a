"""The settings of every service: read from the environment, and one clear line for a wrong one."""

from pathlib import Path

import pytest
from eventbus import config as bus_config
from eventbus.environment import ConfigError as BusConfigError
from eventbus_client.config import ConfigError, Settings


def read(**environ):
    return Settings.from_env({"AUTHORIZATION_TOKEN": "secret", **environ}, "AUTHORIZATION_TOKEN")


def test_only_the_token_must_be_set():
    assert read() == Settings(eventbus_url="http://localhost:3001", token="secret", connected_file=None)


def test_an_empty_value_counts_as_not_set():
    empty = dict.fromkeys(["EVENTBUS_URL", "HTTP_EVENTBUS_SERVER_HOST", "HTTP_EVENTBUS_SERVER_PORT"], " ")

    assert read(**empty, EVENTBUS_CONNECTED_FILE="") == read()


@pytest.mark.parametrize("url", ["http://bus:3001", "https://bus.example", "http://[::1]:3001", "HTTP://BUS:3001/"])
def test_the_url_of_the_bus_can_be_set(url):
    assert read(EVENTBUS_URL=url).eventbus_url == url.lower().rstrip("/")


@pytest.mark.parametrize(
    ("url", "is_right"),
    [
        ("http://bus:3001", True),
        ("https://bus.example/", True),
        (" HTTP://BUS:1 ", True),
        ("http://[::1]:65535", True),
        ("", True),
        ("http://bus:0", False),
        ("http://bus:65536", False),
        ("http://bus:99999", False),
        ("http://bus:port", False),
        ("http://bus:", False),
        ("http://", False),
        ("http://two words", False),
        ("http://::1:3001", False),
        ("http://bus/path", False),
        ("http://bus?query", False),
        ("http://user:pass@bus", False),
        ("ws://bus:3001", False),
        ("bus:3001", False),
        ("null", False),
    ],
)
def test_the_service_and_the_bus_agree_on_what_is_a_url_of_the_bus(url, is_right):
    def takes(read, refusal):
        try:
            return bool(read())
        except refusal:
            return False

    assert takes(lambda: read(EVENTBUS_URL=url), ConfigError) is is_right
    assert takes(lambda: bus_config.Settings.from_env({"EVENTBUS_URL": url}), BusConfigError) is is_right


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("bus", "http://bus:4000"),
        ("127.0.0.1", "http://127.0.0.1:4000"),
        ("::1", "http://[::1]:4000"),
        ("[::1]", "http://[::1]:4000"),
        ("0.0.0.0", "http://localhost:4000"),
        ("::", "http://localhost:4000"),
    ],
)
def test_by_default_the_bus_is_where_it_is_told_to_listen(host, url):
    assert read(HTTP_EVENTBUS_SERVER_HOST=host, HTTP_EVENTBUS_SERVER_PORT="4000").eventbus_url == url


def test_a_bus_that_has_a_certificate_is_at_an_https_address_by_default():
    assert read(EVENTBUS_TLS_CERT="certificates/cert.pem").eventbus_url == "https://localhost:3001"


def test_the_token_can_stand_in_a_variable_of_another_name():
    environ = {"SHOUTER_TOKEN": "louder", "AUTHORIZATION_TOKEN": "secret"}

    assert Settings.from_env(environ, "SHOUTER_TOKEN").token == "louder"


def test_a_file_can_tell_that_it_is_connected():
    assert read(EVENTBUS_CONNECTED_FILE="/tmp/connected").connected_file == Path("/tmp/connected")


def test_how_long_a_handler_may_take_can_be_set():
    assert (read().handler_timeout, read(EVENTBUS_HANDLER_TIMEOUT="0.5").handler_timeout) == (300.0, 0.5)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("EVENTBUS_HANDLER_TIMEOUT", value) for value in ("0", "-1", "soon", "1e3", "inf", "٣")),
        ("EVENTBUS_URL", "bus:3001"),
        ("EVENTBUS_URL", "ws://bus:3001"),
        ("EVENTBUS_URL", "http://"),
        ("EVENTBUS_URL", "http://bus:99999"),
        ("EVENTBUS_URL", "http://bus:0"),
        ("EVENTBUS_URL", "http://bus/path"),
        ("EVENTBUS_URL", "http://user:pass@bus"),
        ("HTTP_EVENTBUS_SERVER_HOST", "local host"),
        ("HTTP_EVENTBUS_SERVER_PORT", "http"),
        ("HTTP_EVENTBUS_SERVER_PORT", "65536"),
    ],
)
def test_a_wrong_value_is_named_with_what_was_expected(name, value):
    with pytest.raises(ConfigError) as error:
        read(**{name: value})

    assert str(error.value).startswith(f"{name}={value}: expected ")
    assert "\n" not in str(error.value)


def test_without_a_token_it_says_what_to_set():
    with pytest.raises(ConfigError, match=r"^SHOUTER_TOKEN is not set: set it to the token"):
        Settings.from_env({"AUTHORIZATION_TOKEN": "secret"}, "SHOUTER_TOKEN")


@pytest.mark.parametrize("token", ["two words", "two\nlines", "pässword"])
def test_a_wrong_token_is_not_shown(token):
    with pytest.raises(ConfigError, match=r"^AUTHORIZATION_TOKEN: expected visible ASCII") as error:
        read(AUTHORIZATION_TOKEN=token)

    assert token not in str(error.value)


def test_settings_do_not_show_the_token():
    assert "secret" not in repr(read())
