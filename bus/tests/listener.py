"""A service in a process of its own, so that a test can freeze it: prints the `seq` and `id` of each event it gets.

It takes little at a time: what is sent to it while it is frozen soon fills the bus's own buffer.
"""

from __future__ import annotations

import json
import socket
import sys
import time
from urllib.parse import urlsplit

from websockets.exceptions import WebSocketException
from websockets.sync.client import connect


def say(line: str) -> None:
    """Write a line at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def narrow_socket(url: str) -> socket.socket:
    """Connect with the smallest buffers there are, which also keep those of the other side small."""
    raw = socket.socket()
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 536)
    parts = urlsplit(url)
    raw.connect((parts.hostname, parts.port))
    return raw


url, token = sys.argv[1:]
place: dict[str, object] = {"after": 0}
while True:
    try:
        with connect(url, sock=narrow_socket(url)) as bus:
            bus.send(json.dumps({"action": "authenticate", "credentials": token, **place}))
            answer = json.loads(bus.recv())
            say(f"gap {answer}" if answer.get("gap") else f"connected {place['after']}")
            place["epoch"] = answer["epoch"]
            for frame in bus:
                event = json.loads(frame)
                say(f"{event['seq']} {event['id']}")
                place["after"] = event["seq"]
    except (OSError, WebSocketException):
        time.sleep(0.05)  # the bus is being started
