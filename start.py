"""Starts the Procfile by honcho, for `make start`; it ends when nobody can see any more what it prints.

By itself, honcho would go on for ever behind a closed pipe (`make start | head`) or window. The programs end with it.
"""

import os
import select
import signal

from honcho.command import main

LOOK_EVERY = 1.0  # seconds


def look(*_: object) -> None:
    """End at once if what is printed goes nowhere: there is no use in a last word."""
    output = select.poll()
    output.register(1, 0)  # POLLERR and POLLHUP come unasked
    if output.poll(0):
        os._exit(1)


if __name__ == "__main__":
    signal.signal(signal.SIGALRM, look)
    signal.setitimer(signal.ITIMER_REAL, LOOK_EVERY, LOOK_EVERY)
    try:
        main()
    finally:  # or the timer would end the process while Python tidies up, when nobody heeds it any more
        signal.setitimer(signal.ITIMER_REAL, 0)
