"""What the two sides say to each other over a WebSocket, beside events: commands and their answers."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, UnsetType

Position = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Prefetch = Annotated[int, Meta(ge=1, le=10_000)]
Delay = Annotated[float, Meta(ge=0, le=24 * 60 * 60)]
Names = Annotated[list[str], Meta(max_length=100)]  # every event is held against each of them
GroupName = Annotated[str, Meta(pattern=r"^[!-~]([ -~]{0,98}[!-~])?\Z")]


class Identify(msgspec.Struct, frozen=True, tag_field="action", tag="identify"):
    """A client's first command.

    Attributes:
        token: From an earlier connection, to stay the same client; none by default.
        after: Deliver first what is stored for this client after this ``seq``; live events only by default.
        epoch: The log that `after` is a position in.
    """

    token: str | None = None
    after: Position | None = None
    epoch: str | None = None


class Authenticate(msgspec.Struct, frozen=True, tag_field="action", tag="authenticate"):
    """A service's first command.

    Attributes:
        credentials: Its token; whatever else it may be is wrong credentials.
        names: Patterns of the names that it wants, at most 100; all by default.
        after: Deliver first what is stored after this ``seq``; live events only by default.
        epoch: The log that `after` is a position in.
        group: Share the work with the other members of this group of the service; 1 to 100 visible ASCII characters.
        prefetch: How many events of the group it may hold unacked.
        working: What it has in hand of the group's events, from a connection before this one to the log called `epoch`.
    """

    credentials: object = None
    names: Names | None = None
    after: Position | None = None
    epoch: str | None = None
    group: GroupName | None = None
    prefetch: Prefetch = 64
    working: list[int] = msgspec.field(default_factory=list)


class Ack(msgspec.Struct, frozen=True, tag_field="action", tag="ack"):
    """A member's word that events are done.

    Attributes:
        seq: One event's, or those of several.
    """

    seq: int | list[int]


class Nack(msgspec.Struct, frozen=True, tag_field="action", tag="nack"):
    """A member's word that it could not do an event.

    Attributes:
        seq: The event's.
        delay: Seconds until it is delivered again.
    """

    seq: int
    delay: Delay = 0.0


class Working(msgspec.Struct, frozen=True, tag_field="action", tag="working"):
    """A member's word that it still has events in hand or in its queue.

    Attributes:
        seq: One event's, or those of several.
    """

    seq: int | list[int]


class Ping(msgspec.Struct, frozen=True, tag_field="action", tag="ping"):
    """A question for a sign of life, and the answer to it: for programs that see no pings of WebSocket's own."""


Command = Identify | Authenticate | Ack | Nack | Working | Ping

COMMANDS: dict[str, type[Command]] = {
    "identify": Identify,
    "authenticate": Authenticate,
    "ack": Ack,
    "nack": Nack,
    "working": Working,
    "ping": Ping,
}


class Identified(msgspec.Struct, frozen=True, kw_only=True, tag_field="action", tag="identify"):
    """The answer to `Identify`.

    Attributes:
        token: The client's secret; what it publishes carries it as ``context.identifier``.
        address: The client's public name.
        resumed: True if the token that it sent still counts.
        seq: The log's head.
        epoch: Names the log that `seq` is a position in.
        max_event: The largest event that the bus takes, in bytes of JSON.
        gap: True if something for this client that it had not got may be gone.
        oldest: With a gap, where delivery begins.
    """

    token: str
    address: str
    resumed: bool
    seq: int
    epoch: str
    max_event: int
    gap: bool | UnsetType = UNSET
    oldest: int | UnsetType = UNSET


class Authenticated(msgspec.Struct, frozen=True, kw_only=True, tag_field="action", tag="authenticate"):
    """The answer to `Authenticate` with right credentials.

    Attributes:
        service: The service's name.
        seq: The log's head.
        epoch: Names the log that `seq` is a position in.
        ack_wait: Seconds that a member of a group has to ack an event, or to say that it is working on it.
        heartbeat: Seconds between the bus's pings; after three of silence the connection is dead.
        gap: True if something that this service or group had not got may be gone.
        oldest: With a gap, where delivery begins.
        authenticated: Always true.
    """

    service: str
    seq: int
    epoch: str
    ack_wait: float
    heartbeat: float
    gap: bool | UnsetType = UNSET
    oldest: int | UnsetType = UNSET
    authenticated: bool = True


class NotAuthenticated(msgspec.Struct, frozen=True, kw_only=True, tag_field="action", tag="authenticate"):
    """The answer to `Authenticate` with wrong credentials.

    Attributes:
        error: What to do.
        authenticated: Always false.
    """

    error: str
    authenticated: bool = False


class CommandError(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to what is no command, or not now.

    Attributes:
        action: As it was said; None if nothing was.
        error: What was wrong.
    """

    action: str | None
    error: str


Answer = Identified | Authenticated | NotAuthenticated | Ping | CommandError


class NotACommand(Exception):
    """The text is not a JSON object: whoever sent it does not speak this protocol."""


class BadCommand(Exception):
    """An unknown action, or a known one with a wrong field.

    Args:
        said: The command, or its action as it was said.
        error: What was wrong.
    """

    def __init__(self, said: Command | str | None, error: str) -> None:
        super().__init__(error)
        self.action = said if isinstance(said, str | None) else type(said).__name__.lower()
        self.error = error


def decode_command(text: str) -> Command:
    """Read a command.

    Raises:
        NotACommand: The text is not a JSON object.
        BadCommand: It is one, but not a command.
    """
    try:
        fields = msgspec.json.decode(text, type=dict[str, msgspec.Raw])
    except (msgspec.MsgspecError, RecursionError) as error:
        raise NotACommand(f'expected a JSON object such as {{"action": "identify"}}: {error}') from None
    action = _decode_action(fields.get("action"))
    if action not in COMMANDS:
        raise BadCommand(action, f"unknown action; known are {', '.join(COMMANDS)}")
    try:
        return msgspec.json.decode(text, type=COMMANDS[action])
    except msgspec.ValidationError as error:
        raise BadCommand(action, str(error)) from None


def encode_answer(answer: Answer) -> bytes:
    """Write an answer as it goes over the wire."""
    return msgspec.json.encode(answer)


def _decode_action(raw: msgspec.Raw | None) -> str | None:
    try:
        return msgspec.json.decode(raw, type=str) if raw is not None else None
    except msgspec.ValidationError:
        return None
