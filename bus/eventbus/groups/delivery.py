"""Delivery to groups: reads the log for each group that has members, hands out what is due, and keeps its place.

Who gets what, and when again, is decided in `groups`.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager, suppress

import msgspec

from ..event import Draft, Event
from ..frames import text_frame
from ..log import READ_LIMIT, GroupKey, Log, Publisher
from ..outlet import Outlet
from ..patterns import EVERYTHING, OWN, Patterns
from ..problems import LogUnavailable
from ..subscription import RETRY_READING
from .attempts import Member
from .rules import Group, Place

logger = logging.getLogger("eventbus")

KEEP_PLACES_EVERY = 1.0
"""Seconds that an ack may be lost for if the bus is killed; the price is a redelivery."""

LOOK_AGAIN = 1.0
"""Seconds until an outlet that drained and is full all the same is looked at again."""

DEAD_LETTER = f"{OWN}dead-letter"


class GroupDelivery:
    """One group at work.

    Args:
        key: Its service and name.
        log: Where its events are.
        group: Its state.
        max_deliveries: After so many attempts, an event becomes a dead letter.
        clock: Seconds; only goes forward.

    Attributes:
        kept: The place as it was made durable last.
    """

    def __init__(
        self, key: GroupKey, log: Log, group: Group, *, max_deliveries: int, clock: Callable[[], float]
    ) -> None:
        self.key = key
        self._log = log
        self._group = group
        self._max_deliveries = max_deliveries
        self._clock = clock
        self._names = EVERYTHING  # until a member says
        self._outlets: dict[Member, Outlet] = {}
        self._draining: dict[Member, asyncio.Task[None]] = {}  # whose outlet was full: gets nothing until it drained
        self._ahead: list[Event] = []  # read and not handed out yet
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._overtaken = False
        self.kept = b""

    @property
    def cursor(self) -> int:
        """Everything up to this ``seq`` was handed out or passed over."""
        return self._group.cursor

    @property
    def place(self) -> bytes:
        """What to keep, so that the group can go on after a restart."""
        return msgspec.json.encode(self._group.place)

    def pass_over_what_is_gone(self) -> bool:
        """Go on after what was trimmed; tell whether any of it was still to be done."""
        lost = self._group.lose(self._log.trimmed) or self._overtaken
        self._overtaken = False
        return lost

    @property
    def can_be_forgotten(self) -> bool:
        """Has it no members, and nothing that its place, as it was kept last, does not tell?"""
        if self._outlets or self._overtaken or self._group.delays(now=self._clock()):
            return False
        return self.place == self.kept

    @contextmanager
    def joined(
        self, outlet: Outlet, *, names: Patterns, prefetch: int, working: Iterable[int] = ()
    ) -> Iterator[Membership]:
        """Deliver to one more member until the block is left; its `names` become the group's.

        Args:
            outlet: Where its events go.
            names: What it wants.
            prefetch: How many events it may hold unacked.
            working: What it still has in hand from an earlier connection.
        """
        self._names, self._ahead = names, []
        member = self._group.join(prefetch, working=working, now=self._clock())
        self._outlets[member] = outlet
        self._task = self._task or asyncio.create_task(self._run())
        self.wake()
        try:
            yield Membership(self, self._group, member, self._clock)
        finally:
            self._group.leave(member, now=self._clock(), lost=not outlet.excused)
            del self._outlets[member]
            if draining := self._draining.pop(member, None):
                draining.cancel()
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
                logger.error("group %s of %r waits: %s", self.key[1], self.key[0], problem.detail)  # noqa: TRY400
                await asyncio.sleep(RETRY_READING)
            except Exception:
                logger.exception("a defect of the bus, in group %s of %r", self.key[1], self.key[0])
                for outlet in self._outlets.values():
                    outlet.failed()
                await asyncio.sleep(RETRY_READING)

    async def _something_to_do(self, *, since: float) -> None:
        """Wait until something changes, or until what was not due at the last look, `since`, becomes due."""
        for member, outlet in self._outlets.items():
            # The task stays until it is done: a wait that is cancelled may spoil later ones for the same socket.
            if member.room > 0 and outlet.full and member not in self._draining:
                self._draining[member] = asyncio.create_task(self._wake_when_drained(member, outlet))
        until = self._group.next_time(now=since)
        seconds = None if until is None else max(0.0, until - self._clock())
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._changed.wait()

    async def _wake_when_drained(self, member: Member, outlet: Outlet) -> None:
        try:
            with suppress(ConnectionError):
                await outlet.drained()
            if outlet.full:  # for ever, say, as it is saying goodbye
                await asyncio.sleep(LOOK_AGAIN)
            self.wake()
        finally:
            self._draining.pop(member, None)

    async def _redeliver(self, *, now: float) -> bool:
        """Hand out, again, an event that is due; tell whether that was possible."""
        self._group.take_back(now=now)
        for seq in self._group.next_due(now=now):
            if self._choose(seq):
                await self._redeliver_one(seq)
                return True
        return False

    async def _redeliver_one(self, seq: int) -> None:
        events = await self._log.read(after=seq - 1, limit=1)
        if not self._group.waits(seq):
            pass  # acked meanwhile, or its member is back
        elif not events or events[0].seq != seq:
            self._be_overtaken()
        elif events[0].name not in self._names:
            self._group.drop(seq)  # the service may no longer see it, or the last member asked for others
        elif self._group.attempts(seq) >= self._max_deliveries:
            await self._give_up(events[0])
        elif member := self._choose(seq):
            self._outlets[member].write(self._deliver(events[0], member))

    async def _deliver_new(self) -> bool:
        """Hand out what comes next in the log; tell whether there was something and somebody to take it."""
        if not self._group.room or self._choose() is None:
            return False
        if not self._ahead:
            self._ahead = await self._read_ahead()
        handed_out = self._hand_out(self._ahead[: self._group.room])
        del self._ahead[:handed_out]
        return handed_out > 0

    async def _read_ahead(self) -> list[Event]:
        head, cursor, names = self._log.head, self._group.cursor, self._names
        events = await self._log.read(after=cursor, limit=READ_LIMIT, names=names)
        if await self._log.has_lost(after=cursor):
            self._be_overtaken()
            return []
        if names is not self._names:
            return []  # somebody joined meanwhile, who may want others
        if not events:
            self._group.pass_over(head)
        return events

    def _hand_out(self, events: Iterable[Event]) -> int:
        """Write events to members as long as some can take them; return how many these were."""
        count = 0
        frames = defaultdict[Member, list[bytes]](list)
        for event in events:
            member = self._choose()
            if member is None:
                break
            frames[member].append(self._deliver(event, member))
            count += 1
        for member, own in frames.items():
            self._outlets[member].write(b"".join(own))
        return count

    def _deliver(self, event: Event, member: Member) -> bytes:
        return _frame(event, self._group.deliver(event.seq, member, now=self._clock()))

    def _choose(self, seq: int | None = None) -> Member | None:
        """Tell which member gets an event that comes again, or a new one if none is named."""
        ready = [member for member, outlet in self._outlets.items() if member not in self._draining and not outlet.full]
        return self._group.choose(ready, seq, now=self._clock())

    async def _give_up(self, event: Event) -> None:
        """Say that nobody could do an event, and go on; nothing is said of what says just that."""
        if event.name != DEAD_LETTER:
            await self._log.append([(self._dead_letter(event), Publisher(source="eventbus", scope="eventbus"))])
        self._group.drop(event.seq)

    def _dead_letter(self, event: Event) -> Draft:
        service, group = self.key
        content = event.content
        data = {
            "seq": event.seq,
            "id": content.id,
            "name": event.name,
            "source": content.source,
            "deliveries": self._group.deliveries(event.seq),
            "attempts": self._group.attempts(event.seq),
            "group": group,
        }
        # The same whenever it is made: if the bus is killed before the group's place is kept, there is still one only.
        # Another log may have another event at this position.
        name = hashlib.sha256(msgspec.json.encode([service, group, self._log.epoch, event.seq])).hexdigest()
        return Draft(name=DEAD_LETTER, data=msgspec.Raw(msgspec.json.encode(data)), id=name)

    def _be_overtaken(self) -> None:
        """Retention took what was still to be done: part from all members; the next to come is told."""
        self._overtaken = True
        for outlet in self._outlets.values():
            outlet.overtaken()


class Membership:
    """What a member may say."""

    def __init__(self, delivery: GroupDelivery, group: Group, member: Member, clock: Callable[[], float]) -> None:
        self._delivery = delivery
        self._group = group
        self._member = member
        self._clock = clock

    def ack(self, seqs: Iterable[int]) -> None:
        """These are done."""
        self._group.ack(self._member, seqs)
        self._delivery.wake()

    def working(self, seqs: Collection[int]) -> None:
        """These are still in hand, or in the member's queue."""
        self._group.working(self._member, seqs, now=self._clock())
        self._delivery.wake()

    def nack(self, seq: int, *, delay: float) -> None:
        """This could not be done; `delay` is in seconds."""
        self._group.nack(self._member, seq, due=self._clock() + delay)
        self._delivery.wake()


class Groups:
    """All groups that have members, and those whose place is still to be kept.

    Who finds or creates one joins it at once: if anything were awaited between, the group might be forgotten meanwhile.

    Args:
        log: Keeps their events and places.
        ack_wait: Seconds a member has to ack an event.
        max_deliveries: After so many attempts, an event becomes a dead letter.
        clock: Seconds; only goes forward.
    """

    def __init__(
        self, log: Log, *, ack_wait: float, max_deliveries: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._log = log
        self._ack_wait = ack_wait
        self._max_deliveries = max_deliveries
        self._clock = clock
        self._known: dict[GroupKey, GroupDelivery] = {}
        self._awaited: Counter[GroupKey] = Counter()  # by those who find or create; not to be forgotten

    async def find(self, key: GroupKey) -> GroupDelivery | None:
        """Return a group that exists, once its place is durable: whoever made it may still be waiting for that."""
        with self._not_forgotten(key):
            if key not in self._known:
                place = await self._log.group_place(key)
                if place is not None:
                    self._add(key, msgspec.json.decode(place, type=Place)).kept = place
            delivery = self._known.get(key)
            if delivery and not delivery.kept:
                await self._keep_places([delivery])
        return delivery

    async def create(self, key: GroupKey, *, after: int) -> GroupDelivery:
        """Make a group that begins after a ``seq``, unless it exists by now; return once its place is durable."""
        with self._not_forgotten(key):
            delivery = await self.find(key) or self._add(key, Place(cursor=after))
            await self._keep_places([delivery])
        return delivery

    async def run(self) -> None:
        """Wake the groups when the log grows, for ever."""
        seen = 0
        while True:
            await self._log.wait_beyond(seen)
            seen = self._log.head
            for delivery in self._known.values():
                delivery.wake()

    async def keep_places(self) -> None:
        """Make durable how far each group has come; forget those that nobody needs then."""
        await self._keep_places(self._known.values())
        for key, delivery in list(self._known.items()):
            if key not in self._awaited and delivery.can_be_forgotten:
                del self._known[key]

    async def keep_keeping_places(self) -> None:
        """Do that for ever."""
        while True:
            await asyncio.sleep(KEEP_PLACES_EVERY)
            try:
                await self.keep_places()
            except LogUnavailable as problem:
                logger.error("the places of groups wait for their next turn: %s", problem.detail)  # noqa: TRY400

    async def _keep_places(self, deliveries: Iterable[GroupDelivery]) -> None:
        places = {delivery: delivery.place for delivery in deliveries}
        changed = {delivery: place for delivery, place in places.items() if place != delivery.kept}
        if changed:
            await self._log.keep_group_places({delivery.key: place for delivery, place in changed.items()})
        for delivery, place in changed.items():
            delivery.kept = place

    @contextmanager
    def _not_forgotten(self, key: GroupKey) -> Iterator[None]:
        self._awaited[key] += 1
        try:
            yield
        finally:
            self._awaited[key] -= 1
            if not self._awaited[key]:
                del self._awaited[key]

    def _add(self, key: GroupKey, place: Place) -> GroupDelivery:
        if key not in self._known:  # another member may have been quicker
            group = Group(place, ack_wait=self._ack_wait)
            self._known[key] = GroupDelivery(
                key, self._log, group, max_deliveries=self._max_deliveries, clock=self._clock
            )
        return self._known[key]


def _frame(event: Event, deliveries: int) -> bytes:
    """Write an event, and from its second delivery on how often it was delivered."""
    json = event.json
    return text_frame(json if deliveries == 1 else json[:-1] + b',"delivery":%d}' % deliveries)
