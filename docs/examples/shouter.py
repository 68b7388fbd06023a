"""A service that answers each `shout` with the same words in capitals."""

from eventbus_client import serve


def shout(event):
    return [{"name": "shout-completed", "data": event["data"].upper()}]


serve({"shout": shout}, group="shouter", token_variable="SHOUTER_TOKEN")
