"""The place of a group: what of it survives a restart."""

from __future__ import annotations

import msgspec
from msgspec import UNSET, UnsetType


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """What of a group survives a restart.

    Attributes:
        cursor: Everything up to this ``seq`` was handed out or passed over.
        pending: Of that, what is not done: its ``seq``, and how often it was delivered.
        attempts: How often members failed at what is pending, if they did.
        losses: How often connections were lost with it since then, if any were.
    """

    cursor: int
    pending: dict[int, int] = msgspec.field(default_factory=dict)
    attempts: dict[int, int] | UnsetType = UNSET
    losses: dict[int, int] | UnsetType = UNSET
