"""The embedded Valkey: a socket, an append-only file, no eviction. It only wakes; what it loses costs latency, never mail."""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from app.embedded.binaries import Binaries
from app.embedded.child import StartError, end_strays, last_words, running_in, start_child, stop_child
from app.embedded.owner import Owner

_STOP = ((signal.SIGTERM, 10.0),)
_READY_SECONDS = 60.0


class Valkey:
    """One Valkey with its files under `directory` and its socket in `sockets`."""

    def __init__(self, directory: Path, sockets: Path, log: Path, binaries: Binaries, owner: Owner) -> None:
        self.directory = directory
        self.socket = sockets / "valkey.sock"
        self.log = log
        self._program = binaries.valkey
        self._owner = owner
        self._log_start = 0
        self.child: subprocess.Popen[bytes] | None = None

    def clear_strays(self) -> int:
        """End servers of an earlier run on this directory."""
        count = end_strays(lambda: running_in(self.directory, "valkey-server"), _STOP) if self.directory.exists() else 0
        self.socket.unlink(missing_ok=True)
        return count

    def start(self) -> None:
        """Start the server; `wait_until_ready` tells when it answers."""
        settings = {
            "port": "0",
            "unixsocket": str(self.socket),
            "unixsocketperm": "700",
            "dir": str(self.directory),
            "appendonly": "yes",
            "appendfsync": "everysec",
            "save": "",
            "maxmemory-policy": "noeviction",
        }
        self._log_start = self.log.stat().st_size if self.log.exists() else 0
        self.child = start_child(
            [self._program, *(part for name, value in settings.items() for part in (f"--{name}", value))],
            log=self.log,
            last_signal=signal.SIGTERM,
            directory=self.directory,
            environment={"PATH": "/usr/bin:/bin", "LC_ALL": "C"},
            owner=self._owner,
        )

    def wait_until_ready(self, go_on: Callable[[], None]) -> None:
        """Wait until the server answers PING; it says LOADING while it reads its file."""
        assert self.child is not None
        until = time.monotonic() + _READY_SECONDS
        while not self._answers():
            go_on()
            if self.child.poll() is not None:
                reason = last_words(self.log, self._log_start)
                raise StartError(f"Valkey did not start: {reason} (log: {self.log})")
            if time.monotonic() > until:
                raise StartError(f"Valkey is not ready after {_READY_SECONDS:.0f} s; see {self.log}")
            time.sleep(0.01)

    def stop(self) -> None:
        """A clean shutdown; the append-only file is flushed."""
        if self.child is not None:
            stop_child(self.child, _STOP)
            self.child = None

    def _answers(self) -> bool:
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(1.0)
            connection.connect(str(self.socket))
            connection.sendall(b"PING\r\n")
            return connection.recv(16).startswith(b"+PONG")
        return False
