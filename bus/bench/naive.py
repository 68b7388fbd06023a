"""The bus as a tutorial would write it: a yardstick. In memory; it promises neither order nor storage.

Run it as `python bus/bench/naive.py PORT`; a service's token is `bench`.
"""

from __future__ import annotations

import json
import sys
import uuid
from datetime import UTC, datetime
from typing import Any

from aiohttp import web

TOKEN = "bench"  # noqa: S105 - a bus that is measured guards nothing

events: list[dict[str, Any]] = []
services: set[web.WebSocketResponse] = set()
clients: dict[str, web.WebSocketResponse] = {}


async def publish(request: web.Request) -> web.Response:
    """POST /: keep an event, send it to every service and to the client that it concerns, and answer."""
    event = await request.json()
    context = event.setdefault("context", {})
    token = request.headers.get("Authorization", "").removeprefix("Bearer ")
    if token != TOKEN and context.get("identifier") not in clients:
        raise web.HTTPUnauthorized
    event.setdefault("id", str(uuid.uuid4()))
    event["seq"] = len(events) + 1
    event["time"] = datetime.now(UTC).isoformat()
    event["source"] = "service" if token == TOKEN else "client"
    events.append(event)
    for socket in list(services):
        await socket.send_str(json.dumps(event))
    if context.get("identifier") in clients:
        await clients[context["identifier"]].send_str(json.dumps(event))
    return web.json_response({"id": event["id"], "seq": event["seq"]})


async def connect(request: web.Request) -> web.WebSocketResponse:
    """GET /ws: take a client or a service."""
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    token = ""
    async for message in socket:
        command = json.loads(message.data)
        if command["action"] == "identify":
            token = str(uuid.uuid4())
            clients[token] = socket
            await socket.send_json({"action": "identify", "token": token, "address": token})
        elif command["action"] == "authenticate" and command["credentials"] == TOKEN:
            services.add(socket)
            await socket.send_json({"action": "authenticate", "authenticated": True})
    services.discard(socket)
    clients.pop(token, None)
    return socket


if __name__ == "__main__":
    app = web.Application()
    app.router.add_post("/", publish)
    app.router.add_get("/ws", connect)
    web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), print=None, access_log=None)
