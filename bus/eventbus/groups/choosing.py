"""Which member of a group gets an event: the one with most room, among those that can be trusted with it."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from .attempts import MemberState, Pending


def choose(
    members: Collection[MemberState], ready: Iterable[MemberState], event: Pending | None, *, suspect_waits: bool
) -> MemberState | None:
    """Tell who gets an event; None if nobody can take it now.

    Args:
        members: All members.
        ready: Those that can be written to.
        event: What is known of it; none for a new one.
        suspect_waits: Whether a suspect is due: then one member is kept free, so that it can be handed out alone.
    """
    trusted = _trusted(members)
    able = [member for member in ready if member.room > 0 and member in trusted]
    if event and event.is_suspect:
        able = [member for member in able if not member.held]
    else:
        kept_free = _kept_free(trusted) if suspect_waits else None
        # It goes to another member than the last that failed at it, even if that means to wait for it.
        failed_by = event.failed_by if event and len(trusted) > 1 else None
        able = [member for member in able if member is not kept_free and member is not failed_by]
    return max(able, key=lambda member: member.room, default=None)


def _trusted(members: Collection[MemberState]) -> dict[MemberState, None]:
    """Leave out those that were late: they may be frozen. If all were, those that never say `working` get something.

    One that does will say so once it lives again, and may hold what it has been given all the while.
    """
    prompt = {member: None for member in members if not member.late}
    return prompt or {member: None for member in members if member.spoke is None}


def _kept_free(trusted: Collection[MemberState]) -> MemberState | None:
    if any(member.apart and member.held for member in trusted):
        return None  # a suspect is being tried; one at a time is enough
    return min(trusted, key=lambda member: len(member.held), default=None)
