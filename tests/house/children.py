"""Child processes of a run: started with a clean environment, ended with us, told apart by name.

A double says one line when it is ready; products of the house say nothing and are asked from outside.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from app.embedded.child import die_with_parent

ROOT = Path(__file__).resolve().parents[2]


class Child:
    """One running program. `log` takes its stderr, and its stdout too unless it is to say a first line."""

    def __init__(
        self, name: str, arguments: Sequence[str], *, log: Path, environment: Mapping[str, str] | None = None, speaks: bool = False
    ) -> None:
        self.name = name
        self.log = log
        self.started_at = time.time()
        parent = os.getpid()
        with log.open("ab") as output:
            self._child = subprocess.Popen(
                [sys.executable, "-P", "-m", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE if speaks else output,
                stderr=output,
                cwd=ROOT,
                env=clean_environment() | dict(environment or {}),
                process_group=0,
                preexec_fn=lambda: die_with_parent(parent, signal.SIGKILL),
            )

    @property
    def pid(self) -> int:
        return self._child.pid

    @property
    def runs(self) -> bool:
        return self._child.poll() is None

    def first_line(self) -> str:
        """What a double says when it is ready; RuntimeError with its last words when it ends instead."""
        assert self._child.stdout is not None
        line = self._child.stdout.readline().decode()
        if not line:
            raise RuntimeError(f"{self.name} did not start: {self.last_words()}")
        return line.strip()

    def rest(self, seconds: float) -> str:
        """What it says until it ends by itself."""
        return self._child.communicate(timeout=seconds)[0].decode()

    def send(self, number: signal.Signals | int) -> None:
        with contextlib.suppress(ProcessLookupError):
            if self.runs:  # the number of one that has ended may be somebody else's by now
                os.kill(self.pid, number)

    def wait(self, seconds: float) -> bool:
        """Whether it has ended within `seconds`."""
        try:
            self._child.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def kill(self) -> None:
        """kill -9, and wait for the end."""
        self.send(signal.SIGKILL)
        self._child.wait()
        if self._child.stdout is not None:
            self._child.stdout.close()

    def stop(self, seconds: float = 30.0) -> bool:
        """SIGTERM, then SIGKILL; whether the first was enough."""
        self.send(signal.SIGCONT)
        self.send(signal.SIGTERM)
        ended = self.wait(seconds)
        self.kill()
        return ended

    def last_words(self) -> str:
        lines = self.log.read_text(errors="replace").splitlines() if self.log.exists() else []
        return " | ".join(lines[-3:]) or "it said nothing"


def clean_environment() -> dict[str, str]:
    """Ours without the settings of some other house."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("STAFFETTA_")}
    return kept | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
