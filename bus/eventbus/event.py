"""The event: as its publisher wrote it (`Draft`) and as the log holds it (`Event`); decoding and encoding.

Who may publish what is not decided here.
"""

from __future__ import annotations

import re
import secrets
import time
import uuid
from itertools import accumulate

import msgspec

from .problems import NotAnEvent, NotJson, TooLarge

MAX_DEPTH = 64
"""How deep `data` may be nested: RFC 8259, 9 lets a parser set a limit, and many programs stop not far above."""

_NAME = re.compile(r"[A-Za-z0-9._:-]{1,200}")
_ID = re.compile(r"[!-~]{1,128}")
# Deeper than this, reading alone could exhaust the stack of a parser.
_UNREADABLE_DEPTH = 512
_STEPS = bytes.maketrans(b"[{]}", b"\x01\x01\xff\xff")  # as signed bytes: one deeper, one back
_NO_BRACKETS = bytes(set(range(256)) - set(b"[{]}"))


def new_id() -> str:
    """Make a UUIDv7: random, and sorted by the time it was made (RFC 9562, 5.7)."""
    milliseconds = time.time_ns() // 1_000_000
    value = milliseconds << 80 | 0x7 << 76 | secrets.randbits(12) << 64 | 0b10 << 62 | secrets.randbits(62)
    return str(uuid.UUID(int=value))


class Draft(msgspec.Struct, frozen=True, kw_only=True):
    """An event as its publisher wrote it.

    Attributes:
        name: What happened, such as ``"check-domain"``.
        data: JSON, kept byte for byte; the bus never looks inside.
        context: Whom it concerns; ``identifier`` addresses one client.
        id: The publisher's own name for this event; it makes a retry safe.
    """

    name: str
    data: msgspec.Raw = msgspec.Raw(b"null")
    context: dict[str, str] = msgspec.field(default_factory=dict)
    id: str = msgspec.field(default_factory=new_id)


class Event(Draft, frozen=True, kw_only=True):
    """A draft that has its place in the log.

    Attributes:
        seq: Its position in the log, a positive integer.
        time: When the bus took it: RFC 3339, UTC, milliseconds.
        source: ``"client"``, or the name of the service that published it.
    """

    seq: int
    time: str
    source: str


_decoder = msgspec.json.Decoder(Draft)
_encoder = msgspec.json.Encoder()


def decode_draft(body: bytes | msgspec.Raw, *, max_size: int) -> Draft:
    """Read one event from a request's body.

    Args:
        body: JSON in UTF-8, whatever the content type said; `Raw` if it is part of what `decode_text` has bounded.
        max_size: Largest event, in bytes.

    Raises:
        NotJson: It cannot be read at all.
        NotAnEvent: It is JSON but not an event; the error names the field.
        TooLarge: It is longer than `max_size`.
    """
    if len(whole := bytes(body)) > max_size:
        raise TooLarge(f"the event has {len(whole)} bytes; the limit is {max_size}")
    text = whole.decode() if isinstance(body, msgspec.Raw) else decode_text(whole)
    try:
        draft = _decoder.decode(text)
    except msgspec.ValidationError as error:
        raise NotAnEvent(f"{error}; an event is an object with a name, and perhaps data, context and id") from None
    except msgspec.DecodeError as error:
        raise NotJson(f"{error}{_half_a_pair(text)}") from None
    _check(draft)
    return draft


def encode_event(event: Event) -> bytes:
    """Write an event as it goes over the wire: UTF-8 JSON, `data` as it came."""
    return _encoder.encode(event)


def timestamp(unix_time: float) -> str:
    """Write a Unix time in seconds as RFC 3339 in UTC with milliseconds."""
    seconds, milliseconds = divmod(int(unix_time * 1000), 1000)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{milliseconds:03}Z"


def decode_text(body: bytes) -> str:
    """Decode and bound what a parser would choke on: msgspec passes invalid UTF-8 in `data` on, and recurses.

    Raises:
        NotJson: It is not UTF-8, or nested so deep that reading it could exhaust the stack.
    """
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        raise NotJson(f"the body is not UTF-8: {error.reason} at byte {error.start}") from None
    if _nesting(body) > _UNREADABLE_DEPTH:
        raise NotJson("the body is nested too deep to be read")
    return text


def _half_a_pair(text: str) -> str:
    """Explain the refusal of an escape that some programs write and that stands for no character (RFC 8259, 8.2)."""
    return " (a \\ud800 to \\udfff must be half of a pair)" if "\\ud" in text.lower() else ""


def _check(draft: Draft) -> None:
    if not _NAME.fullmatch(draft.name):
        raise NotAnEvent(f"name: expected 1 to 200 letters, digits or . _ : - but got {_shorten(draft.name)}")
    if not _ID.fullmatch(draft.id):
        raise NotAnEvent(f"id: expected 1 to 128 visible ASCII characters but got {_shorten(draft.id)}")
    if _nesting(bytes(draft.data)) > MAX_DEPTH:
        raise NotAnEvent(f"data: nested more than {MAX_DEPTH} deep")


def _nesting(json: bytes) -> int:
    """Tell how deep JSON is nested; exact above `MAX_DEPTH`, an upper bound below it."""
    opened = json.count(b"[") + json.count(b"{")
    if opened <= MAX_DEPTH:  # true of almost every event, and cheap to see
        return opened
    # All others wait meanwhile, so no loop in Python. Every second piece between quotes is a string, ended or not.
    outside = b"".join(json.replace(rb"\\", b"").replace(rb"\"", b"").split(b'"')[::2])
    return max(accumulate(memoryview(outside.translate(_STEPS, _NO_BRACKETS)).cast("b"), initial=0))


def _shorten(value: str) -> str:
    return repr(value) if len(value) <= 60 else repr(value[:57]) + "…"
