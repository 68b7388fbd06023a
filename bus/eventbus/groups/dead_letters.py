"""Dead letters: the bus's own word that a group has given up an event."""

from __future__ import annotations

import hashlib

import msgspec

from ..event import Draft, Event
from ..log import Entry, GroupKey, Publisher
from ..patterns import OWN

DEAD_LETTER = f"{OWN}dead-letter"
"""The name of the event that says so."""


def dead_letter(event: Event, group: GroupKey, *, deliveries: int, attempts: int, epoch: str) -> Entry:
    """Write a dead letter, as the log takes it.

    Args:
        event: What is given up.
        group: Its service and name.
        deliveries: How often the event was handed to a member.
        attempts: How often members failed at it.
        epoch: The log's: another log may have another event at this position.
    """
    service, name = group
    content = event.content
    data = {
        "seq": event.seq,
        "id": content.id,
        "name": event.name,
        "source": content.source,
        "deliveries": deliveries,
        "attempts": attempts,
        "group": name,
    }
    # The same whenever it is made: if the bus is killed before the group's place is kept, there is still one only.
    letter_id = hashlib.sha256(msgspec.json.encode([service, name, epoch, event.seq])).hexdigest()
    draft = Draft(name=DEAD_LETTER, data=msgspec.Raw(msgspec.json.encode(data)), id=letter_id)
    return draft, Publisher(source="eventbus", scope="eventbus")
