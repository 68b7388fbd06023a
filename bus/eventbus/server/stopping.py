"""How a program stops: well if it can, and in time whatever it is busy with."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import threading
import time
from contextlib import suppress

SIGNALS = (signal.SIGTERM, signal.SIGINT)

STOPPING = 3.5
"""Seconds until an end that is not reached well is made: process managers kill after 5."""

LAST_WORD = 0.1
"""Seconds that the line about it may take: nobody may be reading what the program writes."""

logger = logging.getLogger("eventbus")


def stop_signal() -> asyncio.Event:
    """Make an event that the first SIGTERM or SIGINT sets; the program is deaf to those that follow.

    A runner passes a terminal's Ctrl-C on although the programs got it themselves: a second signal would kill a program
    that is ending well. A thread waits for the first one, and counts the seconds: the loop may be busy, or stand still.
    To be called before any other thread starts, which would get the signal.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    threading.Thread(target=_wait_for_signal, args=(loop, stop), name="stopping", daemon=True).start()
    return stop


def _wait_for_signal(loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
    signal.sigwait(SIGNALS)
    with suppress(RuntimeError):  # the loop has ended by itself
        loop.call_soon_threadsafe(stop.set)
    time.sleep(STOPPING)
    threading.Thread(target=_say_so, daemon=True).start()
    time.sleep(LAST_WORD)
    os._exit(0)  # what was answered is on the disk


def _say_so() -> None:
    logger.warning("stopped before everything was closed")
