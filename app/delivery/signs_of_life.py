"""Signs of life: whether a worker that ran on this machine is still there, so that its death need not wait for the end of its lease.

A worker writes down what the kernel calls it: the boot, the PID namespace, its PID, and when it began. Who is in the same namespace of
the same boot can ask for it; of all others nothing can be said here, and their lease decides. Only what the kernel says is gone has
died: one that is frozen, traced or swapped out is there.
"""

from __future__ import annotations

import os
from pathlib import Path

_PROC = Path("/proc")
_STATE, _BEGAN = 0, 19  # in /proc/PID/stat, behind the name: proc_pid_stat(5)


def own_mark() -> str | None:
    """What the kernel calls this process; None where it does not say."""
    try:
        began = _read_stat(os.getpid())[_BEGAN]
        return f"{_here()} {os.getpid()} {began}"
    except OSError:
        return None


def has_died(mark: str | None) -> bool:
    """Whether the process of a mark ran here and is gone. False wherever there is a doubt."""
    try:
        place, pid, began = (mark or "").rsplit(" ", 2)
        return place == _here() and not _is_there(int(pid), began)
    except (OSError, ValueError):
        return False


def _here() -> str:
    """The boot and the PID namespace: within both a PID and its beginning name one process."""
    return f"{(_PROC / 'sys/kernel/random/boot_id').read_text().strip()} {(_PROC / 'self/ns/pid').readlink()}"


def _is_there(pid: int, began: str) -> bool:
    try:
        os.kill(pid, 0)  # /proc may hide what belongs to others; this does not
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    try:
        stat = _read_stat(pid)
    except OSError:
        return True
    # A zombie has ended, and only waits for its parent to hear of it.
    return stat[_BEGAN] == began and (stat[_STATE] not in "ZX" or len(list((_PROC / str(pid) / "task").iterdir())) > 1)


def _read_stat(pid: int) -> list[str]:
    return (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
