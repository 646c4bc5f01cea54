"""Several processes of one role on one set of listening sockets.

The parent opened the sockets; it forks, and forks again for a child that died; it takes no work itself. What is imported before the
fork is shared memory.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable
from types import FrameType

from app import log
from app.embedded.child import die_with_parent
from app.heap import freeze_heap

# A child that dies at once is not started again in a tight loop.
_RESTART_SECONDS = 1.0


class Herd:
    """Forked children that all do the same until they are told to stop."""

    def __init__(self, role: str, count: int, work: Callable[[], None]) -> None:
        """`work` is what a child does; it ends by itself on SIGTERM."""
        self._role = role
        self._count = count
        self._work = work
        self._children: dict[int, float] = {}  # pid: when it was started
        self._stopping = False

    def run(self) -> None:
        """Until SIGTERM or SIGINT, and the end of the last child."""
        freeze_heap()  # also keeps the pages of what is imported shared
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        for _ in range(self._count):
            self._fork()
        while self._children:
            pid, status = os.wait()
            started = self._children.pop(pid, None)
            if started is None or self._stopping:
                continue
            log.child_ended(self._role, os.waitstatus_to_exitcode(status))
            time.sleep(max(0.0, started + _RESTART_SECONDS - time.monotonic()))
            if not self._stopping:
                self._fork()

    def _fork(self) -> None:
        parent = os.getpid()
        pid = os.fork()
        if pid:
            self._children[pid] = time.monotonic()
            return
        status = 1
        try:
            die_with_parent(parent, signal.SIGTERM)
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, signal.SIG_DFL)
            self._work()
            status = 0
        finally:
            os._exit(status)

    def _stop(self, _number: int, _frame: FrameType | None) -> None:
        self._stopping = True
        for pid in list(self._children):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
