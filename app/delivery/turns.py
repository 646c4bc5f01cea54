"""Turns: which sites may have a conversation now, when a worker's are limited, and which wait in line.

A conversation may last for minutes, and nothing ends one that was begun, so the last quarter of them is kept from whoever could take all:
from bulk mail, as with rows (delivery.claims), and from any one account. A site whose mail may not go on stands in line:

    TRANSACTIONAL   for any conversation
    BULK            for one that bulk may have
    OF_FULL         all that it has is of the account that has its three quarters

A task is counted for the job that it has, which may be of another account or class than the one before it.
"""

from __future__ import annotations

from collections import OrderedDict

from app.delivery.lanes import BULK, TRANSACTIONAL, Job, Site
from app.delivery.outgoing import Flow

_OF_FULL = 2
_PART = 0.75


class Turns:
    """The conversations of one worker, `most` at once."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._most_of_one = max(1, int(most * _PART))  # of bulk, and of one account
        self.conversing = 0
        self._of_bulk = 0
        self._of_account: dict[int, int] = {}
        self._full: int | None = None  # there can be one such account
        self._lines: tuple[OrderedDict[int, None], ...] = (OrderedDict(), OrderedDict(), OrderedDict())
        self._was_of_full = False

    def may_begin(self, site: Site) -> bool:
        """Whether a site that has mail may have one more conversation; if not, it stands in line."""
        line = self._line_of(site)
        if self.conversing < self._most and line != _OF_FULL and (line == TRANSACTIONAL or self._of_bulk < self._most_of_one):
            return True
        self._lines[line][site.id] = None
        return False

    def begin(self) -> None:
        self.conversing += 1

    def end(self, flow: Flow) -> None:
        self.conversing -= 1
        self._count(flow, None, is_bulk=False)

    def take(self, site: Site, flow: Flow) -> Job | None:
        """The next job of a site that a task may have."""
        job = site.pop(
            with_bulk=flow.is_bulk or self._of_bulk < self._most_of_one, without=self._full if self._full != flow.account_id else None
        )
        if job is not None:
            self._count(flow, job.claimed.account_id, is_bulk=job.claimed.lane_class == BULK)
        return job

    def stand_in_line(self, site: Site) -> None:
        self._lines[self._line_of(site)][site.id] = None

    def others_wait(self, site: Site, flow: Flow) -> bool:
        """Whether another site waits for what a task has."""
        transactional, bulk, of_full = self._lines
        if transactional:
            line = transactional
        elif bulk and not site.lanes[TRANSACTIONAL].count:
            line = bulk
        elif of_full and flow.account_id == self._full:
            line = of_full
        else:
            return False
        return next(iter(line)) != site.id

    def next_in_line(self) -> int | None:
        """The site that may go on now; it is taken out of its line."""
        if self.conversing >= self._most:
            return None
        transactional, bulk, of_full = self._lines
        lines = [transactional, bulk if self._of_bulk < self._most_of_one else None]
        if of_full and self._full is None:  # it is full no more: every other turn is theirs, as long as there are some
            self._was_of_full = not self._was_of_full
            lines.insert(0 if self._was_of_full else 2, of_full)
        line = next((line for line in lines if line), None)
        return line.popitem(last=False)[0] if line else None

    def _line_of(self, site: Site) -> int:
        for line in (TRANSACTIONAL, BULK):
            if site.lanes[line].has_other_than(self._full):
                return line
        return _OF_FULL

    def _count(self, flow: Flow, account_id: int | None, *, is_bulk: bool) -> None:
        """A task changes from what it was counted for to this."""
        if is_bulk != flow.is_bulk:
            self._of_bulk += 1 if is_bulk else -1
            flow.is_bulk = is_bulk
        before = flow.account_id
        if account_id == before:
            return
        flow.account_id = account_id
        if before is not None:
            left = self._of_account[before] = self._of_account[before] - 1
            if not left:
                del self._of_account[before]
            if before == self._full and left < self._most_of_one:
                self._full = None
        if account_id is not None:
            now = self._of_account[account_id] = self._of_account.get(account_id, 0) + 1
            if now >= self._most_of_one:
                self._full = account_id
