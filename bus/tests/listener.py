"""A service in a process of its own, so that a test can freeze it: prints the `seq` and `id` of each event it gets."""

from __future__ import annotations

import json
import sys
import time

from websockets.exceptions import WebSocketException
from websockets.sync.client import connect


def say(line: str) -> None:
    """Write a line at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


url, token = sys.argv[1:]
place: dict[str, object] = {"after": 0}
while True:
    try:
        with connect(url) as socket:
            socket.send(json.dumps({"action": "authenticate", "credentials": token, **place}))
            place["epoch"] = json.loads(socket.recv())["epoch"]
            say("connected")
            for frame in socket:
                event = json.loads(frame)
                say(f"{event['seq']} {event['id']}")
                place["after"] = event["seq"]
    except (OSError, WebSocketException):
        time.sleep(0.05)  # the bus is being started
