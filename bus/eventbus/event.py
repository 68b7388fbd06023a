"""The event: as its publisher wrote it (`Draft`) and as the log holds it (`Event`); decoding and encoding.

It is encoded once, when it is taken into the log: whoever reads it from there gets the same bytes. Who may publish what
is not decided here.
"""

from __future__ import annotations

import re
from functools import lru_cache
from itertools import accumulate

import msgspec

from .problems import NotAnEvent, NotJson, TooLarge

MAX_DEPTH = 64
"""How deep `data` may be nested: RFC 8259, 9 lets a parser set a limit, and many programs stop not far above."""

_LONGEST_NAME = 200
_NAME = re.compile(rf"[A-Za-z0-9._:-]{{1,{_LONGEST_NAME}}}")
_ID = re.compile(r"[!-~]{1,128}")
# Deeper than this, reading alone could exhaust the stack of a parser.
_UNREADABLE_DEPTH = 512
_STEPS = bytes.maketrans(b"[{]}", b"\x01\x01\xff\xff")  # as signed bytes: one deeper, one back
_NO_BRACKETS = bytes(set(range(256)) - set(b"[{]}"))


class Draft(msgspec.Struct, frozen=True, kw_only=True):
    """An event as its publisher wrote it.

    Attributes:
        name: What happened, such as ``"check-domain"``.
        data: JSON, kept byte for byte; the bus never looks inside.
        context: Whom it concerns; ``identifier`` addresses one client.
        id: The publisher's own name for this event, which makes a retry safe; if it gave none, the log does.
    """

    name: str
    data: msgspec.Raw = msgspec.Raw(b"null")
    context: dict[str, str] = msgspec.field(default_factory=dict)
    id: str | msgspec.UnsetType = msgspec.UNSET


class Content(Draft, frozen=True, kw_only=True):
    """All that an event says: what its publisher wrote, and what the bus adds.

    Attributes:
        id: The publisher's name for it, or the log's.
        time: When the bus took it: RFC 3339, UTC, milliseconds.
        source: ``"client"``, or the name of the service that published it.
    """

    id: str
    time: str
    source: str


class Event(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """An event that has its place in the log: its JSON, and what one must know to deliver it.

    Attributes:
        seq: Its position in the log, a positive integer.
        name: What happened.
        identifier: The context's, if it has one.
        json: The whole event as it goes over the wire, UTF-8; `data` as it came.
    """

    seq: int
    name: str
    identifier: str | None
    json: bytes

    @property
    def content(self) -> Content:
        """What it says; decoded anew at each look."""
        return _content_decoder.decode(self.json)


_decoder = msgspec.json.Decoder(Draft)
_content_decoder = msgspec.json.Decoder(Content)
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
    if (size := memoryview(body).nbytes) > max_size:
        raise TooLarge(f"the event has {size} bytes; the limit is {max_size}")
    text = body if isinstance(body, msgspec.Raw) else decode_text(body)
    try:
        draft = _decoder.decode(text)
    except msgspec.ValidationError as error:
        raise NotAnEvent(f"{error}; an event is an object with a name, and perhaps data, context and id") from None
    except msgspec.DecodeError as error:
        raise NotJson(f"{error}{_half_a_pair(bytes(body))}") from None
    check(draft)
    return draft


def encode(draft: Draft, *, id: str, time: str, source: str) -> bytes:  # noqa: A002 - the field's name
    """Write an event as it goes over the wire, but for its place in the log: UTF-8 JSON, `data` as it came."""
    content = Content(name=draft.name, data=draft.data, context=draft.context, id=id, time=time, source=source)
    return _encoder.encode(content)


def delivered_again(event: Event, deliveries: int) -> Event:
    """Write into an event of a group how often it was delivered by now: twice or more."""
    return msgspec.structs.replace(event, json=event.json[:-1] + b',"delivery":%d}' % deliveries)


def place(encoded: bytes, seq: int) -> bytes:
    """Write its place into an encoded event."""
    return b'%b,"seq":%d}' % (encoded[:-1], seq)


def logged(draft: Draft, *, id: str, seq: int, time: str, source: str) -> Event:  # noqa: A002 - the field's name
    """Make an event of what was published."""
    json = place(encode(draft, id=id, time=time, source=source), seq)
    return Event(seq=seq, name=draft.name, identifier=draft.context.get("identifier"), json=json)


def decode_text(body: bytes) -> str:
    """Decode and bound what a parser would choke on: msgspec passes invalid UTF-8 in `data` on, and recurses.

    Raises:
        NotJson: It is not UTF-8, or nested so deep that reading it could exhaust the stack.
    """
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        raise NotJson(f"the body is not UTF-8: {error.reason} at byte {error.start}") from None
    if _nesting(body, _UNREADABLE_DEPTH) > _UNREADABLE_DEPTH:
        raise NotJson("the body is nested too deep to be read")
    return text


def _half_a_pair(text: bytes) -> str:
    """Explain the refusal of an escape that some programs write and that stands for no character (RFC 8259, 8.2)."""
    return " (a \\ud800 to \\udfff must be half of a pair)" if rb"\ud" in text.lower() else ""


def check(draft: Draft) -> None:
    """Raise NotAnEvent for one whose fields are of the right types, and wrong all the same."""
    if len(draft.name) > _LONGEST_NAME or not _is_name(draft.name):
        raise NotAnEvent(f"name: expected 1 to 200 letters, digits or . _ : - but got {_shorten(draft.name)}")
    if draft.id is not msgspec.UNSET and not _ID.fullmatch(draft.id):
        raise NotAnEvent(f"id: expected 1 to 128 visible ASCII characters but got {_shorten(draft.id)}")
    if _nesting(bytes(draft.data), MAX_DEPTH) > MAX_DEPTH:
        raise NotAnEvent(f"data: nested more than {MAX_DEPTH} deep")


@lru_cache(maxsize=1024)  # a busy bus sees few different ones
def _is_name(text: str) -> bool:
    return _NAME.fullmatch(text) is not None


def _nesting(json: bytes, limit: int) -> int:
    """Tell how deep JSON is nested; exact above `limit`, an upper bound below it."""
    opened = json.count(b"[") + json.count(b"{")
    if opened <= limit:  # true of almost every event, and cheap to see
        return opened
    # All others wait meanwhile, so no loop in Python. Every second piece between quotes is a string, ended or not.
    outside = b"".join(json.replace(rb"\\", b"").replace(rb"\"", b"").split(b'"')[::2])
    return max(accumulate(memoryview(outside.translate(_STEPS, _NO_BRACKETS)).cast("b"), initial=0))


def _shorten(value: str) -> str:
    return repr(value) if len(value) <= 60 else repr(value[:57]) + "…"
