"""A service as a program: reads the settings, answers until it is told to stop, and says in one line why it cannot."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress

from .answers import Handler
from .config import ConfigError, Settings
from .connection import NotAllowed
from .publisher import open_session
from .runner import end_with
from .service import Service

logger = logging.getLogger(__name__)

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)

EXIT_WRONG_SETTING = 2
EXIT_NOT_ALLOWED = 3


def serve(
    handlers: Mapping[str, Handler],
    *,
    group: str,
    token_variable: str = "AUTHORIZATION_TOKEN",  # noqa: S107 - a name, no secret
) -> None:
    """Answer events until SIGTERM or SIGINT. Exit code 2 means a wrong setting, 3 that the bus refuses the token.

    Args:
        handlers: A function for each event name. It takes the event as the bus delivers it, with the log's name beside
            it as `epoch`, and returns a list of the events that answer it, each with a `name` and perhaps `data`. They
            go to whoever asked. It may be `async`. One that fails is asked again later.
        group: What all instances of the service call themselves: they share the events, and the bus keeps for the group
            how far it has come.
        token_variable: The environment variable that holds the service's token: the one that its entry in the bus's
            services file names.
    """
    with wrong_settings_end_it():
        settings = Settings.from_env(os.environ, token_variable)
        end_with(settings.runner)
        try:
            asyncio.run(_serve(settings, handlers, group))
        except NotAllowed as error:
            advice = f"{token_variable} must be this service's token in the bus's services file"
            _exit(EXIT_NOT_ALLOWED, f"{settings.eventbus_url} does not accept this service ({error}): {advice}")


@contextmanager
def wrong_settings_end_it() -> Iterator[None]:
    """End the program with one line and exit code 2 for a wrong setting, also for one of the service's own."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        yield
    except ConfigError as error:
        _exit(EXIT_WRONG_SETTING, str(error))


async def _serve(settings: Settings, handlers: Mapping[str, Handler], group: str) -> None:
    if settings.connected_file:
        settings.connected_file.unlink(missing_ok=True)  # left there by one that was killed
    async with open_session(settings.token) as http:
        service = Service(settings, http, handlers, group=group)
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
