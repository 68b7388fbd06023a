"""Draws where the bus's time goes under some loads: flame graphs (Gregg 2016, https://doi.org/10.1145/2909476).

`make flames` runs the loads, looks at the bus's stacks with py-spy, and draws one chart each. A bar is a function; what
it calls stands above it, and its width is the share of the time in which it, or what it called, was seen.
"""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

from .charts import COLOURS, GREY, STYLE, save
from .machine import open_many_files
from .measures import LONG, measures
from .rounds import Wrong, generate
from .servers import PATIENCE, Server, running
from .stacks import bars, tree
from .stored_logs import gone, stored
from .tables import FOLDER

SECONDS = 5
STORED = 1_000_000  # events
RATE = 250  # looks a second
LETTERS = 210  # that fit into the whole width
HUES = tuple(COLOURS.values())[:4]
SERVER = "normal"  # what is stored, but no disk is waited for


def draw(stacks: Iterable[str], title: str, path: Path) -> None:
    """Draw one chart."""
    root = tree(stacks)
    found = list(bars(root, 0.0, root.count))
    with mpl.rc_context(STYLE):
        deepest = max(depth for *_, depth in found)
        figure = Figure(figsize=(11, 0.2 * deepest + 0.5), layout="constrained")
        axes = figure.subplots()
        for frame, at, width, depth in found:
            axes.barh(depth, width, 0.92, at, color=colour(frame.name), alpha=0.35)
            whole = frame.name.partition(" (")[0]
            text = next((text for text in (whole, whole.rpartition(".")[2]) if len(text) <= width * LETTERS), "")
            if text:
                axes.text(at + width / 2, depth, text, ha="center", va="center", fontsize=6.5, color=GREY)
        axes.set_title(title, fontsize=10)
        axes.set_xlim(0, 1)
        axes.axis("off")
        save(figure, path)


def colour(name: str) -> str:
    """Choose by whose a function is: the bus's, asyncio's, aiohttp's, or anybody else's."""
    for hue, owner in zip(HUES, ("eventbus/", "asyncio/", "aiohttp/"), strict=False):
        if owner in name:
            return hue
    return HUES[-1]


@contextmanager
def watched(server: Server, title: str, path: Path) -> Iterator[None]:
    """Look at a server's stacks until the block is left, and draw them."""
    stacks = server.folder / "stacks"
    options = ["--rate", str(RATE), "--function", "--format", "raw", "--output", str(stacks)]
    command = [str(Path(sys.executable).with_name("py-spy")), "record", "--pid", str(server.process.pid), *options]
    looking = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        yield
    finally:
        looking.send_signal(signal.SIGINT)  # it writes what it saw
        _, said = looking.communicate(timeout=PATIENCE)
    if not stacks.exists():
        raise Wrong(f"py-spy: {said}")
    draw(stacks.read_text().splitlines(), title, path)


def loads(folder: Path) -> None:
    """Put each load on a bus of its own."""
    plan = replace(LONG, seconds=SECONDS)
    for name in ("publish-32", "deliver-100", "round-trip-10"):
        measure = measures(0, ())[name]
        with running(SERVER) as server, watched(server, measure.title, folder / f"flame-{name}.svg"):
            generate(server, measure.spec, plan)
    replayed, came_back = f"{STORED:,} events replayed to one service", f"{plan.returning:,} clients come back"
    with stored(SERVER, plan, events=STORED) as log, watched(log.server, replayed, folder / "flame-replay.svg"):
        generate(log.server, log.load, plan)
    with gone(SERVER, plan) as clients, watched(clients.server, came_back, folder / "flame-return.svg"):
        generate(clients.server, clients.load, plan)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m bench.flames", description="Draw where the bus's time goes.")
    parser.add_argument("folder", type=Path, nargs="?", default=FOLDER, help="where the charts go")
    open_many_files()
    loads(parser.parse_args().folder)
