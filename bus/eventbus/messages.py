"""What the two sides say to each other over a WebSocket, beside events: commands and their answers."""

from __future__ import annotations

import msgspec


class Identify(msgspec.Struct, frozen=True, tag_field="action", tag="identify"):
    """A client's first command.

    Attributes:
        token: From an earlier connection, to stay the same client; none by default.
    """

    token: str | None = None


class Authenticate(msgspec.Struct, frozen=True, tag_field="action", tag="authenticate"):
    """A service's first command.

    Attributes:
        credentials: Its token; whatever else it may be is wrong credentials.
    """

    credentials: object = None


Command = Identify | Authenticate

COMMANDS: dict[str, type[Command]] = {"identify": Identify, "authenticate": Authenticate}


class Identified(msgspec.Struct, frozen=True, kw_only=True, tag_field="action", tag="identify"):
    """The answer to `Identify`.

    Attributes:
        token: The client's secret; what it publishes carries it as ``context.identifier``.
        address: The client's public name.
        resumed: True if the token that it sent still counts.
        seq: The log's head: live events come from here on.
        epoch: Names the log that `seq` is a position in.
    """

    token: str
    address: str
    resumed: bool
    seq: int
    epoch: str


class Authenticated(msgspec.Struct, frozen=True, kw_only=True, tag_field="action", tag="authenticate"):
    """The answer to `Authenticate` with right credentials.

    Attributes:
        service: The service's name.
        seq: The log's head: live events come from here on.
        epoch: Names the log that `seq` is a position in.
        authenticated: Always true.
    """

    service: str
    seq: int
    epoch: str
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


Answer = Identified | Authenticated | NotAuthenticated | CommandError


class NotACommand(Exception):
    """The text is not a JSON object: whoever sent it does not speak this protocol."""


class BadCommand(Exception):
    """An unknown action, or a known one with a wrong field.

    Args:
        action: As it was said.
        error: What was wrong.
    """

    def __init__(self, action: str | None, error: str) -> None:
        super().__init__(error)
        self.action = action
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
