"""Suspects: how one worker tries the rows that other workers died with. Which lane such a row is in says store.queue.

Some of SUSPECT_SITE (GROUP of them) are in hand at once, beside all other work, which need not rest for rows that are innocent but for
one in hundreds. Rows of ALONE_SITE have turns. At the beginning of a turn nothing more is claimed; when the worker's hands are empty, or
what is left in them only waits for slow receivers, the rows are claimed one by one, each when the one before is settled. Whoever takes
long over the last word does not hold up the rest: a turn has an end, and then the others have three times as long, or until they have
nothing left. But no second row to be alone is ever taken beside a first.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from enum import Enum, auto
from uuid import UUID

from app.store.queue import ALONE_SITE, SUSPECT_SITE, Claimed

GROUP = 25
_TURN_SECONDS = 5.0
_EMPTY_SECONDS = 2.0  # of these, how long the hands may take to become empty
_OTHERS_PART = 3.0


class Turn(Enum):
    """What may be claimed now."""

    OTHERS = auto()
    NOTHING = auto()
    ALONE = auto()


class Suspects:
    """The suspects in one worker's hands. `in_hand` and `held` tell what it holds: how many rows, and which."""

    def __init__(self, in_hand: Callable[[], int], held: Callable[[], list[UUID]]) -> None:
        self._in_hand = in_hand
        self._held = held
        self._taken: dict[UUID, int] = {}
        self._turn_since = 0.0
        self._others_until = 0.0

    def take(self, rows: Iterable[Claimed]) -> None:
        """These rows have been claimed."""
        self._taken |= {row.recipient_id: row.site_id for row in rows if row.site_id in (SUSPECT_SITE, ALONE_SITE)}

    def room(self) -> int:
        """How many more of SUSPECT_SITE may be taken now: none before half of a group is settled."""
        held = self._count(SUSPECT_SITE)
        return GROUP - held if held <= GROUP // 2 else 0

    def turn(self, *, waiting: bool, others_wait: bool) -> Turn:
        """Whose turn it is; `waiting`: there are rows to be tried alone."""
        now = time.monotonic()
        tried = self._count(ALONE_SITE) > 0
        if not self._turn_since:
            if tried or not waiting or (now < self._others_until and (others_wait or self._in_hand())):
                return Turn.OTHERS
            self._turn_since = now
        spent = now - self._turn_since
        if spent >= _TURN_SECONDS or not (tried or waiting):
            self._turn_since = 0.0
            self._others_until = now + _OTHERS_PART * spent if others_wait else now
            return Turn.OTHERS
        if tried or (self._in_hand() and spent < _EMPTY_SECONDS):
            return Turn.NOTHING
        return Turn.ALONE

    def _count(self, site_id: int) -> int:
        if self._taken:
            held = set(self._held())
            self._taken = {recipient_id: site for recipient_id, site in self._taken.items() if recipient_id in held}
        return sum(site == site_id for site in self._taken.values())
