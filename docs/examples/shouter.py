"""A service that answers each `shout` with the same words in capitals."""

import argparse

from eventbus_client import serve


def shout(event):
    return [{"name": "shout-completed", "data": event["data"].upper()}]


argparse.ArgumentParser(description=__doc__).parse_args()  # there are none: settings come from the environment
serve({"shout": shout}, group="shouter", token_variable="SHOUTER_TOKEN")
