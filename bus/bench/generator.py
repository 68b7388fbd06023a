"""The generator: a process of its own that puts a load on a server, checks what comes back, and prints figures as JSON.

`python -m bench.generator SPEC`: SPEC is a JSON object with `mode` (a key of MODES), `port`, `pid` (of the server),
`token`, `seconds`, `warm_up` and what the mode wants. The exit status is 1 if anything was wrong.
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys
from collections.abc import Awaitable, Callable

from .groups import group
from .modes import deliver, idle, open_loop, publish
from .round_trips import round_trip
from .run import Figures, Run, Spec
from .stored_modes import come_back, fill, leave, replay

MODES: dict[str, Callable[[Run], Awaitable[None]]] = {
    "publish": publish,
    "deliver": deliver,
    "open": open_loop,
    "round trip": round_trip,
    "group": group,
    "idle": idle,
    "fill": fill,
    "replay": replay,
    "leave": leave,
    "return": come_back,
}


async def main(spec: Spec) -> Figures:
    """Do one run."""
    run = Run(spec)
    gc.freeze()
    gc.disable()  # what a run makes has no cycles
    try:
        await MODES[spec["mode"]](run)
    except (OSError, TimeoutError) as error:
        run.problem(f"{type(error).__name__}: {error}")
    return run.result()


if __name__ == "__main__":
    figures = asyncio.run(main(json.loads(sys.argv[1])))
    sys.stdout.write(json.dumps(figures))
    sys.exit(bool(figures["problems"] or any(figures["faults"].values())))
