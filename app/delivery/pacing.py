"""Pacing: when the next message may go to a site that takes so many in a second. Pure.

GCRA, the generic cell rate algorithm (ITU-T I.371): one number, the time at which the next message is due if all were evenly spaced.

    a message at `now` may go when   due <= now + slack            slack = (burst - 1) × interval, interval = 1 / rate
    and then                         due = max(due, now) + interval

So no window of t seconds ever has more than burst + rate × t messages, there is no timer, and a site that was idle has saved up one burst
and no more. The burst is a second's worth: what a receiver counts by the second it does not see.
"""

from __future__ import annotations


class Pace:
    """The pace of one site in the memory of the worker that owns it; with `shares` workers each has its part."""

    __slots__ = ("_burst", "_due", "_interval")

    def __init__(self, per_second: float) -> None:
        self._interval = 1.0 / per_second
        self._burst = max(1.0, per_second)
        self._due = float("-inf")

    def take(self, now: float, shares: int = 1) -> float:
        """Seconds until the next message may go; 0: it may go now, and is counted. `now` never goes back."""
        interval = self._interval * shares
        slack = (max(1.0, self._burst / shares) - 1.0) * interval
        due = max(self._due, now)
        if due > now + slack + 1e-6:  # less than a microsecond is the rounding of the sums
            return due - now - slack
        self._due = due + interval
        return 0.0


class Silence:
    """What a site's failed openings tell, one after the other with none that succeeded between them.

    After FEW of them the site is down: for `first_wait` seconds nothing is tried there, then one connection at a time; each that fails
    lets the next silence grow, as the waits of a message grow. One that opens ends it.
    """

    FEW = 10
    GROWTH = 2.0
    LONGEST_SECONDS = 900.0

    __slots__ = ("_first_wait", "failures", "level", "reason", "until")

    def __init__(self, first_wait: float) -> None:
        self._first_wait = first_wait
        self.failures = 0
        self.level = 0  # silences so far
        self.reason = ""
        self.until = float("-inf")

    def failed(self, reason: str, now: float) -> None:
        """A connection could not be opened."""
        self.failures += 1
        self.reason = reason
        if self.failures < self.FEW or now < self.until:  # those that were under way when it began count as one
            return
        self.level += 1
        wait = self._first_wait * self.GROWTH ** min(self.level - 1, 20)
        self.until = now + min(wait, max(self.LONGEST_SECONDS, self._first_wait))

    def lasts(self, now: float) -> float:
        """Seconds for which nothing is tried."""
        return max(0.0, self.until - now)

    @property
    def is_probing(self) -> bool:
        """Whether it was down, and no connection has opened since."""
        return self.level > 0
