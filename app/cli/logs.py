"""The log files of `up`: kept from growing without end, and shown in the terminal on request.

Programs append to their files (O_APPEND), so a file may be cut to nothing under them.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

_LARGEST_BYTES = 16 * 1024 * 1024


class Logs:
    """All `*.log` of a directory."""

    def __init__(self, directory: Path, *, shown: bool) -> None:
        self._directory = directory
        self._shown = shown
        # What an earlier run wrote is not news.
        self._read = {path: path.stat().st_size for path in directory.glob("*.log")}

    def tend(self) -> None:
        """Show what is new, then move aside what has grown too large (one older file is kept)."""
        for path in sorted(self._directory.glob("*.log")):
            if self._shown:
                self._show(path)
            if path.stat().st_size > _LARGEST_BYTES:
                shutil.copyfile(path, path.with_name(f"{path.name}.1"))
                with path.open("r+b") as file:
                    file.truncate()
                self._read[path] = 0

    def _show(self, path: Path) -> None:
        with path.open("rb") as file:
            file.seek(self._read.get(path, 0))
            fresh = file.read()
        whole = fresh[: fresh.rfind(b"\n") + 1]
        self._read[path] = self._read.get(path, 0) + len(whole)
        for line in whole.decode(errors="replace").splitlines():
            print(f"{path.stem:9} {line}", file=sys.stderr, flush=True)
