"""One group at work: reads the log for its members, hands out what is due, and keeps its place.

Who gets what, and when again, is decided in `rules`.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager, suppress

import msgspec

from ..event import Event, delivered_again
from ..log import READ_LIMIT, GroupKey, Log
from ..outlet import Outlet, Piece
from ..patterns import EVERYTHING, Patterns
from ..problems import LogUnavailable
from ..subscription import RETRY_READING
from .attempts import MemberState
from .dead_letters import DEAD_LETTER, dead_letter
from .outlets import MemberOutlets
from .rules import GroupState

logger = logging.getLogger("eventbus")


class LocalGroup:
    """One group at work.

    Args:
        key: Its service and name.
        log: Where its events are.
        state: Who holds what, and how far it has come.
        max_deliveries: After so many attempts, an event becomes a dead letter.
        clock: Seconds; only goes forward.

    Attributes:
        kept: The place as it was made durable last.
    """

    def __init__(
        self, key: GroupKey, log: Log, state: GroupState, *, max_deliveries: int, clock: Callable[[], float]
    ) -> None:
        self.key = key
        self._log = log
        self._state = state
        self._max_deliveries = max_deliveries
        self._clock = clock
        self._names = EVERYTHING  # until a member says
        self._outlets = MemberOutlets(self.wake)
        self._ahead: list[Event] = []  # read and not handed out yet
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._overtaken = False
        self.kept = b""

    @property
    def cursor(self) -> int:
        """Everything up to this ``seq`` was handed out or passed over."""
        return self._state.cursor

    @property
    def place(self) -> bytes:
        """What to keep, so that the group can go on after a restart."""
        return msgspec.json.encode(self._state.place)

    def pass_over_what_is_gone(self) -> bool:
        """Go on after what was trimmed; tell whether any of it was still to be done."""
        lost = self._state.lose(self._log.trimmed) or self._overtaken
        self._overtaken = False
        return lost

    @property
    def can_be_forgotten(self) -> bool:
        """Has it no members, and nothing that its place, as it was kept last, does not tell?"""
        if self._outlets or self._overtaken or self._state.delays(now=self._clock()):
            return False
        return self.place == self.kept

    @contextmanager
    def joined(
        self, outlet: Outlet, *, names: Patterns, prefetch: int, working: Iterable[int] = ()
    ) -> Iterator[LocalMember]:
        """Deliver to one more member until the block is left; its `names` become the group's.

        Args:
            outlet: Where its events go.
            names: What it wants.
            prefetch: How many events it may hold unacked.
            working: What it still has in hand from an earlier connection.
        """
        self._names, self._ahead = names, []
        member = self._state.join(prefetch, working=working, now=self._clock())
        self._outlets.add(member, outlet)
        self._task = self._task or asyncio.create_task(self._run())
        self.wake()
        try:
            yield LocalMember(self, self._state, member, self._clock)
        finally:
            self._state.leave(member, now=self._clock(), lost=not outlet.excused)
            self._outlets.remove(member)
            self.wake()
            if not self._outlets:
                self._task.cancel()
                self._task = None
                self._ahead = []

    def wake(self) -> None:
        """Look again: something happened that may let an event be handed out."""
        self._changed.set()

    async def _run(self) -> None:
        while True:
            try:
                self._changed.clear()
                now = self._clock()
                if not (await self._redeliver(now=now) or await self._deliver_new()):
                    await self._something_to_do(since=now)
            except LogUnavailable as problem:
                logger.error("group %s of %r waits: %s", self.key[1], self.key[0], problem.detail)  # noqa: TRY400 - one line
                await asyncio.sleep(RETRY_READING)
            except Exception:
                logger.exception("a defect of the bus, in group %s of %r", self.key[1], self.key[0])
                for outlet in self._outlets:
                    outlet.failed()
                await asyncio.sleep(RETRY_READING)

    async def _something_to_do(self, *, since: float) -> None:
        """Wait until something changes, or until what was not due at the last look, `since`, becomes due."""
        self._outlets.wait_for_full_ones()
        until = self._state.next_time(now=since)
        seconds = None if until is None else max(0.0, until - self._clock())
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._changed.wait()

    async def _redeliver(self, *, now: float) -> bool:
        """Hand out, again, an event that is due; tell whether that was possible."""
        self._state.take_back(now=now)
        for seq in self._state.next_due(now=now):
            if self._choose(seq):
                await self._redeliver_one(seq)
                return True
            if not any(member.room > 0 for member in self._outlets.ready()):
                return False  # nobody can take any: the others need not be looked at
        return False

    async def _redeliver_one(self, seq: int) -> None:
        events = await self._log.read(after=seq - 1, limit=1)
        if not self._state.waits(seq):
            pass  # acked meanwhile, or its member is back
        elif not events or events[0].seq != seq:
            self._be_overtaken()
        elif events[0].name not in self._names:
            self._state.drop(seq)  # the service may no longer see it, or the last member asked for others
        elif self._state.attempts(seq) >= self._max_deliveries:
            await self._give_up(events[0])
        elif member := self._choose(seq):
            self._outlets[member].write(Piece([self._deliver(events[0], member)]))

    async def _deliver_new(self) -> bool:
        """Hand out what comes next in the log; tell whether there was something and somebody to take it."""
        if not self._state.room or self._choose() is None:
            return False
        if not self._ahead:
            self._ahead = await self._read_ahead()
        handed_out = self._hand_out(self._ahead[: self._state.room])
        del self._ahead[:handed_out]
        return handed_out > 0

    async def _read_ahead(self) -> list[Event]:
        head, cursor, names = self._log.head, self._state.cursor, self._names
        events = await self._log.read(after=cursor, limit=READ_LIMIT, names=names)
        if await self._log.has_lost(after=cursor):
            self._be_overtaken()
            return []
        if names is not self._names:
            return []  # somebody joined meanwhile, who may want others
        if not events:
            self._state.pass_over(head)
        return events

    def _hand_out(self, events: Iterable[Event]) -> int:
        """Write events to members as long as some can take them; return how many these were."""
        count = 0
        handed = defaultdict[MemberState, list[Event]](list)
        for event in events:
            member = self._choose()
            if member is None:
                break
            handed[member].append(self._deliver(event, member))
            count += 1
        for member, own in handed.items():
            self._outlets[member].write(Piece(own))
        return count

    def _deliver(self, event: Event, member: MemberState) -> Event:
        deliveries = self._state.deliver(event.seq, member, now=self._clock())
        return event if deliveries == 1 else delivered_again(event, deliveries)

    def _choose(self, seq: int | None = None) -> MemberState | None:
        """Tell which member gets an event that comes again, or a new one if none is named."""
        return self._state.choose(self._outlets.ready(), seq, now=self._clock())

    async def _give_up(self, event: Event) -> None:
        """Say that nobody could do an event, and go on; nothing is said of what says just that."""
        if event.name != DEAD_LETTER:
            deliveries, attempts = self._state.deliveries(event.seq), self._state.attempts(event.seq)
            letter = dead_letter(event, self.key, deliveries=deliveries, attempts=attempts, epoch=self._log.epoch)
            await self._log.append([letter])
        self._state.drop(event.seq)

    def _be_overtaken(self) -> None:
        """Retention took what was still to be done: part from all members; the next to come is told."""
        self._overtaken = True
        for outlet in self._outlets:
            outlet.overtaken()


class LocalMember:
    """What a member may say."""

    def __init__(self, group: LocalGroup, state: GroupState, member: MemberState, clock: Callable[[], float]) -> None:
        self._group = group
        self._state = state
        self._member = member
        self._clock = clock

    def ack(self, seqs: Iterable[int]) -> None:
        """These are done."""
        self._state.ack(self._member, seqs)
        self._group.wake()

    def working(self, seqs: Collection[int]) -> None:
        """These are still in hand, or in the member's queue."""
        self._state.working(self._member, seqs, now=self._clock())
        self._group.wake()

    def nack(self, seq: int, *, delay: float) -> None:
        """This could not be done; `delay` is in seconds."""
        self._state.nack(self._member, seq, due=self._clock() + delay)
        self._group.wake()
