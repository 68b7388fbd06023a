"""A real server that speaks the bus's protocol and does what a test tells it: refuse, fall silent, close, be gone.

For what the real bus does only in bad hours. The stories in `e2e/` use the real one.
"""

from __future__ import annotations

import asyncio
import gc
import json
import threading
from collections import deque
from collections.abc import Callable, Coroutine
from pathlib import Path
from socket import create_server
from typing import Any, Self, TypeVar

from aiohttp import web

T = TypeVar("T")
EPOCH = "epoch-1"
BROKEN = 0
"""As the status of an answer: the connection breaks instead."""


class ObedientBus:
    """A bus in a thread of its own that also serves the page's files, so that there is one origin.

    Attributes:
        url: Where it listens.
        commands: What came over the sockets.
        posts: What was published.
        answers: Statuses, headers and details for the next POSTs; 200 when it is empty.
        gone: Take no connection and no POST.
        silent: Take connections, but answer nothing that comes over them.
        hanging: Let a connection's handshake wait for ever.
        refusals: Errors for the next ones that identify.
        identify_extra: Added to the answer to `identify`.
        attempts: How many handshakes began.
        resumes: Know the tokens that pages come back with.
        head: The `seq` given last.
        stored: The `seq` of each event that was published, by its id: who sends one again is given the same.
    """

    def __init__(self, public: Path) -> None:
        self.commands: list[dict[str, Any]] = []
        self.posts: list[dict[str, Any]] = []
        self.answers: deque[tuple[int, dict[str, str], str]] = deque()
        self.gone = self.silent = self.hanging = False
        self.refusals: deque[str] = deque()
        self.identify_extra: dict[str, Any] = {}
        self.attempts = 0
        self.resumes = True
        self.epoch = EPOCH
        self.head = 10
        self.stored: dict[str, int] = {}
        self.url = ""
        self._public = public
        self._tokens = 0
        self._sockets: list[web.WebSocketResponse] = []
        self._end = asyncio.Event()
        self._changed = threading.Condition()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> Self:
        self._listening = create_server(("127.0.0.1", 0))
        self._thread.start()
        self._runner = self._run(self._start())
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._run(self._stop())
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()
            gc.collect()  # what was left open is complained of here, and not in whatever test comes next

    # What tests say.

    def answer_next(self, *statuses: int, detail: str = "told to", **headers: str) -> None:
        """Answer the next POSTs with these statuses."""
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        self.answers.extend((status, headers, detail) for status in statuses)

    def push(self, name: str, data: object = None, **fields: object) -> None:
        """Send an event to every page; it gets the next `seq` unless it has one."""
        event = {"name": name, "data": data, "context": {}, "id": f"service-{self.head}", "source": "domain service"}
        self._run(self._send({**event, "seq": self._next(), **fields}))

    def close(self, code: int) -> None:
        self._run(self._close(code))

    @property
    def connections(self) -> int:
        return len(self._sockets)

    def wait_for(self, condition: Callable[[], bool]) -> None:
        with self._changed:
            assert self._changed.wait_for(condition, timeout=10), f"commands {self.commands}, posts {self.posts}"

    # What pages see.

    async def _start(self) -> web.AppRunner:
        app = web.Application()
        app.router.add_get("/ws", self._connect)
        app.router.add_post("/", self._publish)
        app.router.add_get("/config.json", self._config)
        app.router.add_get("/blank", self._blank)
        app.router.add_static("/", self._public)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.SockSite(runner, self._listening).start()
        self.url = "http://{}:{}".format(*self._listening.getsockname())
        return runner

    async def _stop(self) -> None:
        """Abort whatever is connected or just about to be, and let all that goes on for it end.

        Closing the server at once would drop connections that are half accepted, and leave their sockets open; and
        its `cleanup` alone would wait for them for ever.
        """
        server = self._runner.server
        assert server
        self._loop.remove_reader(self._listening)  # takes no more
        self._end.set()
        while server.connections or len(asyncio.all_tasks()) > 1:
            for connection in server.connections:
                if connection.transport:
                    connection.transport.abort()
            await asyncio.sleep(0)  # one round of the loop
        await self._runner.cleanup()

    async def _connect(self, request: web.Request) -> web.WebSocketResponse:
        self.attempts += 1
        self._note()
        if self.hanging:
            await self._end.wait()
        if self.gone or self.hanging:
            raise web.HTTPServiceUnavailable
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        self._sockets.append(socket)
        async for message in socket:
            self.commands.append(message.json())
            if not self.silent:
                await socket.send_json(self._answer(message.json()))
            self._note()
        self._sockets.remove(socket)
        self._note()
        return socket

    def _answer(self, command: dict[str, Any]) -> dict[str, Any]:
        if command["action"] == "ping":
            return {"action": "ping"}
        if command["action"] != "identify":
            return {"action": command["action"], "error": "unknown action"}
        token, after = command.get("token") or "", command.get("after") or 0
        if self.refusals or not (isinstance(token, str) and isinstance(after, int)):
            error = self.refusals.popleft() if self.refusals else "Expected another type"
            return {"action": "identify", "error": error}
        return self._identified(token)

    def _identified(self, token: str) -> dict[str, Any]:
        resumed = self.resumes and token != ""
        self._tokens += not resumed
        token = token if resumed else f"token-{self._tokens}"
        answer = {"action": "identify", "token": token, "resumed": resumed, "seq": self.head, "epoch": self.epoch}
        return answer | self.identify_extra

    async def _publish(self, request: web.Request) -> web.Response:
        post = await request.json()
        status, headers, detail = self.answers.popleft() if self.answers else (200, {}, "")
        status = BROKEN if self.gone else status
        if post == [] and status == 200:
            status, detail = 422, "the batch is empty"
        elif post:
            self.posts.append(post)
        self._note()
        if status == BROKEN:
            assert request.transport
            request.transport.abort()
        if status != 200:
            problem = {"status": status, "detail": detail}
            kind = "application/problem+json"
            return web.json_response(problem, status=status or 500, headers=headers, content_type=kind)
        return web.json_response(self._receipt(post["id"]))

    def _receipt(self, event: str) -> dict[str, Any]:
        if event in self.stored:
            return {"id": event, "seq": self.stored[event], "duplicate": True}
        self.stored[event] = self._next()
        return {"id": event, "seq": self.stored[event]}

    async def _config(self, _request: web.Request) -> web.Response:
        return web.json_response({"eventbus": self.url})

    async def _blank(self, _request: web.Request) -> web.Response:
        return web.Response(text="<!doctype html><title>blank</title>", content_type="text/html")

    async def _send(self, event: dict[str, Any]) -> None:
        for socket in list(self._sockets):
            await socket.send_str(json.dumps(event))

    async def _close(self, code: int) -> None:
        await asyncio.gather(*(socket.close(code=code) for socket in list(self._sockets)))

    def _next(self) -> int:
        self.head += 1
        return self.head

    def _note(self) -> None:
        """Wake the test that waits for what has just happened."""
        with self._changed:
            self._changed.notify_all()

    def _run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(timeout=10)
