"""One program of `up` (API, SMTP server, worker, inbox) as a child: started, started again when it dies, stopped."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from app.embedded.child import last_words, start_child, stop_child

_ROOT = Path(__file__).resolve().parents[2]
_FIRST_WAIT_SECONDS = 0.5
_LONGEST_WAIT_SECONDS = 30.0
# A program that ran this long had started well: its next end is a new story.
_STEADY_SECONDS = 60.0


class Program:
    """`python -m app.cli <command>` under a name, with its log."""

    def __init__(self, name: str, command: Sequence[str], environment: Mapping[str, str], log_directory: Path) -> None:
        self.name = name
        self.log = log_directory / f"{name}.log"
        self._command = command_line(*command)
        self._environment = environment
        self._child: subprocess.Popen[bytes] | None = None
        self._started = 0.0
        self._log_start = 0
        self._failures = 0
        self._due: float | None = None

    @property
    def pid(self) -> int | None:
        return self._child.pid if self._child is not None else None

    def start(self) -> None:
        self._due = None
        self._started = time.monotonic()
        self._log_start = self.log.stat().st_size if self.log.exists() else 0
        self._child = start_child(self._command, log=self.log, last_signal=signal.SIGTERM, directory=_ROOT, environment=self._environment)

    def why_ended(self) -> str | None:
        """What the program said last, when it runs no longer; None while it runs."""
        if self._child is None or self._child.poll() is None:
            return None
        return f"{self.name} ended with status {self._child.returncode}: {last_words(self.log, self._log_start)} (log: {self.log})"

    def tend(self) -> str | None:
        """Start again what died, after a wait that doubles while it keeps dying. A line to show, when there is news."""
        reason = self.why_ended()
        if reason is None:
            return None
        now = time.monotonic()
        if self._due is None:
            self._failures = 1 if now - self._started > _STEADY_SECONDS else self._failures + 1
            wait = min(_FIRST_WAIT_SECONDS * 2 ** (self._failures - 1), _LONGEST_WAIT_SECONDS)
            self._due = now + wait
            return f"{reason}; starting it again in {wait:g} s"
        if now >= self._due:
            self.start()
        return None

    def tell_to_stop(self) -> None:
        if self._child is not None and self._child.poll() is None:
            self._child.send_signal(signal.SIGTERM)

    def stop(self, patience_seconds: float) -> None:
        """Ask it to stop, and wait so long before it is killed."""
        if self._child is not None:
            stop_child(self._child, ((signal.SIGTERM, patience_seconds),))

    def kill(self) -> None:
        if self._child is not None and self._child.poll() is None:
            self._child.kill()


def command_line(*arguments: str) -> list[str]:
    """Our own interpreter on `app.cli`; -P keeps the working directory out of the places to import from."""
    return [sys.executable, "-P", "-m", "app.cli", *arguments]


def program_environment(outer: Mapping[str, str], **settings: str) -> dict[str, str]:
    """The environment of a program: the outer one, the place of the code, and settings by their names."""
    return {**outer, "PYTHONPATH": str(_ROOT), **{f"STAFFETTA_{name.upper()}": value for name, value in settings.items()}}
