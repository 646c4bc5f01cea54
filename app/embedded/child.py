"""Children that cannot outlive us, and strays of a run that was killed.

A child gets a signal from the kernel when the thread that started it ends (PR_SET_PDEATHSIG), so it is started from a
thread that lives as long as we do: the main one. It has a group of its own, or Ctrl-C in the terminal would reach
PostgreSQL before the workers have written down what they did.

A stray is recognised by what it is and where it works, never by a number in a file: process ids are given again.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from app.embedded.owner import Owner

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


class StartError(Exception):
    """Something outside stands in the way; the text is one line that says what and how to mend it."""


def start_child(
    command: Sequence[str | Path],
    *,
    log: Path,
    last_signal: signal.Signals,
    directory: Path,
    environment: Mapping[str, str],
    owner: Owner | None = None,
) -> subprocess.Popen[bytes]:
    """A running child whose output goes to the end of `log`; it gets `last_signal` when we die."""
    parent = os.getpid()
    switch = owner if owner is not None and owner.switched else None
    with log.open("ab") as output:
        return subprocess.Popen(  # noqa: S603 (our own programs)
            [str(part) for part in command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=directory,
            env=dict(environment),
            process_group=0,
            umask=0o077,
            # Called last of all, after the change of user, which would forget the death signal.
            preexec_fn=lambda: die_with_parent(parent, last_signal),
            user=switch.uid if switch else None,
            group=switch.gid if switch else None,
            extra_groups=[] if switch else None,
        )


def die_with_parent(parent: int, last_signal: signal.Signals) -> None:
    """Ask the kernel for `last_signal` when our parent ends; end at once when it has ended already."""
    _libc.prctl(_PR_SET_PDEATHSIG, int(last_signal))
    if os.getppid() != parent:
        os._exit(1)


def stop_child(child: subprocess.Popen[bytes], steps: Sequence[tuple[signal.Signals, float]]) -> None:
    """Send each signal and wait so many seconds for the end; SIGKILL is the last word."""
    for step, patience in steps:
        if child.poll() is not None:
            return
        child.send_signal(step)
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(patience)
            return
    child.kill()
    child.wait()


def end_strays(strays: Callable[[], Iterable[int]], steps: Sequence[tuple[signal.Signals, float]]) -> int:
    """End what an earlier run left behind; returns how many there were."""
    found = list(strays())
    for step, patience in (*steps, (signal.SIGKILL, 10.0)):
        until = time.monotonic() + patience
        for pid in strays():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, step)
        while any(True for _ in strays()):
            if time.monotonic() > until:
                break
            time.sleep(0.02)
        else:
            return len(found)
    raise StartError(f"processes of an earlier run do not end: {' '.join(str(pid) for pid in strays())}")


def running_in(directory: Path, program: str) -> Iterator[int]:
    """Processes of this program whose working directory is `directory`: servers change into their own."""
    place = str(directory.resolve())
    for entry in _processes():
        # Gone meanwhile, a zombie, or somebody else's: then it is not ours.
        with contextlib.suppress(OSError):
            if (entry / "comm").read_text().strip() == program and os.readlink(entry / "cwd") == place:  # noqa: PTH115
                yield int(entry.name)


def running_with(variable: str, value: str) -> Iterator[int]:
    """Processes that were started with this environment variable."""
    wanted = f"{variable}={value}".encode()
    for entry in _processes():
        with contextlib.suppress(OSError):
            if int(entry.name) != os.getpid() and wanted in (entry / "environ").read_bytes().split(b"\0"):
                yield int(entry.name)


def last_words(log: Path, start: int) -> str:
    """The line of a log, from `start` on, that most likely tells why a program ended."""
    try:
        with log.open("rb") as file:
            file.seek(start)
            lines = [line.strip() for line in file.read().decode(errors="replace").splitlines() if line.strip()]
    except OSError:
        lines = []
    for mark in ("No space left on device", "FATAL", "PANIC", "ERROR", "rror"):
        for line in reversed(lines):
            if mark in line:
                return line
    return lines[-1] if lines else "it said nothing"


def _processes() -> Iterator[Path]:
    return (entry for entry in Path("/proc").iterdir() if entry.name.isdigit())
