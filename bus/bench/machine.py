"""What the operating system tells: the machine's facts, and what a process uses (proc_pid_stat(5), proc_pid_io(5))."""

from __future__ import annotations

import os
import platform
import resource
import sqlite3
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

_TICK = 1 / os.sysconf("SC_CLK_TCK")


def facts() -> dict[str, str]:
    """Return what figures depend on; nothing that names the machine or its users."""
    model = "unknown"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    memory = next(line for line in Path("/proc/meminfo").read_text().splitlines() if line.startswith("MemTotal"))
    return {
        "CPU": f"{model}, {len(os.sched_getaffinity(0))} cores",
        "Memory": f"{int(memory.split()[1]) / 2**20:.0f} GiB",
        "Kernel": f"{platform.system()} {platform.release()}",
        "Python": f"{platform.python_version()}, aiohttp {version('aiohttp')}, msgspec {version('msgspec')}",
        "SQLite": sqlite3.sqlite_version,
        "Day": f"{datetime.now(UTC):%Y-%m-%d}",
    }


def cpu_seconds(pid: int) -> float:
    """Return the CPU time that a process has used, all its threads together."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except FileNotFoundError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) * _TICK


def busy_seconds() -> float:
    """Return the CPU time that the whole machine has used, with what others took from it."""
    user, nice, system, _idle, _wait, irq, softirq, steal = map(
        int, Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]
    )
    return (user + nice + system + irq + softirq + steal) * _TICK


def resident_kb(pid: int) -> int:
    """Return what a process has in memory."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1])
    return 0


def written_bytes(pid: int) -> int:
    """Return what a process has had written to disk, all its threads together."""
    for line in Path(f"/proc/{pid}/io").read_text().splitlines():
        if line.startswith("write_bytes"):
            return int(line.split()[1])
    return 0


def open_many_files() -> None:
    """Let this program, and those that it starts, have as many connections as the system allows."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
