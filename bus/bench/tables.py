"""Tables of what was measured, for a terminal and for Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from .figures import Spread
from .rounds import Results
from .servers import KINDS, NAIVE

Table = list[list[str]]

FOLDER = Path(__file__).parents[2] / "docs" / "performance"
"""Where they, and the charts, go."""


PAGE_ONLY = ("p99 × naive", "disk B/event", "disk B/round trip", "MiB", "generator")
"""Columns that a terminal is too narrow for."""


def named(values: Mapping[str, str]) -> str:
    """Write a table of names and their values."""
    return "| | |\n| --- | --- |\n" + "".join(f"| {name} | {value} |\n" for name, value in values.items())


def table(results: Results) -> Table:
    """Make a table of a measure: one row for each server."""
    measure = results.measure
    per = "delivery" if measure.cost == "us_per_delivery" else "event"
    what = "deliveries/s" if measure.rate == "deliveries_per_s" else "events/s"
    if measure.spec["mode"] == "round trip":
        what, per = "round trips/s", "round trip"
    head = ["server", what, "× naive", "p50 ms", "p99 ms", "p99.9 ms", "p99 × naive", f"CPU µs/{per}", "CPU × naive"]
    extra = [(f"disk B/{'event' if per == 'delivery' else per}", "disk_per_event"), ("MiB", "rss_mb")]
    if measure.spec["mode"] == "idle":
        extra = [("kB/client", "kb_per_client"), ("× naive", ""), ("MiB", "rss_mb")]
    head += [name for name, _ in extra]
    rows = [[*head, "generator", ""]]
    for name in measure.servers:
        row = [
            KINDS[name].title,
            whole(results.spread(name, measure.rate)),
            ratio(results, name, measure.rate),
            *[short(results.spread(name, figure)) for figure in ("p50_ms", "p99_ms", "p999_ms")],
            ratio(results, name, "p99_ms"),
            short(results.spread(name, measure.cost)),
            ratio(results, name, measure.cost),
        ]
        for _, figure in extra:
            row.append(short(results.spread(name, figure)) if figure else ratio(results, name, "kb_per_client"))
        rows.append([*row, percent(results.spread(name, "generator_cpu")), "; ".join(results.notes(name))])
    return without_empty(rows)


def open_table(found: dict[int, Results]) -> Table:
    """Make a table of the open loop: one row for each rate, p50 and p99 of each server."""
    names = next(iter(found.values())).measure.servers
    rows = [["offered/s", *[f"{KINDS[name].title}: p50, p99 ms" for name in names]]]
    for rate, results in found.items():
        rows.append([f"{rate:,}", *[open_cell(results, name) for name in names]])
    return rows


def open_cell(results: Results, name: str) -> str:
    """Return p50 and p99; or what came through, where that is less than what was offered."""
    came = results.spread(name, "events_per_s")
    if came and saturated(results, name):
        limit = "generator" if any("generator" in note for note in results.notes(name)) else "server"
        return f"{came.middle:,.0f}/s ({limit})"
    return f"{short(results.spread(name, 'p50_ms'))}, {short(results.spread(name, 'p99_ms'))}"


def saturated(results: Results, name: str) -> bool:
    """Tell whether less came through than was offered."""
    came = results.spread(name, "events_per_s")
    return came is None or came.middle < 0.97 * float(results.measure.spec["rate"])


def aligned(rows: Table) -> str:
    """Write a table for a terminal, without some columns: names to the left, numbers to the right."""
    keep = [column for column, head in enumerate(rows[0]) if head not in PAGE_ONLY]
    rows = [[row[column] for column in keep] for row in rows]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [cell.rjust(width) for cell, width in zip(row, widths, strict=True)]
        cells[0] = row[0].ljust(widths[0])
        if rows[0][-1] == "":
            cells[-1] = row[-1]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines) + "\n"


def markdown(rows: Table) -> str:
    """Write a table for a page."""
    head, *body = rows
    rule = ["---", *["---:"] * (len(head) - 1)]
    if head[-1] == "":
        rule[-1] = "---"
    return "".join(f"| {' | '.join(row)} |\n".replace("|  |", "| |") for row in (head, rule, *body))


def without_empty(rows: Table) -> Table:
    """Leave out columns that have nothing below their head."""
    keep = [column for column in range(len(rows[0])) if any(row[column] for row in rows[1:])]
    return [[row[column] for column in keep] for row in rows]


def whole(spread: Spread | None) -> str:
    """Write a large number."""
    return f"{spread.middle:,.0f}" if spread else ""


def short(spread: Spread | None) -> str:
    """Write a number with three digits or so."""
    if spread is None:
        return ""
    value = spread.middle
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def percent(spread: Spread | None) -> str:
    """Write a share of a core."""
    return f"{spread.most:.0%}" if spread else ""


def ratio(results: Results, name: str, figure: str) -> str:
    """Write how a server compares with naive, and the spread of its rounds."""
    found = results.ratio(name, figure) if name != NAIVE else None
    return f"{found.middle:.2f} ({found.least:.2f}..{found.most:.2f})" if found else ""


def titled(title: str, rows: Table, about: Sequence[str] = ()) -> str:
    """Write a section of the page."""
    return "\n".join([f"## {title}\n", *[f"{line}\n" for line in about], markdown(rows)])
