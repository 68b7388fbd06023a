"""The refusals of the bus: each is raised where its reason is known, in the words of the domain.

    Problem
    ├── NotJson
    ├── NotAnEvent
    ├── BadParameter
    ├── TooSlow
    ├── TooLarge
    │   └── TooManyChunks
    ├── NoRight
    ├── NotAllowed
    ├── AnotherLog
    ├── TooFast
    └── Unavailable
        ├── LogUnavailable
        ├── Overloaded
        └── Stopping

How a refusal is answered over HTTP is decided in `edges.refusals`, which adds those that only HTTP knows.
"""

from __future__ import annotations


class Problem(Exception):
    """Why a request was refused; nothing is known to have been added to the log.

    Args:
        detail: What was wrong, with which value, and what to do: one sentence for a person.
    """

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


class NotJson(Problem):
    """The body is not JSON."""


class NotAnEvent(Problem):
    """The body is JSON, but not an event."""


class TooLarge(Problem):
    """The body or the event is larger than the limit."""


class TooManyChunks(TooLarge):
    """The body came in more pieces than the limit, and the rest of it is not read."""


class TooSlow(Problem):
    """The body did not come in time."""


class BadParameter(Problem):
    """A value in the query, or a handshake, cannot be understood."""


class NoRight(Problem):
    """Neither a service's token in the Authorization header nor a client's in the context."""


class NotAllowed(Problem):
    """The publisher is known, but may not do this."""


class AnotherLog(Problem):
    """A position in a log that is not this one."""


class TooFast(Problem):
    """A client publishes faster than its rate.

    Args:
        detail: As for every problem.
        retry_after: Seconds after which the request would pass.
    """

    def __init__(self, detail: str, *, retry_after: int) -> None:
        super().__init__(detail)
        self.retry_after = retry_after


class Unavailable(Problem):
    """The bus cannot do this now; the same request may pass a second later."""


class LogUnavailable(Unavailable):
    """The log cannot be read or written."""


class Overloaded(Unavailable):
    """A limit that all share, or that all programs of a host share, is reached."""


class Stopping(Unavailable):
    """The bus is about to stop, and takes nothing more."""
