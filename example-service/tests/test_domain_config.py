"""The settings of the domain service alone: read from the environment, and one clear line for a wrong one."""

from pathlib import Path

import pytest
from domain_service.config import Settings
from eventbus_client.config import ConfigError


def test_none_must_be_set():
    assert Settings.from_env({}) == Settings(delay=0.5, registry=Path("data/registry.db"))


def test_an_empty_value_counts_as_not_set():
    assert Settings.from_env({"DOMAIN_SERVICE_DELAY": " ", "DOMAIN_SERVICE_REGISTRY": ""}) == Settings()


def test_both_can_be_set():
    settings = Settings.from_env({"DOMAIN_SERVICE_DELAY": "0", "DOMAIN_SERVICE_REGISTRY": "/tmp/r.db"})

    assert settings == Settings(delay=0, registry=Path("/tmp/r.db"))


@pytest.mark.parametrize("delay", ["soon", "-1", "inf"])
def test_a_wrong_delay_is_named_with_what_was_expected(delay):
    with pytest.raises(ConfigError) as error:
        Settings.from_env({"DOMAIN_SERVICE_DELAY": delay})

    assert str(error.value) == f"DOMAIN_SERVICE_DELAY={delay}: expected a number of seconds, such as 0.5, or 0 for none"
