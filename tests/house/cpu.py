"""CPU and memory of process trees, out of /proc.

The CPU of a tree is what its living members used plus what they were told of their dead children: PostgreSQL's backends come and go.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

_TICK_SECONDS = 1 / os.sysconf("SC_CLK_TCK")


def cpu_seconds(roots: Iterable[int]) -> float:
    """User and system time of the trees that begin at `roots`."""
    stats = _read_stats()
    children: dict[int, list[int]] = {}
    for pid, (parent, _) in stats.items():
        children.setdefault(parent, []).append(pid)
    total = 0
    waiting = list(roots)
    while waiting:
        pid = waiting.pop()
        if pid in stats:
            total += stats[pid][1]
            waiting += children.get(pid, [])
    return total * _TICK_SECONDS


class CpuMeter:
    """The CPU of named parts since it was made. The parts are trees by their roots' process ids."""

    def __init__(self, parts: Mapping[str, Iterable[int]]) -> None:
        self._parts = {name: list(roots) for name, roots in parts.items()}
        self._before = {name: cpu_seconds(roots) for name, roots in self._parts.items()}

    def read(self) -> dict[str, float]:
        """CPU seconds of each part."""
        return {name: cpu_seconds(roots) - self._before[name] for name, roots in self._parts.items()}


def resident_bytes(pid: int) -> int:
    """The resident set of one process; 0 when it is gone."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    line = next((line for line in status.splitlines() if line.startswith("VmRSS:")), "VmRSS: 0")
    return int(line.split()[1]) * 1024


def _read_stats() -> dict[int, tuple[int, int]]:
    """pid: (parent, ticks used by it and its reaped children)."""
    stats = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            stats[int(entry.name)] = (int(fields[1]), sum(int(field) for field in fields[11:15]))
    return stats
