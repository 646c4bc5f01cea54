"""How many recipients a minute each credential has left, in all SMTP processes together.

A bucket that holds a minute's worth lies in Valkey (app.tally); a process takes a twentieth of it at a time, at most a hundred, so that not
every RCPT is a question. While Valkey is away each process has a bucket of its own.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from app.accounts.smtp_credentials import SmtpCredential
from app.recent import Recent
from app.smtpd.replies import Refusal
from app.tally import Buckets, Tally

_REMEMBERED = 30_000
_MINUTE = 60.0
_PARTS = 20
_LARGEST_PART = 100


class Rates:
    """The rates of one process."""

    def __init__(self, tally: Tally, clock: Callable[[], float] = time.monotonic) -> None:
        self._tally = tally
        self._taken: Recent[str, int] = Recent(_REMEMBERED)  # of the shared bucket, and not used yet
        self._alone = Buckets(_REMEMBERED, clock)

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
            if wait := self._alone.take(name, most, _MINUTE):
                raise _used_up(most, wait)
            return
        given, left = answer
        if given == 0:
            raise _used_up(most, (1.0 - left) * _MINUTE / most)
        self._taken[name] = self._taken.get(name, 0) + given - 1


def _used_up(most: int, wait: float) -> Refusal:
    return Refusal(f"451 4.7.1 This credential may send to {most} recipients a minute: try again in {max(1, round(wait))} s")
