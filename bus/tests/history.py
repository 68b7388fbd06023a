"""What happened in a run with faults, and whether it kept the bus's promises. Pure: a run is recorded, then judged."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise


@dataclass(frozen=True, slots=True)
class Stored:
    """An event as the log has it in the end; `address` is that of the client it concerns."""

    seq: int
    id: str
    name: str
    address: str | None = None


@dataclass(slots=True)
class Connection:
    """What came over one connection, in its order.

    Attributes:
        subscriber: Whose it was; one that comes back has several, and the members of a group are one subscriber.
        address: The client's; None for services, which are entitled to what is for any client.
        names: What it subscribed to; None if to everything.
        member: Is it one of a group's? Then it shares the events with the others, and has to ack those that it gets.
        after: The cursor that it came back with: what it had got by then, it must not get again.
        heard: The `seq` and `id` of each event, and how often the bus says that it was delivered.
        acked: The `seq` of each event that it said was done.
    """

    subscriber: str
    address: str | None = None
    names: frozenset[str] | None = None
    member: bool = False
    after: int = 0
    heard: list[tuple[int, str, int]] = field(default_factory=list)
    acked: set[int] = field(default_factory=set)

    def is_for(self, event: Stored) -> bool:
        """Is its subscriber entitled to an event?"""
        return self.address in (None, event.address) and (self.names is None or event.name in self.names)


@dataclass(slots=True)
class Report:
    """What was wrong, event by event, and how much there was; everything that is wrong is one line of text."""

    stored: int = 0
    delivered: int = 0
    redelivered: int = 0
    lost: list[str] = field(default_factory=list)
    repeated: list[str] = field(default_factory=list)
    reordered: list[str] = field(default_factory=list)
    misdelivered: list[str] = field(default_factory=list)
    never_acked: list[str] = field(default_factory=list)

    @property
    def unfinished(self) -> list[str]:
        """What may still come right."""
        return self.lost + self.never_acked

    @property
    def wrong(self) -> list[str]:
        return self.lost + self.repeated + self.reordered + self.misdelivered + self.never_acked


def judge(answered: dict[str, int], log: list[Stored], connections: Iterable[Connection]) -> Report:
    """Compare what publishers were answered, what the log holds, and what subscribers got.

    Args:
        answered: The `seq` that was answered for each event's `id`, with 200.
        log: All of it, in its order.
        connections: Every connection there was.
    """
    report = Report(stored=len(log))
    _judge_log(answered, log, report)
    of_subscribers: dict[str, list[Connection]] = defaultdict(list)
    events = {event.seq: event for event in log}
    for connection in connections:
        of_subscribers[connection.subscriber].append(connection)
        _judge_connection(connection, events, report)
    for of_one in of_subscribers.values():
        _judge_subscriber(of_one, log, report)
    return report


def _judge_log(answered: dict[str, int], log: list[Stored], report: Report) -> None:
    times = Counter(event.id for event in log)
    report.repeated += [f"{event_id!r} is in the log {count} times" for event_id, count in times.items() if count > 1]
    seqs = {event.id: event.seq for event in log}
    for event_id, seq in answered.items():
        if seqs.get(event_id) != seq:
            report.lost.append(f"{event_id!r} was answered #{seq}, and the log says {seqs.get(event_id)}")
    for before, after in pairwise(log):
        if before.seq >= after.seq:
            report.reordered.append(f"the log has #{after.seq} after #{before.seq}")


def _judge_subscriber(connections: list[Connection], log: list[Stored], report: Report) -> None:
    """Did all of one subscriber's connections together get what it is entitled to, and do what they got?"""
    one = connections[0]
    heard, done = set[int](), set[int]()
    for connection in connections:
        heard_here = {seq for seq, _, _ in connection.heard}
        heard |= heard_here
        done |= heard_here & connection.acked
    for event in filter(one.is_for, log):
        if event.seq not in heard:
            report.lost.append(f"#{event.seq} never reached {one.subscriber}")
        elif one.member and event.seq not in done:
            report.never_acked.append(f"#{event.seq} was acked by no member of {one.subscriber} that had heard it")


def _judge_connection(connection: Connection, log: dict[int, Stored], report: Report) -> None:
    newest = 0
    for seq, event_id, delivery in connection.heard:
        report.delivered += 1
        report.redelivered += delivery > 1
        event = log.get(seq)
        if event is None or event.id != event_id or not connection.is_for(event):
            report.misdelivered.append(f"#{seq}, {event_id!r}, reached {connection.subscriber}")
        if connection.member and delivery > 1:
            continue  # when that comes is not promised
        if seq == newest:
            report.repeated.append(f"#{seq} came twice over one connection of {connection.subscriber}")
        elif seq < newest:
            report.reordered.append(f"#{seq} came after #{newest} over one connection of {connection.subscriber}")
        elif seq <= connection.after and not connection.member:  # a group's place is the bus's own business
            report.repeated.append(f"#{seq} came again to {connection.subscriber}, back after #{connection.after}")
        newest = max(newest, seq)
