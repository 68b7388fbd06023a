"""The services file: what it may say, and what is said about a wrong one."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
from eventbus.environment import ConfigError
from eventbus.routing import Service
from eventbus.services import Services
from eventbus.services_file import load_services


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "services.json"


def load(path: Path, entries: Any, **environ: str) -> Services:
    path.write_bytes(entries if isinstance(entries, bytes) else json.dumps(entries).encode())
    return load_services(str(path), environ)


def found(services: Services, token: str) -> Service:
    service = services.with_token(token)
    assert service is not None
    return service


def test_a_service_is_known_by_its_token_alone(path: Path) -> None:
    services = load(path, [{"name": "one", "token": "secret-1"}, {"name": "two", "token": "secret-2"}])

    assert found(services, "secret-2").name == "two"
    for wrong in ("", "secret-", "secret-22", "SECRET-2", "two", "secret-1 ", "\udcff", "é"):
        assert services.with_token(wrong) is None


def test_the_form_of_2014_gives_all_rights(path: Path) -> None:
    service = found(load(path, [{"name": "one", "token": "secret"}]), "secret")

    assert "anything" in service.publish
    assert "anything" in service.subscribe


def test_patterns_limit_what_a_service_may_do(path: Path) -> None:
    entry = {"name": "one", "token": "secret", "publish": [], "subscribe": ["check-*"], "watch": True, "faults": True}

    service = found(load(path, [entry]), "secret")

    assert "check-domain" not in service.publish
    assert "check-domain" in service.subscribe
    assert "register-domain" not in service.subscribe


def test_a_token_is_read_from_the_environment(path: Path) -> None:
    services = load(path, [{"name": "one", "token": "${A}-${B}"}], A="secret", B="1")

    assert found(services, "secret-1").name == "one"


@pytest.mark.parametrize("environ", [{}, {"TOKEN": ""}])
def test_a_service_whose_variable_is_not_set_is_switched_off_with_a_line(
    path: Path, environ: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    entries = [{"name": "one", "token": "${TOKEN}"}, {"name": "two", "token": "secret"}]

    services = load(path, entries, **environ)

    assert found(services, "secret").name == "two"
    assert services.with_token("${TOKEN}") is None
    assert services.with_token("") is None
    assert caplog.messages == ["service 'one' is switched off: TOKEN is not set"]


def test_the_token_that_everybody_knows_is_warned_of(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    load(path, [{"name": "one", "token": "${TOKEN}"}], TOKEN="workshop-only")

    [record] = caplog.records
    assert record.levelno == logging.WARNING
    assert "workshop-only" in record.message


def test_the_token_that_everybody_knows_is_refused_where_others_can_reach_the_bus(path: Path) -> None:
    path.write_text(json.dumps([{"name": "one", "token": "${TOKEN}"}, {"name": "two", "token": "of its own"}]))
    expected = (
        r"^HTTP_EVENTBUS_SERVER_HOST=0\.0\.0\.0: .* 'one'; make another, python3 -c .* EVENTBUS_ALLOW_WORKSHOP_TOKEN=on"
    )

    with pytest.raises(ConfigError, match=expected):
        load_services(str(path), {"TOKEN": "workshop-only"}, reached_by_others="HTTP_EVENTBUS_SERVER_HOST=0.0.0.0")


def test_any_other_token_is_fine_wherever_the_bus_listens(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path.write_text(json.dumps([{"name": "one", "token": "${TOKEN}"}]))

    load_services(str(path), {"TOKEN": "my own"}, reached_by_others="HTTP_EVENTBUS_SERVER_HOST=0.0.0.0")
    load_services(str(path), {}, reached_by_others="HTTP_EVENTBUS_SERVER_HOST=0.0.0.0")

    assert caplog.messages == ["service 'one' is switched off: TOKEN is not set"]


def test_no_other_token_is_shown(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    load(path, [{"name": "one", "token": "secret"}, {"name": "two", "token": "${TOKEN}"}], TOKEN="hidden")

    assert not caplog.messages


def test_no_services_are_fine(path: Path) -> None:
    assert load(path, []).with_token("") is None


def test_a_token_may_have_any_bytes_that_a_header_can_carry(path: Path) -> None:
    services = load(path, [{"name": "one", "token": "${TOKEN}"}], TOKEN="gehe\udcefm")  # as os.environ gives them

    assert found(services, "gehe\udcefm").name == "one"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "not a services file"),
        (b"name: one", "not a services file"),
        (b'[{"name": "one", "token": "\xff"}]', "not a services file"),
        (b"[" * 100_000, "not a services file"),
        ({}, "not a services file: Expected `array`, got `object`"),
        (["one"], r"not a services file: Expected `object`, got `str` - at `\$\[0\]`"),
        ([{"name": "one"}], "`token`"),
        ([{"token": "secret"}], "`name`"),
        ([{"name": "one", "token": 5}], "`int`"),
        ([{"name": "one", "token": "secret", "publishes": []}], "unknown field `publishes`"),
        ([{"name": "one", "token": "secret", "publish": "*"}], "`array`"),
        ([{"name": "one", "token": "secret", "publish": ["two words"]}], "service 'one': 'two words' is no"),
        ([{"name": "", "token": "secret"}], "the name '' is empty"),
        ([{"name": " ", "token": "secret"}], "the name ' ' is empty"),
        ([{"name": "a\nb", "token": "secret"}], r"the name 'a\\nb' is"),
        ([{"name": "client", "token": "secret"}], "the name 'client' is empty, reserved"),
        ([{"name": "eventbus", "token": "secret"}], "the name 'eventbus' is empty, reserved"),
        ([{"name": "one", "token": "1"}, {"name": "one", "token": "2"}], "'one' is empty, reserved or used twice"),
        ([{"name": "one", "token": "${OFF}"}, {"name": "one", "token": "2"}], "used twice"),
        ([{"name": "one", "token": ""}], "the token of 'one' is empty"),
        ([{"name": "one", "token": "  "}], "the token of 'one' is empty"),
        ([{"name": "one", "token": "1"}, {"name": "two", "token": "1"}], "the token of 'two' is empty or used twice"),
        ([{"name": "one", "token": "${A}"}, {"name": "two", "token": "same"}], "the token of 'two'"),
    ],
)
def test_a_wrong_file_is_refused_in_one_line_that_says_why(path: Path, content: Any, said: str) -> None:
    with pytest.raises(ConfigError, match=said) as refusal:
        load(path, content, A="same")

    assert str(refusal.value).startswith(f"EVENTBUS_SERVICES={path}: ")
    assert "\n" not in str(refusal.value)
    assert "same" not in str(refusal.value).replace(str(path), "")


@pytest.mark.parametrize("name", ["missing.json", "."])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="name a services file"):
        load_services(str(tmp_path / name), {})


@pytest.mark.parametrize("token", ["${TOKEN:-x}", "$TOKEN", "${TOKEN", "${ TOKEN }", "a$"])
def test_a_variable_that_is_written_otherwise_is_no_token(path: Path, token: str) -> None:
    with pytest.raises(ConfigError, match=r"the token of 'a' has a \$"):
        load(path, [{"name": "a", "token": token}], TOKEN="secret")
