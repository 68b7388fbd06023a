"""The program `domain-service`: reads the settings, opens the registry, and serves until it is told to stop."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sqlite3
import sys
from contextlib import closing, suppress

from .config import ConfigError, Settings
from .registry import RegistryFile
from .service import NotAllowed, Service, open_session

logger = logging.getLogger("domain_service")

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)

EXIT_WRONG_SETTING = 2
EXIT_NOT_ALLOWED = 3


def main() -> None:
    """Run the service; end with exit code 2 for a wrong setting, 3 when the bus refuses the token, else 0."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        settings = Settings.from_env(os.environ)
        with closing(open_registry(settings)) as registry:
            asyncio.run(serve(settings, registry))
    except ConfigError as error:
        _exit(EXIT_WRONG_SETTING, str(error))
    except NotAllowed as error:
        advice = "AUTHORIZATION_TOKEN must be this service's token in the bus's services file"
        _exit(EXIT_NOT_ALLOWED, f"{settings.eventbus_url} does not accept this service ({error}): {advice}")


def open_registry(settings: Settings) -> RegistryFile:
    """Open the registry, or say in one line why that cannot be."""
    try:
        return RegistryFile(settings.registry)
    except (OSError, sqlite3.Error) as error:
        expected = "expected the path of an SQLite database that can be written, or of a new file"
        raise ConfigError(f"DOMAIN_SERVICE_REGISTRY={settings.registry}: {error}; {expected}") from error


async def serve(settings: Settings, registry: RegistryFile) -> None:
    """Answer questions until SIGTERM or SIGINT."""
    if settings.connected_file:
        settings.connected_file.unlink(missing_ok=True)  # left there by one that was killed
    async with open_session(settings) as http:
        service = Service(settings, registry, http)
        listening = asyncio.create_task(service.listen())
        _stop_on_a_signal(listening)
        with suppress(asyncio.CancelledError):
            await listening
        await service.stop()
    logger.info("stopped")


def _stop_on_a_signal(listening: asyncio.Task[None]) -> None:
    """Cancel the task at the first signal, and be deaf to those that follow: a runner repeats them while this ends."""

    def on_signal() -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
        listening.cancel()

    for number in STOP_SIGNALS:
        asyncio.get_running_loop().add_signal_handler(number, on_signal)


def _exit(code: int, line: str) -> None:
    logger.error("%s", line)
    sys.exit(code)


if __name__ == "__main__":
    main()
