"""The yardstick: the bus as a tutorial would write it on aiohttp.

In memory, one event at a time to one socket at a time. It promises no order, stores nothing, and waits for each socket.
It is started with its port and the services' token.
"""

from __future__ import annotations

import json
import secrets
import sys
from contextlib import suppress

from aiohttp import WSMsgType, web

Sockets = set[web.WebSocketResponse]
SERVICES: web.AppKey[Sockets] = web.AppKey("services", Sockets)
CLIENTS: web.AppKey[dict[str, Sockets]] = web.AppKey("clients", dict[str, Sockets])
TOKEN: web.AppKey[str] = web.AppKey("token", str)


async def publish(request: web.Request) -> web.Response:
    """POST /: send the event, or each of an array, to all services and to the client that it names."""
    clients = request.app[CLIENTS]
    from_service = request.headers.get("Authorization") == request.app[TOKEN]
    posted = await request.json()
    for event in posted if isinstance(posted, list) else [posted]:
        client = event.get("context", {}).get("identifier")
        if not from_service and client not in clients:
            return web.json_response({"error": "who are you?"}, status=401)
        text = json.dumps(event)
        for socket in [*request.app[SERVICES], *clients.get(client, ())]:
            with suppress(ConnectionError):
                await socket.send_str(text)
    return web.json_response({"published": True})


async def subscribe(request: web.Request) -> web.WebSocketResponse:
    """GET /ws: the socket of a client or a service, once it has said which."""
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    sockets: Sockets = set()
    async for message in socket:
        if message.type is not WSMsgType.TEXT:
            continue
        command = json.loads(message.data)
        if command["action"] == "identify":
            token = command.get("token") or f"token-{secrets.token_hex(16)}"
            sockets = request.app[CLIENTS].setdefault(token, set())
            await socket.send_json({"action": "identify", "token": token})
        elif command["action"] == "authenticate" and command["credentials"] == request.app[TOKEN]:
            sockets = request.app[SERVICES]
            await socket.send_json({"action": "authenticate", "authenticated": True})
        sockets.add(socket)
    sockets.discard(socket)
    return socket


def main() -> None:
    """Listen until somebody stops it."""
    app = web.Application()
    app[SERVICES], app[CLIENTS], app[TOKEN] = set(), {}, sys.argv[2]
    app.add_routes([web.post("/", publish), web.get("/ws", subscribe)])
    web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), access_log=None, print=None)


if __name__ == "__main__":
    main()
