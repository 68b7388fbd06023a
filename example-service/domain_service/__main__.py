"""The program `domain-service`: opens the registry, and answers until it is told to stop."""

from __future__ import annotations

import argparse
import os
import sqlite3
from contextlib import closing
from pathlib import Path

from eventbus_client import serve
from eventbus_client.config import ConfigError
from eventbus_client.program import wrong_settings_end_it

from . import __version__
from .config import Settings
from .handlers import HANDLERS
from .registry import RegistryFile
from .service import with_registry


def main() -> None:
    """Run the service; it ends as `serve` says. ``--help`` and ``--version`` start nothing."""
    _read_command_line()
    with wrong_settings_end_it():
        settings = Settings.from_env(os.environ)
        with closing(open_registry(settings.registry)) as registry:
            serve(with_registry(HANDLERS, registry, delay=settings.delay), group="domain-service")


def open_registry(path: Path) -> RegistryFile:
    """Open the registry, or say in one line why that cannot be."""
    try:
        return RegistryFile(path)
    except (OSError, sqlite3.Error) as error:
        expected = "expected the path of an SQLite database that can be written, or of a new file"
        raise ConfigError(f"DOMAIN_SERVICE_REGISTRY={path}: {error}; {expected}") from error


def _read_command_line() -> None:
    about = "Answer check-domain and register-domain on the event bus."
    settings = "Settings are environment variables: see docs/settings.md."
    parser = argparse.ArgumentParser(prog="domain-service", description=about, epilog=settings)
    parser.add_argument("--version", action="version", version=f"domain-service {__version__}")
    parser.parse_args()


if __name__ == "__main__":
    main()
