"""A whole client: publishes one event, and prints what the bus sends until the answer is there."""

import json
import os
import sys
import urllib.error
import urllib.request

from websockets.sync.client import connect

BUS = os.environ.get("EVENTBUS_URL", "http://localhost:3001")
try:
    name, data = sys.argv[1], json.loads(sys.argv[2])
except (IndexError, ValueError):
    sys.exit("""usage: ask.py NAME DATA, such as: ask.py check-domain '["example.com"]' (DATA is JSON)""")

with connect(BUS.replace("http", "ws", 1) + "/ws") as socket:
    socket.send('{"action": "identify"}')
    token = json.loads(socket.recv())["token"]
    question = {"name": name, "data": data, "context": {"identifier": token}}
    try:
        urllib.request.urlopen(BUS, json.dumps(question).encode()).close()
    except urllib.error.HTTPError as refusal:
        sys.exit(refusal.read().decode())
    for frame in socket:
        print(frame)
        if json.loads(frame)["name"] == f"{name}-completed":
            break
