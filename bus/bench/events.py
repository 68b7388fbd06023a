"""The events of the benchmark, about 300 bytes of JSON each, and what a checker reads back from them.

Each says in its data who published it (`publisher`), whom it is for (`to`: a client's number, or EVERYBODY), which one
of those that this publisher sent there it is (`number`, from 0), and when it was sent or should have been (`sent`, in
nanoseconds). The names in it are in the order of the alphabet: a server that decodes an event may write it so.
"""

from __future__ import annotations

import re

EVERYBODY = -1
NOBODY = "nobody"
"""The identifier of events that are for services only."""

PAD = b"abcdefghijklmnopqrstuvwxyz0123456789" * 5
_TEMPLATE = (
    b'{"name":"bench.%b","data":{"number":%d,"pad":"'
    + PAD
    + b'","publisher":%d,"sent":%d,"to":%d},"context":{"identifier":"%b"}}'
)
EVENT = re.compile(
    rb'"name": ?"bench\.(\w+)", ?"data": ?\{"number": ?(\d+), ?"pad": ?"' + PAD + rb'", '
    rb'?"publisher": ?(\d+), ?"sent": ?(\d+), ?"to": ?(-?\d+)\}'
)
"""Finds what an event says, as any server may write it: with spaces or without, and with fields of its own."""


def event(kind: bytes, publisher: int, to: int, number: int, sent: int, identifier: bytes = NOBODY.encode()) -> bytes:
    """Write an event as it is published."""
    return _TEMPLATE % (kind, number, publisher, sent, to, identifier)
