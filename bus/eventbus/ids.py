"""The ids of events: their publishers', or new ones."""

from __future__ import annotations

import time
from random import Random

from msgspec import UNSET

from .event import Draft

_random = Random()  # noqa: S311 - no secret; the system's own random numbers would cost a call for each event
_MILLISECONDS = (1 << 48) - 1  # as many bits as there are, wherever the clock leaps to
_UUID7 = "%08x-%04x-7%03x-%04x-%012x"  # by hand, as one is made for each event: `uuid.UUID` takes three times as long


def new_id() -> str:
    """Make a UUIDv7: random, and sorted by the time it was made (RFC 9562, 5.7)."""
    milliseconds, bits = time.time_ns() // 1_000_000 & _MILLISECONDS, _random.getrandbits
    return _UUID7 % (milliseconds >> 16, milliseconds & 0xFFFF, bits(12), 0x8000 | bits(14), bits(48))


def id_of(draft: Draft) -> str:
    """Return the id that its publisher gave an event; a new one if it gave none."""
    return new_id() if draft.id is UNSET else draft.id
