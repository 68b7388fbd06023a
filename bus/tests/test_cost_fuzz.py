"""Whatever 100 kB a stranger sends, the cost has a bound: in memory, in one piece of the loop, and in all.

In all, an input may cost five times as much as a connection with whole, honest requests of the same size together.
`COST_FUZZ_SECONDS=600 .venv/bin/pytest -s bus/tests/test_cost_fuzz.py` goes on for ten minutes, and tells the most.
"""

from __future__ import annotations

import asyncio
import json
import os
import struct
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random

import pytest
from bus_under_test import BusProcess, StartProcess
from loop_probe import LONGEST

SECONDS = float(os.environ.get("COST_FUZZ_SECONDS", "8"))
MOST = 100_000  # bytes of an input
MEMORY = 20 * 1024 * 1024  # bytes
IN_ONE_PIECE = 0.05  # seconds
TIMES_HONEST = 5
NOISE = 0.02  # seconds, for what the bus does by itself meanwhile

HONEST = (
    b"POST / HTTP/1.1\r\nHost: localhost\r\nAuthorization: the-service\r\nContent-Length: 14\r\n\r\n"
    + b'{"name": "hi"}'
)
HANDSHAKE = (
    b"GET /ws HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


@dataclass(frozen=True)
class Cost:
    """What an input took: bytes of memory, seconds of the loop in one piece, seconds of CPU in all."""

    memory: int
    in_one_piece: float
    in_all: float


class Meter:
    """Measures a bus that `loop_probe` runs."""

    def __init__(self, bus: BusProcess, probe: Path) -> None:
        self._bus = bus
        self._folder = Path(f"/proc/{bus.process.pid}")
        self._probe = probe

    async def cost(self, send: Callable[[], Awaitable[None]]) -> Cost:
        (self._folder / "clear_refs").write_text("5")  # the peak begins anew (man 5 proc)
        with self._probe.open("r+b") as probe:  # not truncated: the bus has it in its memory
            probe.write(LONGEST.pack(0.0))
        memory, cpu = self._peak(), self._cpu()
        await send()
        [longest] = LONGEST.unpack(self._probe.read_bytes())
        return Cost(self._peak() - memory, longest, self._cpu() - cpu)

    def _peak(self) -> int:
        [line] = [line for line in (self._folder / "status").read_text().splitlines() if "VmHWM" in line]
        return int(line.split()[1]) * 1024

    def _cpu(self) -> float:
        return sum(int(task.read_text().split()[0]) for task in self._folder.glob("task/*/schedstat")) / 1e9


async def send(bus: BusProcess, pieces: list[bytes]) -> None:
    """Send pieces on one connection, and read until the bus hangs up, or has nothing more to say."""
    reader, writer = await asyncio.open_connection(*bus.address, local_addr=("127.0.0.7", 0))
    try:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
        async with asyncio.timeout(0.3):
            while await reader.read(65536):
                pass
    except (ConnectionError, TimeoutError):
        pass
    finally:
        writer.transport.abort()
    # What came before has been taken up by the time when this is answered.
    for _ in range(3):
        assert (await bus.request("GET", "/healthz")).status == 200


# What strangers send


def any_input(random: Random) -> list[bytes]:
    """Make some bytes that a stranger may send, in the pieces in which they arrive."""
    kind = random.choice([head, known_length, chunked, many_requests, websocket, event, batch])
    data = kind(random)
    if random.random() < 0.5:
        data = mutated(data, random)
    return cut(data[:MOST], random)


def head(random: Random) -> bytes:
    method = random.choice([b"GET", b"POST", b"OPTIONS", b"HEAD", b"BREW", b"P" * random.randrange(5000)])
    target = random.choice(
        [b"/", b"/events", b"/events?after=1&name=" + b"*" * random.randrange(5000), b"*", b"/" * 8000]
    )
    lines = [b"Host: localhost", b"Expect: 100-continue", b"Transfer-Encoding: gzip, chunked", b"Content-Length: 5"]
    lines += [b"X-%d: %b" % (number, b"x" * random.randrange(60)) for number in range(random.choice([0, 50, 2000]))]
    lines += [b"Cookie: " + b"c" * random.choice([10, 8000, 50_000]), b" folded", b"", b"Origin: null", b"no colon"]
    chosen = random.sample(lines, random.randrange(len(lines)))
    return method + b" " + target + b" HTTP/1.1\r\n" + b"\r\n".join([*chosen, b"", b""])


def known_length(random: Random) -> bytes:
    body = random.choice([event, batch])(random)
    length = random.choice([len(body), len(body) + 1000, len(body) // 2, 10**6, 0])
    return post(b"Content-Length: %d" % length, random) + body


def chunked(random: Random) -> bytes:
    size = random.choice([1, 1, 2, 16, 1000])
    line = random.choice([b"%x\r\n%b\r\n", b"%x;a=b\r\n%b\r\n", b"000%x\r\n%b\r\n", b"%x\n%b\n", b"%x\r\n%bZ"])
    piece = line % (size, b"x" * size)
    end = random.choice([b"0\r\n\r\n", b"0\r\nTrailer: x\r\n\r\n", b"", b"Z", b"Z" * 5000, b"f" * 20 + b"\r\n"])
    return post(b"Transfer-Encoding: chunked", random) + piece * random.randrange(MOST // len(piece)) + end


def many_requests(random: Random) -> bytes:
    request = random.choice(
        [
            HONEST,
            b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n",
            b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n",
            b"OPTIONS / HTTP/1.1\r\nHost: localhost\r\nOrigin: http://localhost:3000\r\n\r\n",
            b"GET /nowhere HTTP/1.1\r\nHost: localhost\r\n\r\n",
            b"\r\n",
            b"x\r\n\r\n",
        ]
    )
    return request * (MOST // len(request))


def websocket(random: Random) -> bytes:
    frame = random.choice(
        [
            frame_of(1, b'{"action": "identify"}'),
            frame_of(1, b'{"action": "ping"}'),
            frame_of(1, b'{"action": "' + b"x" * random.randrange(60_000) + b'"}'),
            frame_of(1, b"[" * random.randrange(60_000)),
            frame_of(0, b""),
            frame_of(9, b"p" * random.randrange(126)),
            frame_of(10, b""),
            frame_of(2, b"binary"),
            frame_of(8, struct.pack("!H", random.randrange(65536)) + b"why"),
            b"\x81\x05hello",
        ]
    )
    return HANDSHAKE + frame * min(random.choice([1, 100, MOST]), MOST // len(frame))


def event(random: Random) -> bytes:
    data = random.choice(
        [
            b'"' + b"\\u0041" * random.randrange(15_000) + b'"',
            b"[" * random.randrange(90_000),
            b"[" * 60 + b"]" * 60,
            b"9" * random.randrange(90_000),
            b"1e" + b"9" * random.randrange(10_000),
            b"{" + b",".join(b'"k%d":0' % number for number in range(random.randrange(8000))) + b"}",
            b'"\xff\xfe"',
            b'"' + b"[{" * random.randrange(40_000) + b'"',
        ]
    )
    context = random.choice([b"{}", b"{" + b",".join(b'"%d":""' % key for key in range(5000)) + b"}", b"[]"])
    return b'{"name": "hi", "data": %b, "context": %b}' % (data, context)


def batch(random: Random) -> bytes:
    each = random.choice([b'{"name":"hi"}', b"{}", b"0", b'{"name":"hi","id":"same"}', b"[]", event(random)])
    count = min(random.choice([1, 999, 1000, 1001, MOST]), MOST // (len(each) + 1))
    return b"[" + b",".join([each] * count) + random.choice([b"]", b",{}]", b",", b""])


def post(more: bytes, random: Random) -> bytes:
    token = random.choice([b"Authorization: the-service\r\n", b"Authorization: wrong\r\n", b""])
    return b"POST / HTTP/1.1\r\nHost: localhost\r\n" + token + more + b"\r\n\r\n"


def frame_of(code: int, payload: bytes) -> bytes:
    length = len(payload)
    size = bytes([0x80 | length]) if length < 126 else b"\xfe" + struct.pack("!H", length)
    return bytes([0x80 | code]) + size + bytes(4) + payload


def mutated(data: bytes, random: Random) -> bytes:
    changed = bytearray(data)
    for _ in range(random.randrange(1, 4)):
        place = random.randrange(len(changed) + 1)
        changed[place : place + random.randrange(4)] = random.randbytes(random.randrange(4))
    return bytes(changed)


def cut(data: bytes, random: Random) -> list[bytes]:
    places = sorted(random.randrange(len(data) + 1) for _ in range(random.choice([0, 1, 7])))
    return [data[begin:end] for begin, end in zip([0, *places], [*places, len(data)], strict=True) if begin < end]


@pytest.mark.timeout(SECONDS + 120)
@pytest.mark.skipif(sys.platform != "linux", reason="the system does not tell what a process costs")
async def test_no_input_costs_more_than_a_bound(run: StartProcess, tmp_path: Path) -> None:
    probe = tmp_path / "probe"
    probe.write_bytes(LONGEST.pack(0.0))
    measured = (sys.executable, str(Path(__file__).with_name("loop_probe.py")))
    bus = await run(prefix=measured, PROBE_FILE=str(probe), EVENTBUS_LOG="memory:")
    meter = Meter(bus, probe)
    honest = [HONEST * (MOST // len(HONEST))]
    await meter.cost(lambda: send(bus, honest))
    of_many = (await meter.cost(lambda: send(bus, honest))).in_all
    of_one = (await meter.cost(lambda: send(bus, [HONEST]))).in_all
    most = Cost(0, 0.0, 0.0)
    seed, until = int(os.environ.get("COST_FUZZ_SEED", "1")), time.monotonic() + SECONDS
    number = 0

    while time.monotonic() < until:
        pieces = any_input(Random(f"{seed} {number}"))
        cost = await meter.cost(lambda pieces=pieces: send(bus, pieces))
        allowed = TIMES_HONEST * (of_one + of_many * len(b"".join(pieces)) / MOST) + NOISE
        told = (seed, number, cost, allowed, [piece[:200] for piece in pieces])
        assert cost.memory <= MEMORY, told
        assert cost.in_one_piece <= IN_ONE_PIECE, told
        assert cost.in_all <= allowed, told
        most = Cost(*(max(pair) for pair in zip(_values(most), _values(cost), strict=True)))
        number += 1

    sys.stdout.write(json.dumps({"inputs": number, "honest": of_many, "most": _values(most)}) + "\n")
    assert number >= 10
    assert await bus.stop() == 0


def _values(cost: Cost) -> tuple[int, float, float]:
    return cost.memory, cost.in_one_piece, cost.in_all
