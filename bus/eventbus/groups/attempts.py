"""What an event of a group has behind it while it is not done: deliveries, attempts, and lost connections.

An attempt is a failure at this very event: a member gave it back, or let its ack wait pass, or its connection was lost
while it held nothing else. A connection that is lost with several events is an attempt at none of them: it makes
them come again at once, and an event to which that happens twice is a suspect. Suspects are handed out apart, each to a
member that holds nothing else, so that the next loss points to one event.
"""

from __future__ import annotations

from dataclasses import dataclass, field

SUSPECT_AFTER = 2
"""Lost connections, after which an event is handed out apart."""


@dataclass(slots=True, eq=False)
class MemberState:
    """One connection that takes part.

    Attributes:
        prefetch: How many events it may hold unacked.
        held: What it holds: the ``seq``, and when its ack wait ends. That is the order they were delivered in.
        spoke: When it said `working` last; None if never: then an ack wait that ends tells of that event only.
        late: It let an ack wait pass, and has said nothing since.
        apart: What it holds is a suspect.
    """

    prefetch: int
    held: dict[int, float] = field(default_factory=dict)
    spoke: float | None = None
    late: bool = False
    apart: bool = False

    @property
    def room(self) -> int:
        """How many more events it may hold."""
        return 0 if self.apart and self.held else self.prefetch - len(self.held)


@dataclass(slots=True, eq=False)
class Pending:
    """An event that was handed out and is not done.

    Attributes:
        deliveries: How often it was handed to a member.
        attempts: How often a member failed at it.
        losses: How often since then a connection was lost that held it.
        holder: The member that has it now.
        named: The holder has said `working` for it.
        failed_by: The member that failed at it last.
    """

    deliveries: int = 0
    attempts: int = 0
    losses: int = 0
    holder: MemberState | None = None
    named: bool = False
    failed_by: MemberState | None = None
    _before_loss: tuple[int, int] | None = None

    @property
    def is_suspect(self) -> bool:
        """Is it to be handed out apart?"""
        return self.losses >= SUSPECT_AFTER

    @property
    def can_be_found(self) -> bool:
        """Has nobody had it since its connection was lost? Then its member may come back with it in hand."""
        return self._before_loss is not None

    def deliver(self, member: MemberState) -> None:
        """Count a delivery."""
        self.deliveries += 1
        self.holder, self.named, self._before_loss = member, False, None

    def fail(self) -> None:
        """Count an attempt. The holder lives, so no suspicion is left that the event kills whatever holds it."""
        self.attempts += 1
        self.losses, self.failed_by = 0, self.holder

    def lose(self, *, alone: bool) -> None:
        """Count a lost connection; if its member held nothing else, that is an attempt."""
        self._before_loss = (self.attempts, self.losses)
        self.attempts += alone
        self.losses += 1
        self.failed_by = None

    def put_back(self) -> None:
        """Count nothing: the bus itself ended the connection, or its member left on purpose."""
        self._before_loss = (self.attempts, self.losses)

    def find(self, member: MemberState) -> None:
        """Take back what a loss had counted: the member is back, and still at work."""
        if self._before_loss:
            self.attempts, self.losses = self._before_loss
        self.holder, self.named, self._before_loss = member, True, None
