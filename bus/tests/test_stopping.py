"""A program ends in time after a signal, whatever its loop is busy with: exit status 0."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest
from bus_under_test import PATIENCE

BUSY = """
import asyncio, logging
from eventbus.server.stopping import stop_signal

async def run():
    stop_signal()
    print("ready", flush=True)
    {busy}

logging.basicConfig(format="%(message)s")
asyncio.run(run())
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize(
    ("busy", "said"),
    [
        ("while True: pass", b"stopped before everything was closed\n"),
        ("print('x' * 1_000_000)", b""),  # nobody reads what it writes
        ("await asyncio.Event().wait()", b"stopped before everything was closed\n"),
    ],
    ids=["loop", "pipe", "task"],
)
def test_a_program_that_is_busy_ends_in_time(number: signal.Signals, busy: str, said: bytes) -> None:
    command = [sys.executable, "-c", BUSY.format(busy=busy)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as program:
        assert program.stdout
        try:
            assert program.stdout.readline() == b"ready\n"

            program.send_signal(number)
            program.send_signal(number)

            assert program.wait(timeout=PATIENCE) == 0
            assert program.stdout.read().endswith(said)
        finally:
            program.kill()
