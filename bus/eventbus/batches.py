"""Batches: a body that is an array of events, read so that the first wrong one can be named."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from .event import Draft, check, decode_draft, decode_text
from .problems import NotAnEvent, NotJson, TooLarge

_many = msgspec.json.Decoder(list[Draft])
_split = msgspec.json.Decoder(list[msgspec.Raw])


def is_batch(body: bytes) -> bool:
    """Is this an array of events, not one event?"""
    return body.lstrip(b" \t\r\n").startswith(b"[")


def decode_batch(body: bytes, *, max_event: int, max_batch: int) -> Iterable[Draft]:
    """Read the events of a batch; if one is wrong, that is raised when it is its turn.

    Args:
        body: A JSON array in UTF-8.
        max_event: Largest event, in bytes.
        max_batch: Most events.

    Raises:
        NotJson: The body is no array.
        NotAnEvent: The array is empty.
        TooLarge: There are too many events.
    """
    text = decode_text(body)
    if len(body) <= max_event and (drafts := _decode_many(text)) is not None:
        _check_count(drafts, max_batch)
        return drafts
    parts = _split_batch(text)
    _check_count(parts, max_batch)
    return (decode_draft(part, max_size=max_event) for part in parts)


def _check_count(batch: Sequence[object], most: int) -> None:
    if not batch:
        raise NotAnEvent("the batch is empty; it holds one event or more")
    if len(batch) > most:
        raise TooLarge(f"the batch has {len(batch)} events; the limit is {most}")


def _decode_many(text: str) -> list[Draft] | None:
    """Read an array of events at once, in half the time; None if one of them is wrong, which `decode_draft` tells."""
    try:
        drafts = _many.decode(text)
        for draft in drafts:
            check(draft)
    except (msgspec.DecodeError, NotAnEvent):
        return None
    return drafts


def _split_batch(text: str) -> list[msgspec.Raw]:
    try:
        return _split.decode(text)
    except msgspec.DecodeError as error:
        raise NotJson(str(error)) from None
