"""Does the bus's memory stay flat? Publishes a million events while 100 subscribers come and go.

Prints what the bus has in memory after each tenth, and the most it ever had, in MiB: VmRSS and VmHWM of
proc_pid_status(5). Run it as `python bus/bench/memory.py`; the port may follow.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from aiohttp import ClientError, ClientSession

EVENTS = 1_000_000
BATCH = 500
SUBSCRIBERS = 100
STAY = 2_000  # events that a subscriber reads before it goes
TOKEN = "bench"  # noqa: S105 - the bus of this run knows no other


async def main(port: str) -> None:
    """Start a bus with an empty log, and measure it."""
    with tempfile.TemporaryDirectory() as folder:
        services = Path(folder) / "services.json"
        services.write_text(json.dumps([{"name": "bench", "token": TOKEN}]))
        settings = {
            "HTTP_EVENTBUS_SERVER_HOST": "127.0.0.1",
            "HTTP_EVENTBUS_SERVER_PORT": port,
            "EVENTBUS_LOG": f"sqlite:{folder}/events.db",
            "EVENTBUS_SERVICES": str(services),
            "EVENTBUS_RETENTION_EVENTS": "200000",
        }
        bus = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "eventbus", env=settings, stderr=asyncio.subprocess.PIPE
        )
        try:
            await first_line(bus)
            async with ClientSession(headers={"Authorization": TOKEN}) as http:
                await run(http, f"http://127.0.0.1:{port}", bus.pid)
        finally:
            bus.terminate()
            async with asyncio.timeout(10):
                await bus.wait()


async def first_line(process: asyncio.subprocess.Process) -> None:
    """Wait until the program has said something."""
    if process.stderr:
        await process.stderr.readline()


async def run(http: ClientSession, url: str, pid: int) -> None:
    """Publish all events while the subscribers come and go."""
    visits = [0]
    subscribers = [asyncio.create_task(come_and_go(http, url, number, visits)) for number in range(SUBSCRIBERS)]
    start = time.monotonic()
    for published in range(0, EVENTS + 1, BATCH):
        if published % (EVENTS // 10) == 0:
            now, most = memory(pid)
            so_far = f"{published:>9} events, {visits[0]:>5} visits, {time.monotonic() - start:6.1f} s"
            say(f"{so_far}: {now:6.1f} MiB, at most {most:6.1f} MiB")
        batch = [{"name": f"job-{number % SUBSCRIBERS}", "data": {"number": number}} for number in range(BATCH)]
        async with http.post(url, json=batch) as answer:
            if answer.status != 200:
                sys.exit(await answer.text())
    for subscriber in subscribers:
        subscriber.cancel()
    await asyncio.gather(*subscribers, return_exceptions=True)


async def come_and_go(http: ClientSession, url: str, number: int, visits: list[int]) -> None:
    """Connect as one of a kind, read some events, and hang up, for ever: live, by replay, or as a group's member."""
    kinds: list[dict[str, object]] = [{}, {"after": 0}, {"group": f"group {number % 10}", "after": 0}]
    command = {"action": "authenticate", "credentials": TOKEN, "names": [f"job-{number}"]} | kinds[number % 3]
    while True:
        visits[0] += 1
        with suppress(ClientError, TypeError, OSError):
            async with http.ws_connect(url + "/ws") as socket:
                await socket.send_json(command)
                await socket.receive_json()
                for _ in range(STAY // SUBSCRIBERS):
                    event = await socket.receive_json()
                    if "group" in command:
                        await socket.send_json({"action": "ack", "seq": event["seq"]})


def memory(pid: int) -> tuple[float, float]:
    """Return what a process has in memory now, and the most it ever had, in MiB."""
    fields = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    now, most = (int(fields[name].split()[0]) / 1024 for name in ("VmRSS", "VmHWM"))
    return now, most


def say(line: str) -> None:
    """Write a line at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Does the bus's memory stay flat?")
    parser.add_argument("port", nargs="?", default="3009", help="where the bus listens")
    asyncio.run(main(parser.parse_args().port))
