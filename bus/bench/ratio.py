"""What an event that is published takes of the CPU, against `naive.py` in the same run: a ratio, no time.

Machines differ, and are busy with other things; that hits both alike. Ends with status 1 if the bus takes more than it
should, as when one of its levers is lost. Linux only (proc_pid_stat(5)). Run it as `make ratio`.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import statistics
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from naive import TOKEN

CONNECTIONS = 32
SECONDS = 1.5
ROUNDS = 3

LIMITS = {"memory:": 0.8, "sqlite:": 1.4}
"""Of what naive takes; measured were 0.5 and 1.0, and 1.5 and 1.9 without the short cut (docs/performance.md)."""

BODY = json.dumps({"name": "check-domain-completed", "data": ["x" * 200], "context": {"cause": "1"}}).encode()
REQUEST = b"POST / HTTP/1.1\r\nHost: bus\r\nAuthorization: Bearer %b\r\nContent-Length: %d\r\n\r\n%b"


class Publisher(asyncio.Protocol):
    """One connection that publishes the next event as soon as the one before is answered."""

    def __init__(self, stop: asyncio.Event) -> None:
        self.answered = 0
        self.failed = b""
        self._stop = stop
        self._request = REQUEST % (TOKEN.encode(), len(BODY), BODY)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = transport
        transport.write(self._request)  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:
        """Count the answer, which comes in one piece, and go on."""
        if not data.startswith(b"HTTP/1.1 200 "):
            self.failed = data
            self._stop.set()
        self.answered += 1
        if self._stop.is_set():
            self._transport.close()
        else:
            self._transport.write(self._request)  # type: ignore[attr-defined]


@asynccontextmanager
async def running(command: Sequence[str], port: int, environ: dict[str, str]) -> AsyncIterator[int]:
    """Run a server until the block is left; give its process's number once it listens."""
    server = await asyncio.create_subprocess_exec(*command, env=os.environ | environ, stderr=asyncio.subprocess.DEVNULL)
    try:
        async with asyncio.timeout(30):
            while not await _listens(port):  # noqa: ASYNC110 - a program that is not ours says nothing
                await asyncio.sleep(0.05)
        yield server.pid
    finally:
        server.terminate()
        await server.wait()


async def _listens(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True


def cpu_seconds(pid: int) -> float:
    """Tell what a process has used, in the kernel and without."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def microseconds_an_event(pid: int, port: int) -> float:
    """Publish as fast as the server answers; return the CPU time that it takes for an event."""
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    publishers = [Publisher(stop) for _ in range(CONNECTIONS)]
    used = -cpu_seconds(pid)
    for publisher in publishers:
        await loop.create_connection(lambda publisher=publisher: publisher, "127.0.0.1", port)  # type: ignore[misc]
    loop.call_later(SECONDS, stop.set)
    await stop.wait()
    used += cpu_seconds(pid)
    for publisher in publishers:
        if publisher.failed:
            raise RuntimeError(f"a publish was answered by {publisher.failed[:200]!r}")
    return used / sum(publisher.answered for publisher in publishers) * 1e6


async def measure(log: str) -> list[float]:
    """Give the ratio of each round; the two are run in turn."""
    here = Path(__file__).parent
    with tempfile.TemporaryDirectory() as folder:
        services = Path(folder) / "services.json"
        services.write_text(json.dumps([{"name": "bench", "token": TOKEN}]))
        ratios = []
        for number in range(ROUNDS):
            used = []
            for command in ([sys.executable, "-m", "eventbus"], [sys.executable, str(here / "naive.py")]):
                port = _free_port()
                environ = {
                    "HTTP_EVENTBUS_SERVER_HOST": "127.0.0.1",
                    "HTTP_EVENTBUS_SERVER_PORT": str(port),
                    "EVENTBUS_LOG": log if log == "memory:" else f"{log}{folder}/{number}.db",
                    "EVENTBUS_SERVICES": str(services),
                }
                async with running([*command, str(port)], port, environ) as pid:
                    used.append(await microseconds_an_event(pid, port))
            ratios.append(used[0] / used[1])
    return ratios


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def main() -> int:
    """Measure both kinds of log; return 1 if one takes more than it should."""
    status = 0
    for log, limit in LIMITS.items():
        ratios = asyncio.run(measure(log))
        median = statistics.median(ratios)
        status |= median > limit
        print(  # noqa: T201
            f"{log:8} an event published takes {median:.2f} of what naive.py takes "
            f"({min(ratios):.2f} to {max(ratios):.2f} in {ROUNDS} rounds; the limit is {limit})"
        )
    return int(status)


if __name__ == "__main__":
    sys.exit(main())
