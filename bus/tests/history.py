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
    address: str | None = None


@dataclass(slots=True)
class Connection:
    """What came over one connection, in its order.

    Attributes:
        subscriber: Whose it was; one that comes back has several, and the members of a group are one subscriber.
        address: The client's; None for services, which are entitled to everything.
        heard: The `seq` and `id` of each event, and how often the bus says that it was delivered.
    """

    subscriber: str
    address: str | None = None
    heard: list[tuple[int, str, int]] = field(default_factory=list)


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

    @property
    def wrong(self) -> list[str]:
        return self.lost + self.repeated + self.reordered + self.misdelivered


def judge(answered: dict[str, int], log: list[Stored], connections: Iterable[Connection]) -> Report:
    """Compare what publishers were answered, what the log holds, and what subscribers got.

    Args:
        answered: The `seq` that was answered for each event's `id`, with 200.
        log: All of it, in its order.
        connections: Every connection there was.
    """
    report = Report(stored=len(log))
    _judge_log(answered, log, report)
    heard_by: dict[str, set[int]] = defaultdict(set)
    addresses: dict[str, str | None] = {}
    ids = {event.seq: event for event in log}
    for connection in connections:
        addresses[connection.subscriber] = connection.address
        heard_by[connection.subscriber] |= {seq for seq, _, _ in connection.heard}
        _judge_connection(connection, ids, report)
    for subscriber, seqs in heard_by.items():
        entitled = (event for event in log if addresses[subscriber] in (None, event.address))
        report.lost += [f"#{event.seq} never reached {subscriber}" for event in entitled if event.seq not in seqs]
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


def _judge_connection(connection: Connection, log: dict[int, Stored], report: Report) -> None:
    newest = 0
    for seq, event_id, delivery in connection.heard:
        report.delivered += 1
        report.redelivered += delivery > 1
        event = log.get(seq)
        if event is None or event.id != event_id or connection.address not in (None, event.address):
            report.misdelivered.append(f"#{seq}, {event_id!r}, reached {connection.subscriber}")
        if delivery > 1:
            continue  # when that comes is not promised
        if seq == newest:
            report.repeated.append(f"#{seq} came twice over one connection of {connection.subscriber}")
        elif seq < newest:
            report.reordered.append(f"#{seq} came after #{newest} over one connection of {connection.subscriber}")
        newest = max(newest, seq)
