"""What is measured: each measure is a load that several servers get in turn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

BUSES = ("memory", "normal", "full")
ALL = (*BUSES, "naive")


@dataclass(frozen=True, slots=True)
class Measure:
    """One load.

    Attributes:
        title: What happens in it.
        spec: What the generator is told.
        rate: Which figure is the throughput: events_per_s or deliveries_per_s.
        cost: Which figure is the server's CPU time: us_per_event or us_per_delivery.
        timed: What the latency is the time of.
        servers: Who gets it, in turn.
        fresh: Whether each round needs a server that has done nothing yet.
    """

    title: str
    spec: dict[str, Any]
    timed: str
    rate: str = "events_per_s"
    cost: str = "us_per_event"
    servers: Sequence[str] = ALL
    fresh: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """How much of everything.

    Attributes:
        rates: Events a second that the open loop offers.
        stored: Events that are replayed, and that a log holds when the bus starts. 0: neither is measured.
        returning: Clients that come back all at once.
        growing: Events that a log holds whenever it is measured as it grows.
    """

    rounds: int
    seconds: float
    warm_up: float
    idle: int
    rates: Sequence[int]
    stored: int = 0
    returning: int = 0
    growing: Sequence[int] = ()


def _deliver(title: str, publishers: int, services: int) -> Measure:
    spec = {"mode": "deliver", "publishers": publishers, "services": services, "window": 64}
    return Measure(title, spec, DELIVERED, rate="deliveries_per_s", cost="us_per_delivery")


def _group(acks: str, *, lists: bool) -> Measure:
    title = f"32 publishers, a group of 4 members, {acks}"
    spec = {"mode": "group", "publishers": 32, "members": 4, "window": 256, "lists": lists}
    return Measure(title, spec, DELIVERED, rate="deliveries_per_s", cost="us_per_delivery", servers=BUSES)


ANSWERED = "from the request to its answer"
DELIVERED = "from the request to each delivery"


PEERS = {
    "nats": ("publish-32", "publish-256", "deliver-4", "deliver-100", "fan-out"),
    "go": ("publish-32", "publish-256", "deliver-4", "deliver-100", "fan-out", "round-trip-10", "idle"),
}
"""Servers that take part if they are asked for, and the measures that they can do."""


def measures(idle: int, nothing: Sequence[str], peers: Sequence[str] = ()) -> dict[str, Measure]:
    """Return the measures by their names; `nothing` are the servers that only answer 200."""
    found = {
        "publish-32": Measure(
            "Publish on 32 connections",
            {"mode": "publish", "publishers": 32},
            ANSWERED,
            servers=(*ALL, *nothing),
        ),
        "publish-256": Measure(
            "Publish on 256 connections",
            {"mode": "publish", "publishers": 256},
            ANSWERED,
            servers=(*ALL, *nothing),
        ),
        "batches": Measure(
            "Publish batches of 100 on 16 connections",
            {"mode": "publish", "publishers": 16, "batch": 100},
            "from a batch's request to its answer",
        ),
        "deliver-4": _deliver("32 publishers, 4 services, at most 64 events under way", 32, 4),
        "deliver-100": _deliver("32 publishers, 100 services, at most 64 events under way", 32, 100),
        "fan-out": _deliver("1 publisher, 1,000 services", 1, 1000),
        "round-trip-10": Measure(
            "Round trips client, service, client: 10 clients",
            {"mode": "round trip", "clients": 10},
            "from the question's request to its answer's delivery",
        ),
        "round-trip-100": Measure(
            "Round trips client, service, client: 100 clients",
            {"mode": "round trip", "clients": 100},
            "from the question's request to its answer's delivery",
        ),
        "group": _group("each event acked by itself", lists=False),
        "group-lists": _group("acks in lists", lists=True),
        "idle": Measure(
            f"{idle:,} clients that wait; each event is addressed to one of them",
            {"mode": "idle", "publishers": 32, "clients": idle},
            DELIVERED,
            rate="deliveries_per_s",
            servers=("memory", "normal", "naive"),
            fresh=True,
        ),
    }
    for name, one in found.items():
        found[name] = replace(one, servers=(*one.servers, *[peer for peer in peers if name in PEERS[peer]]))
    return found


SHORT = Plan(rounds=3, seconds=0.7, warm_up=0.2, idle=1000, rates=(2000, 5000, 10000, 15000, 20000, 30000))
LONG = Plan(
    rounds=5,
    seconds=3,
    warm_up=1,
    idle=10000,
    rates=(1000, 2000, 5000, 7500, 10000, 15000, 20000, 25000, 30000, 40000),
    stored=200_000,
    returning=10_000,
    growing=(10_000, 100_000, 1_000_000, 10_000_000),
)


def open_loop(rate: int) -> Measure:
    """Offer events at a rate, whatever the server does."""
    return Measure(
        f"{rate:,} events/s offered, 4 services",
        {"mode": "open", "publishers": 64, "services": 4, "rate": rate},
        "from when the event should have been sent to each delivery",
    )
