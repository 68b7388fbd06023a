"""Runs measures: several rounds, and in each round every server in turn, so that what disturbs one disturbs all."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import servers
from .figures import Spread, ratios
from .measures import Measure, Plan
from .servers import NAIVE, TOKEN, Server

LIMIT = 0.9
"""Of a core: what the generator uses above that, it lacked."""
DISTURBED = 0.3
"""Of a core: what other programs use above that shows in the figures."""

HERE = Path(__file__).parents[1]

Round = dict[str, Any]


class Wrong(Exception):
    """The generator found a fault, or could not go on."""


@dataclass(slots=True)
class Results:
    """What the rounds of one measure found, by server."""

    measure: Measure
    rounds: dict[str, list[Round]] = field(default_factory=dict)

    def values(self, server: str, figure: str) -> list[float]:
        """Return a figure of each round that has it."""
        return [found[figure] for found in self.rounds[server] if found.get(figure) is not None]

    def spread(self, server: str, figure: str) -> Spread | None:
        """Return what the rounds say about a figure."""
        values = self.values(server, figure)
        return Spread.of(values) if values else None

    def ratio(self, server: str, figure: str, *, to: str = NAIVE) -> Spread | None:
        """Compare with another server, round by round."""
        ours, theirs = ([found.get(figure) for found in self.rounds.get(name, [])] for name in (server, to))
        return ratios(ours, theirs)

    def notes(self, server: str) -> list[str]:
        """Say what one must know about a row."""
        notes = []
        if max(self.values(server, "generator_cpu"), default=0) > LIMIT:
            notes.append("the generator was the limit here")
        if max(self.values(server, "other_cpu"), default=0) > DISTURBED:
            notes.append("other programs were busy")
        if late := sum(self.values(server, "late")):
            notes.append(f"{late:,} deliveries out of order")
        return notes


def run_measure(measure: Measure, plan: Plan, *, rounds: int | None = None, without: str | None = None) -> Results:
    """Do all rounds; the bus may be `without` one of its levers."""
    results = Results(measure, {name: [] for name in measure.servers})
    with ExitStack() as stack:
        if not measure.fresh:
            running = {name: stack.enter_context(servers.running(name, without=without)) for name in measure.servers}
        for _ in range(rounds or plan.rounds):
            for name in measure.servers:
                if measure.fresh:
                    with servers.running(name, without=without) as server:
                        results.rounds[name].append(generate(server, measure.spec, plan))
                else:
                    results.rounds[name].append(generate(running[name], measure.spec, plan))
    return results


def generate(server: Server, spec: dict[str, Any], plan: Plan) -> Round:
    """Run the generator once.

    Raises:
        Wrong: Something was lost, repeated, out of order, misdelivered or changed, or not answered.
    """
    whole = {"seconds": plan.seconds, "warm_up": plan.warm_up, "token": TOKEN} | spec
    whole |= {"port": server.port, "pid": server.process.pid}
    whole |= {"speaks": server.kind.speaks, "ordered": server.kind.ordered}
    command = [sys.executable, "-m", "bench.generator", json.dumps(whole)]
    done = subprocess.run(command, cwd=HERE, capture_output=True, text=True, check=False)
    if done.returncode:
        output = (server.folder / "output").read_text()
        raise Wrong(f"{server.kind.title}, {spec}: {done.stdout[-2000:]}{done.stderr[-2000:]}\n{output[-2000:]}")
    return dict(json.loads(done.stdout))
