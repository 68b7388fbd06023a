"""The settings of this service alone; those that every service has are read by `eventbus_client`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from eventbus_client.config import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the service was told, checked.

    Attributes:
        delay: Seconds that the simulated registry takes for an answer.
        registry: The file that holds the registered names, shared by all instances.
    """

    delay: float = 0.5
    registry: Path = Path("data/registry.db")

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> Settings:
        """Read and check both.

        Args:
            environ: Such as ``os.environ``; an empty value counts as not set.

        Raises:
            ConfigError: The delay is none.
        """
        env = {name: value.strip() for name, value in environ.items() if value.strip()}
        return cls(delay=_delay(env), registry=Path(env.get("DOMAIN_SERVICE_REGISTRY", "data/registry.db")))


def _delay(env: Mapping[str, str]) -> float:
    delay = env.get("DOMAIN_SERVICE_DELAY", "0.5")
    if not re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", delay):
        expected = "expected a number of seconds, such as 0.5, or 0 for none"
        raise ConfigError(f"DOMAIN_SERVICE_DELAY={delay}: {expected}")
    return float(delay)
