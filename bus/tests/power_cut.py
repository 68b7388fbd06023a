"""What a disk may hold after a power cut: the writes and syncs of a real bus, recorded, and images made of them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

SECTOR = 512
"""Bytes that a disk writes whole or not at all."""

CALLS = "openat,pwrite64,write,fsync,fdatasync,ftruncate,unlink,sendto,sendmsg,writev"
NOT_ON_DISK = ("-shm", ".lock")
"""Ends of names of files in which no restart looks for anything."""

_LINE = re.compile(r"(\d+) +(\w+)\((.*)\) += +(\d+)")
_UNFINISHED = re.compile(r"(\d+) +(\w+\(.*) <unfinished \.\.\.>$")
_RESUMED = re.compile(r"(\d+) +<\.\.\. \w+ resumed>(.*)$")
_TEXT = re.compile(r'[<"]((?:\\x[0-9a-f]{2})*)[>"]')
_RECEIPT = re.compile(rb'"id":"([^"]+)","seq":(\d+)')


@dataclass(frozen=True)
class Step:
    """Something that the bus did to a file, or `answered`; `began` counts the steps that had ended when it began."""

    kind: str
    began: int
    path: str = ""
    offset: int = 0
    data: bytes = b""


def record(trace: Path) -> list[str]:
    """Return the command that runs another one, and writes what it does to files to `trace`."""
    return [
        "strace",
        "-D",
        "-f",
        "-y",
        "-xx",
        "-s",
        "1000000",
        "-e",
        f"trace={CALLS}",
        "-e",
        "signal=none",
        "-o",
        str(trace),
    ]


def read(trace: Path, folder: Path) -> list[Step]:
    """Read what a bus did to the files of a folder, and what it answered."""
    steps: list[Step] = []
    unfinished: dict[str, tuple[str, int]] = {}
    for line in trace.read_text().splitlines():
        began = len(steps)
        if begun := _UNFINISHED.match(line):
            unfinished[begun[1]] = begun[2], began
            continue
        if (resumed := _RESUMED.match(line)) and resumed[1] in unfinished:
            half, began = unfinished.pop(resumed[1])
            line = f"{resumed[1]} {half}{resumed[2]}"
        if call := _LINE.match(line):
            steps += _steps(call[2], call[3], began, str(folder))
    return steps


def answered(steps: Sequence[Step]) -> list[tuple[str, int]]:
    """Return id and position of each event that was answered, in the order of the answers."""
    receipts = [receipt for step in steps if step.kind == "answered" for receipt in _RECEIPT.findall(step.data)]
    return [(event_id.decode(), int(seq)) for event_id, seq in receipts]


def image(steps: Sequence[Step], random: Random, *, heeds_syncs: bool = True) -> dict[str, bytes]:
    """Make up what the files may hold after these steps: of what was not synced, anything may be lost or torn.

    Args:
        steps: Up to the power cut.
        random: Decides.
        heeds_syncs: Whether the disk does.
    """
    survives = random.choice((0.0, 0.5, 0.9, 1.0))
    files: dict[str, bytes] = {}
    for path in dict.fromkeys(step.path for step in steps if step.path):
        content: bytes | None = None
        waiting: list[Step] = []
        for step in steps:
            if step.path == path and step.kind != "synced":
                waiting.append(step)
            elif heeds_syncs and step.kind == "synced" and step.path in (path, str(Path(path).parent)):
                done = [each for each in waiting if each.began < step.began and _is_covered(each, step, path)]
                for each in done:
                    content = _apply(content, each)
                waiting = [each for each in waiting if each not in done]
        content = _what_is_left(content, waiting, survives, random)
        if content is not None:
            files[Path(path).name] = content
    return files


def _is_covered(step: Step, sync: Step, path: str) -> bool:
    """A folder's sync covers the names of its files, a file's sync its content and its name."""
    return sync.path == path or step.kind in ("made", "removed")


def _what_is_left(content: bytes | None, waiting: Sequence[Step], survives: float, random: Random) -> bytes | None:
    for step in waiting:
        if random.random() < survives:
            content = _apply(content, step)
        elif step.kind in ("made", "removed"):
            return content  # what is done to a folder keeps its order, and what came later was done to another file
        elif step.kind == "written" and random.random() < 0.5:
            for start in range(0, len(step.data), SECTOR):
                if random.random() < 0.5:
                    part = step.data[start : start + SECTOR]
                    content = _apply(content, Step("written", step.began, step.path, step.offset + start, part))
    return content


def _apply(content: bytes | None, step: Step) -> bytes | None:
    if step.kind == "removed":
        return None
    if content is None:
        content = b""
    if step.kind == "cut":
        return content[: step.offset].ljust(step.offset, b"\0")
    if step.kind == "written":
        end = step.offset + len(step.data)
        return content[: step.offset].ljust(step.offset, b"\0") + step.data + content[end:]
    return content


def _steps(name: str, arguments: str, began: int, folder: str) -> Iterator[Step]:
    texts = [bytes.fromhex(text.replace("\\x", "")) for text in _TEXT.findall(arguments)]
    if name in ("sendto", "sendmsg", "write", "writev") and any(text.startswith(b"HTTP/1.1 200") for text in texts):
        yield Step("answered", began, data=b"".join(texts))
        return
    path = texts[-1 if name == "openat" else 0].decode(errors="replace") if texts else ""
    if not path.startswith(folder) or path.endswith(NOT_ON_DISK):
        return
    numbers = [int(number) for number in re.findall(r", (\d+)(?=,|$)", arguments)]
    if name == "openat" and "O_CREAT" in arguments:
        yield Step("made", began, path)
    elif name == "pwrite64":
        yield Step("written", began, path, numbers[-1], texts[1])
    elif name == "ftruncate":
        yield Step("cut", began, path, numbers[-1])
    elif name == "unlink":
        yield Step("removed", began, path)
    elif name in ("fsync", "fdatasync"):
        yield Step("synced", began, path)
