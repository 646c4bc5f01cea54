"""How many recipients a minute each credential has left, in all SMTP processes together.

A bucket that holds a minute's worth lies in Valkey (app.tally); a process takes a twentieth of it at a time, at most a hundred, so that not
every RCPT is a question. While Valkey is away each process has a bucket of its own.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable

from app.accounts.smtp_credentials import SmtpCredential
from app.smtpd.replies import Refusal
from app.tally import Tally

_REMEMBERED = 30_000
_PARTS = 20
_LARGEST_PART = 100


class Rates:
    """The rates of one process."""

    def __init__(self, tally: Tally, clock: Callable[[], float] = time.monotonic) -> None:
        self._tally = tally
        self._clock = clock
        self._taken: OrderedDict[str, int] = OrderedDict()  # of the shared bucket, and not used yet
        self._alone: OrderedDict[str, tuple[float, float]] = OrderedDict()

    async def take(self, credential: SmtpCredential) -> None:
        """One more recipient; raises Refusal when the minute is used up."""
        most, name = credential.recipients_per_minute, credential.user_name
        if most is None:
            return
        if self._taken.get(name, 0) > 0:
            self._taken[name] -= 1
            return
        answer = await self._tally.take(f"rate:{name}", most, max(1, min(_LARGEST_PART, most // _PARTS)))
        if answer is None:
            self._take_alone(name, most)
            return
        given, left = answer
        if given == 0:
            raise _used_up(most, left)
        self._taken[name] = self._taken.get(name, 0) + given - 1
        self._taken.move_to_end(name)
        if len(self._taken) > _REMEMBERED:
            self._taken.popitem(last=False)

    def _take_alone(self, name: str, most: int) -> None:
        now = self._clock()
        left, at = self._alone.get(name, (float(most), now))
        left = min(float(most), left + (now - at) * most / 60.0)
        if left < 1.0:
            raise _used_up(most, left)
        self._alone[name] = (left - 1.0, now)
        self._alone.move_to_end(name)
        if len(self._alone) > _REMEMBERED:
            self._alone.popitem(last=False)


def _used_up(most: int, left: float) -> Refusal:
    wait = max(1, round((1.0 - left) * 60.0 / most))
    return Refusal(f"451 4.7.1 This credential may send to {most} recipients a minute: try again in {wait} s")
