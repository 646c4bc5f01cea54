"""The sink's log of final dots: what a chaos run checks its accepted messages against."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from pathlib import Path

FLUSH_SECONDS = 0.01

# Verdicts after which the client was told yes, or could have been: the message may count as received.
TOLD_YES = frozenset({"accepted", "dot_then_drop", "dot_slow", "dot_drip", "dot_multiline", "dot_bare_code"})


@dataclass(slots=True)
class Dot:
    """One final dot that arrived. `size` is in bytes on the wire, dot-stuffing and final dot apart."""

    time: float
    recipient: str
    message_id: str
    size: int
    verdict: str
    connection: int


class DotLog:
    """Appends lines; they reach the file within FLUSH_SECONDS, many with one write."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        self._lines: list[str] = []

    def write(self, dot: Dot) -> None:
        if not self._lines:
            asyncio.get_running_loop().call_later(FLUSH_SECONDS, self.flush)
        self._lines.append(f"{dot.time:.6f}\t{dot.recipient}\t{dot.message_id}\t{dot.size}\t{dot.verdict}\t{dot.connection}\n")

    def flush(self) -> None:
        if self._lines:
            lines, self._lines = self._lines, []
            os.write(self._file, "".join(lines).encode())

    def close(self) -> None:
        self.flush()
        os.close(self._file)
        self._file = -1


def read_log(path: Path) -> list[Dot]:
    """The dots in a log so far; an unfinished last line is left out."""
    dots = []
    for line in path.read_text().split("\n")[:-1]:
        at, recipient, message_id, size, verdict, connection = line.split("\t")
        dots.append(Dot(float(at), recipient, message_id, int(size), verdict, int(connection)))
    return dots
