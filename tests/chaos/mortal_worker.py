"""A worker that can be told to die at a named point of a delivery. The product knows nothing of it.

    python -m tests.chaos.mortal_worker DEATHS [--stranger] [SABOTAGE]

Signal SIGRTMIN + n arms the n-th of POINTS: the next time the worker comes there with LEAST_IN_HAND rows in its hands, it writes a line
into the file DEATHS and kills itself with SIGKILL. A stranger is as if on another machine: its death is known by its lease alone, and of
others' deaths it knows no more. SABOTAGE names a function of tests.chaos.sabotage that spoils this worker first.
Mail to an address that begins with "poison" kills it whenever it comes to its RCPT.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

from app.cli.settings import read_settings
from app.delivery import lease
from app.delivery.connections import Connections
from app.delivery.deliver import Deliveries
from app.delivery.pipeline import Dialogue
from app.delivery.settle import Settler
from app.delivery.transport import Connection
from app.worker import run
from tests.chaos import sabotage

POINTS = (
    "before connect",
    "after RCPT",
    "mid DATA",
    "after the dot, before the reply",
    "after the reply, before the commit",
)
LEAST_IN_HAND = 20
POISONED = "by a poisonous row"
_END_OF_BODY = b"\r\n.\r\n"  # the next message's envelope may follow it in the same write
_NOTICED_AFTER_SECONDS = 1.0
_POISON = b"RCPT TO:<poison"


class Fate:
    """Which point is armed, and the end."""

    def __init__(self, deaths: Path) -> None:
        self._deaths = deaths
        self._armed: str | None = None
        self.deliveries: Deliveries | None = None

    def arm(self, number: int, _frame: FrameType | None) -> None:
        self._armed = POINTS[number - signal.SIGRTMIN]

    def strikes(self, point: str) -> bool:
        return point == self._armed and self.deliveries is not None and self.deliveries.unsettled >= LEAST_IN_HAND

    def die(self, cause: str | None = None) -> None:
        assert self.deliveries is not None
        line = {"at": time.time(), "pid": os.getpid(), "point": cause or self._armed, "in_hand": self.deliveries.unsettled}
        with self._deaths.open("a") as file:
            file.write(json.dumps(line) + "\n")
        os.kill(os.getpid(), signal.SIGKILL)


def make_mortal(fate: Fate) -> None:
    """Put the points into the classes that a worker is made of."""
    for number in range(len(POINTS)):
        signal.signal(signal.SIGRTMIN + number, fate.arm)
    _remember_deliveries(fate)
    _wrap(Connections, "open", _dying_before(fate, POINTS[0]))
    _wrap(Connection, "_send_body", _dying_in_body(fate))
    _wrap(Dialogue, "send", _dying_after_dot(fate))
    _wrap(Settler, "_write", _dying_before(fate, POINTS[4]))


def _wrap(owner: type, name: str, wrapper: Callable[[Any], Any]) -> None:
    setattr(owner, name, wrapper(getattr(owner, name)))


def _remember_deliveries(fate: Fate) -> None:
    made = Deliveries.__init__

    def remembering(self: Deliveries, *arguments: Any, **named: Any) -> None:
        made(self, *arguments, **named)
        fate.deliveries = self

    Deliveries.__init__ = remembering  # type: ignore[method-assign]


def _dying_before(fate: Fate, point: str) -> Callable[[Any], Any]:
    def wrapper(original: Any) -> Any:
        async def wrapped(self: Any, *arguments: Any) -> Any:
            if fate.strikes(point):
                fate.die()
            return await original(self, *arguments)

        return wrapped

    return wrapper


def _dying_in_body(fate: Fate) -> Callable[[Any], Any]:
    def wrapper(original: Any) -> Any:
        async def wrapped(self: Any, wire: bytes, *arguments: Any) -> Any:
            if fate.strikes(POINTS[1]):
                fate.die()
            if fate.strikes(POINTS[2]):
                self._dialogue.send(wire[: len(wire) // 2])
                await asyncio.sleep(0.003)  # the bytes leave
                fate.die()
            return await original(self, wire, *arguments)

        return wrapped

    return wrapper


def _dying_after_dot(fate: Fate) -> Callable[[Any], Any]:
    """uvloop writes at the end of the turn: two turns later the bytes are out, and no reply has been read yet."""

    def wrapper(original: Any) -> Any:
        def wrapped(self: Any, octets: bytes) -> None:
            if _POISON in octets:
                fate.die(POISONED)
            original(self, octets)
            if _END_OF_BODY in octets and fate.strikes(POINTS[3]):
                loop = asyncio.get_running_loop()
                loop.call_soon(loop.call_soon, fate.die)

        return wrapped

    return wrapper


def _noticing_late(has_died: Callable[[str | None], bool]) -> Callable[[str | None], bool]:
    """A death is noticed a little after it: the harness reads first what the dead worker had in its name (faults._own)."""
    seen: dict[str | None, float] = {}

    def noticed(mark: str | None) -> bool:
        return has_died(mark) and time.monotonic() - seen.setdefault(mark, time.monotonic()) >= _NOTICED_AFTER_SECONDS

    return noticed


def main() -> None:
    deaths, *words = sys.argv[1:]
    make_mortal(Fate(Path(deaths)))
    if words[:1] == ["--stranger"]:
        lease.own_mark = lambda: None
        lease.has_died = lambda _mark: False
        words = words[1:]
    else:
        lease.has_died = _noticing_late(lease.has_died)
    for word in words:
        sabotage.WORKERS[word]()
    run(read_settings())


if __name__ == "__main__":
    main()
