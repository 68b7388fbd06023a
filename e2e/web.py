"""Small HTTP and bus requests for tests that play a program without a browser."""

from __future__ import annotations

import asyncio
import json
import ssl
import urllib.error
import urllib.request
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from email.message import Message
from threading import Thread
from typing import Any

from websockets.asyncio.client import ClientConnection, connect

Run = Callable[[Coroutine[Any, Any, Any]], Any]


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server said, whatever the status."""

    status: int
    headers: Message
    text: str

    def json(self) -> Any:
        return json.loads(self.text)


def request(method: str, url: str, *, body: object = None, **headers: str) -> Answer:
    """Send a request; a body goes as JSON. Header names are written with `_` for `-`."""
    sent = urllib.request.Request(url, method=method, data=None if body is None else json.dumps(body).encode())
    for name, value in headers.items():
        sent.add_header(name.replace("_", "-"), value)
    try:
        with _opener().open(sent, timeout=10) as response:
            return Answer(response.status, response.headers, response.read().decode())
    except urllib.error.HTTPError as response:
        with response:
            return Answer(response.code, response.headers, response.read().decode())


def _opener() -> urllib.request.OpenerDirector:
    """Trust what is trusted now, and ask no proxy: `urlopen` keeps what it found at its first use."""
    tls = urllib.request.HTTPSHandler(context=ssl.create_default_context())
    return urllib.request.build_opener(urllib.request.ProxyHandler({}), tls)


@contextmanager
def visit(bus_url: str) -> Iterator[Visitor]:
    """Be a client of the bus for a while."""
    with _loop_of_its_own() as run:
        socket = run(_connect(bus_url.replace("http", "ws", 1) + "/ws"))
        try:
            yield Visitor(bus_url, socket, run)
        finally:
            run(socket.close())


async def _connect(url: str) -> ClientConnection:
    return await connect(url, proxy=None)


@contextmanager
def _loop_of_its_own() -> Iterator[Run]:
    """Run coroutines in a thread, as Playwright has a loop in this one.

    The blocking client of websockets would need no loop. It reads in one thread and writes in another, and over TLS
    loses about one handshake in a thousand by that, whatever the server: OpenSSL's connections are not for two threads.
    """
    loop = asyncio.new_event_loop()
    thread = Thread(target=loop.run_forever, name="visitor")
    thread.start()
    try:
        yield lambda coroutine: asyncio.run_coroutine_threadsafe(coroutine, loop).result(timeout=60)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


class Visitor:
    """A client of the bus, as a page is one: it has a token, publishes, and is sent the events addressed to it."""

    def __init__(self, bus_url: str, socket: ClientConnection, run: Run) -> None:
        self.heard: list[dict[str, Any]] = []  # all that the bus has sent, and this visitor has read
        self._bus_url = bus_url
        self._socket = socket
        self._run = run
        self._run(self._socket.send('{"action": "identify"}'))
        self.token: str = self._receive()["token"]

    def publish(self, name: str, data: object) -> Answer:
        body = {"name": name, "data": data, "context": {"identifier": self.token}}
        return request("POST", self._bus_url, body=body)

    def next(self, name: str, *, within: float = 10) -> Any:
        """Wait so many seconds for the next event of this name and return its data."""
        while (event := self._receive(within)).get("name") != name:
            pass
        return event["data"]

    def ask(self, name: str, data: object) -> Any:
        """Publish and wait for the answer: `check-domain` is answered by `check-domain-completed`."""
        assert self.publish(name, data).status == 200
        return self.next(f"{name}-completed")

    def _receive(self, within: float = 10) -> Any:
        self.heard.append(json.loads(self._run(asyncio.wait_for(self._socket.recv(), within))))
        return self.heard[-1]
