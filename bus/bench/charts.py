"""Draws what was measured: middling colours on no ground, to be read on white and on black."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from .measures import BUSES, PEERS
from .rounds import Results
from .servers import KINDS, NAIVE
from .tables import saturated

GREY = "#7a8490"
COLOURS = {
    "memory": "#2f9e68",
    "normal": "#3f86d8",
    "full": "#9a6dd7",
    NAIVE: "#d9822b",
    "nats": "#2aa7b5",
    "go": "#c2577e",
}
STYLE: Any = {  # matplotlib lists the names of all its settings as a type
    "font.size": 11,
    "font.family": "sans-serif",
    "svg.fonttype": "none",
    "svg.hashsalt": "bench",
    "text.color": GREY,
    "axes.labelcolor": GREY,
    "axes.edgecolor": GREY,
    "axes.titlecolor": GREY,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "grid.color": GREY,
    "grid.alpha": 0.25,
    "axes.spines.top": False,
    "axes.spines.right": False,
}
NAMES = {
    "publish-32": "publish,\n32 connections",
    "publish-256": "publish,\n256 connections",
    "batches": "batches of 100",
    "deliver-4": "deliver,\n32 to 4 services",
    "deliver-100": "deliver,\n32 to 100",
    "fan-out": "deliver,\n1 to 1,000",
    "round-trip-10": "round trip,\n10 clients",
    "round-trip-100": "round trip,\n100 clients",
    "idle": "addressed,\nidle clients",
}


def draw(closed: Mapping[str, Results], opened: Mapping[int, Results], folder: Path) -> None:
    """Draw all charts that there is something for."""
    closed = {name: results for name, results in closed.items() if NAIVE in results.measure.servers}
    with mpl.rc_context(STYLE):
        if closed:
            bars(closed, "rate", "throughput, times naive (more is better)", folder / "throughput.svg")
            bars(closed, "cost", "server CPU time for each, times naive (less is better)", folder / "cpu.svg")
            bars(closed, "p99_ms", "99th percentile of latency, times naive (less is better)", folder / "p99.svg")
        if opened:
            lines(opened, folder / "load.svg")


def bars(closed: Mapping[str, Results], what: str, label: str, path: Path) -> None:
    """Draw a figure of each measure as a ratio to naive; the thin line is the spread of the rounds."""
    figure = Figure(figsize=(8.5, 0.72 * len(closed) + 1.3), layout="constrained")
    axes = figure.subplots()
    names = [*BUSES, *[peer for peer in PEERS if any(peer in results.rounds for results in closed.values())]]
    step, named = 0.78 / len(names), set[str]()
    for row, results in enumerate(closed.values()):
        for place, name in enumerate(names):
            found = results.ratio(name, getattr(results.measure, what, what))
            if found is None:
                continue
            y = row + (place - (len(names) - 1) / 2) * step
            title = None if name in named else KINDS[name].title
            named.add(name)
            axes.barh(y, found.middle - 1, step - 0.04, 1, color=COLOURS[name], label=title)
            axes.plot([found.least, found.most], [y, y], color=GREY, linewidth=1.2)
            end, side, shift = (found.most, "left", 4) if found.middle >= 1 else (found.least, "right", -4)
            text = f"{found.middle:.2g}"
            axes.annotate(text, (end, y), (shift, 0), textcoords="offset points", va="center", ha=side, fontsize=9)
    axes.axvline(1, color=COLOURS[NAIVE], linewidth=1.5, label="naive")
    axes.set_xscale("log")
    axes.margins(x=0.1)
    axes.set_yticks(range(len(closed)), [NAMES[name] for name in closed])
    axes.invert_yaxis()
    axes.set_xlabel(label)
    axes.xaxis.set_major_formatter(FuncFormatter(plain))
    axes.xaxis.set_minor_formatter(FuncFormatter(few))
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x")
    axes.set_axisbelow(True)
    legend(axes, columns=4 if len(names) == len(BUSES) else 3)
    save(figure, path)


def lines(opened: Mapping[int, Results], path: Path) -> None:
    """Draw latency against offered load; a line ends where less came through than was offered."""
    figure = Figure(figsize=(8.5, 4.6), layout="constrained")
    axes = figure.subplots()
    for name in next(iter(opened.values())).measure.servers:
        colour = COLOURS[name]
        rates = [rate for rate, results in opened.items() if not saturated(results, name)]
        for percentile, style in (("p50_ms", ":"), ("p99_ms", "-")):
            values = [found.middle for rate in rates if (found := opened[rate].spread(name, percentile))]
            title = f"{KINDS[name].title}, {percentile[:3]}"
            axes.plot(rates, values, style, color=colour, marker="o", markersize=4, linewidth=2, label=title)
    axes.set_yscale("log")
    axes.set_xlabel("events offered a second (each to 4 services)")
    axes.set_ylabel("latency, ms")
    axes.set_xlim(0)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.yaxis.set_major_formatter(FuncFormatter(plain))
    axes.grid()
    axes.set_axisbelow(True)
    legend(axes, columns=4)
    save(figure, path)


def legend(axes: Axes, *, columns: int) -> None:
    """Put the legend above the chart."""
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=columns, frameon=False, fontsize=9)


def plain(value: float, _position: int | None = None) -> str:
    """Write 0.1, 1, 10 as one says them."""
    return f"{value:g}"


def few(value: float, _position: int | None = None) -> str:
    """Write only some of the marks between the powers of ten."""
    return plain(value) if f"{value:e}"[0] in "25" else ""


def save(figure: Figure, path: Path) -> None:
    """Write an SVG that is the same for the same figures."""
    figure.savefig(path, transparent=True, metadata={"Date": None, "Creator": None})
