"""A whole client: publishes one event, and prints what the bus sends until the answer is there."""

import argparse
import json
import os
import sys
import urllib.error
import urllib.request

from websockets.sync.client import connect

BUS = os.environ.get("EVENTBUS_URL", "http://localhost:3001")
parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("name", metavar="NAME", help="such as check-domain")
parser.add_argument("data", metavar="DATA", help="""JSON, such as '["example.com"]'""")
name, data = vars(parser.parse_args()).values()
try:
    data = json.loads(data)
except ValueError:
    parser.error(f"""DATA={data}: expected JSON, such as '["example.com"]'""")
urllib.request.install_opener(urllib.request.build_opener(urllib.request.ProxyHandler({})))  # asks the bus itself

with connect(BUS.replace("http", "ws", 1) + "/ws", proxy=None) as socket:
    socket.send('{"action": "identify"}')
    token = json.loads(socket.recv())["token"]
    question = {"name": name, "data": data, "context": {"identifier": token}}
    try:
        urllib.request.urlopen(BUS, json.dumps(question).encode(), timeout=10).close()
    except urllib.error.HTTPError as refusal:
        sys.exit(refusal.read().decode())
    for frame in socket:
        print(frame)
        if json.loads(frame)["name"] == f"{name}-completed":
            break
