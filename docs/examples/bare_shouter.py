"""A whole service without a library: answers each `shout` with the same words in capitals."""

import argparse
import json
import os
import urllib.request

from websockets.sync.client import connect

argparse.ArgumentParser(description=__doc__).parse_args()
BUS = os.environ.get("EVENTBUS_URL", "http://localhost:3001")
TOKEN = os.environ["SHOUTER_TOKEN"]
urllib.request.install_opener(urllib.request.build_opener(urllib.request.ProxyHandler({})))  # asks the bus itself

with connect(BUS.replace("http", "ws", 1) + "/ws", proxy=None) as socket:
    socket.send(json.dumps({"action": "authenticate", "credentials": TOKEN}))
    hello = json.loads(socket.recv())
    print(hello, flush=True)
    for frame in socket:
        question = json.loads(frame)
        if question["name"] == "shout":
            context = question["context"] | {"cause": str(question["seq"])}
            answer = {"name": "shout-completed", "data": question["data"].upper(), "context": context}
            answer["id"] = f"{hello['epoch']}-{question['seq']}-1"
            request = urllib.request.Request(BUS, json.dumps(answer).encode(), {"Authorization": f"Bearer {TOKEN}"})
            urllib.request.urlopen(request, timeout=10).close()
