"""Claims: which ready rows this worker takes, when, and how many of each account.

Known shares (site × class × account) come from wakes and, as a fallback, from surveys of the queue. A lane whose buffer is under
half full is hungry; hungry lanes of many sites are claimed in one statement, each account of a lane getting an equal part. Nobody knows
which lanes are small, so many are asked for a whole buffer and the claim has a limit of rows; the lanes beyond it come first in the next
one. A share that gave less than was asked is done until somebody tells of it again.

Each share remembers how far it was claimed (`after`), because dead index entries of claimed rows cannot be removed while an old
snapshot lives. Rows that come back out of order (released, freed, retried) are found when their share is told with `rewind`, or by a
survey.

Rows that workers died with twice or more have lanes of their own: delivery.suspects says when and how many of them are claimed.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any
from uuid import UUID

from app import log, store
from app.config import Settings
from app.delivery.lanes import BULK, TRANSACTIONAL
from app.delivery.lease import Lease
from app.delivery.suspects import Suspects, Turn
from app.jobs import Wakes
from app.loops import wait_at_most
from app.recent import Recent
from app.store.queue import ALONE_SITE, FIRST_SHARE, SUSPECT_SITE, UNKNOWN_SITE, Ask, Claimed, Share

EPOCH = datetime(2020, 1, 1, tzinfo=UTC)
# Rows of transactions that began earlier and committed later than those already claimed lie within this.
_OVERLAP = timedelta(seconds=1)
_ASKS_PER_CLAIM = 256
_ROWS_PER_CLAIM = 400
# After a claim of few rows: a rest in proportion to them, so that few at a time wait for no one and many go together.
_REST_SECONDS = 0.02
_REST_IN_FULL = 10  # rows
_LANE_TARGET = 100
# A share that gives all that was asked of it is asked once more; most shares of a long tail have a row or two.
_LEAST_TAKE = 4
LOW = 50
_SURVEY_SHARES = 5000
_SURVEY_REST = 20  # a survey may use a twentieth of one connection's time
_REWIND_SECONDS = 10.0
_REMEMBERED = 20_000
# Bulk may fill the worker's hands to here, and so may any one account; the rest is kept for others' transactional mail.
_PART = 0.75

_Lane = tuple[int, int]  # site, class


class Claims:
    """The claim loop of one worker. `in_hand` and `buffered` tell what it holds; `take` gets what was claimed."""

    def __init__(
        self,
        database: store.db.Database,
        settings: Settings,
        lease: Lease,
        wakes: Wakes,
        *,
        in_hand: Callable[[], int],
        bytes_in_hand: Callable[[], int],
        held_of: Callable[[int], list[UUID]],
        rows_of: Callable[[int], int],
        buffered: Callable[[int, int], int],
        take: Callable[[Any, int, list[Claimed]], Any],
    ) -> None:
        self._database = database
        self._settings = settings
        self._lease = lease
        self._wakes = wakes
        self._in_hand = in_hand
        self._bytes_in_hand = bytes_in_hand
        self._held_of = held_of
        self._rows_of = rows_of
        self._most_of_one = max(1, int(settings.worker_buffer_rows * _PART))
        self._buffered = buffered
        self._take = take
        self._suspects = Suspects(in_hand, lambda: held_of(lease.worker_id))
        # lane -> account -> claimed up to
        self._known: dict[_Lane, OrderedDict[int, datetime]] = {}
        self._past: Recent[Share, tuple[datetime, float]] = Recent(_REMEMBERED)
        # sites, by class: who has no room for bulk need not look through thousands of its lanes
        self._hungry: tuple[OrderedDict[int, None], OrderedDict[int, None]] = (OrderedDict(), OrderedDict())
        self._told_again: set[Share] = set()
        self._something = asyncio.Event()
        self._survey_from = FIRST_SHARE
        self._survey_due = 0.0
        self._survey_goes_on = False
        self._full_since: dict[int, float] = {}
        self._blocked = False
        self._rested_at = 0.0
        self.strayed = False  # rows may be in our name that are not in our hands
        self.stopped = False

    def tell(self, shares: Iterable[Share], *, rewind: bool = False) -> None:
        """These shares have ready rows; `rewind`: perhaps older than what was claimed of them. What others serve wakes nobody here."""
        for share in shares:
            if share.site_id == UNKNOWN_SITE or self._lease.slot_of(share.site_id) is None:
                continue
            known = self._known.setdefault(_lane_of(share), OrderedDict())
            if rewind or share.account_id not in known:
                past = None if rewind else self._past.get(share)
                known[share.account_id] = past[0] if past else EPOCH
            self._told_again.add(share)
            self._hungry[share.lane_class][share.site_id] = None
            self._something.set()

    def stop(self) -> None:
        """Claim no more; `run` ends soon."""
        self.stopped = True
        self._something.set()

    def want(self, site_id: int, lane_class: int, buffered: int) -> None:
        """A job was taken from a lane; asked for each, so it does next to nothing."""
        if buffered <= LOW and site_id not in self._hungry[lane_class] and (site_id, lane_class) in self._known:
            self._hungry[lane_class][site_id] = None
            self._something.set()

    def room_made(self) -> None:
        """Recipients have left our hands."""
        if self._blocked and self._has_room(BULK):
            self._something.set()

    async def run(self) -> None:
        """Claim as long as there is room and something to claim; survey when nothing is known, and now and then."""
        while not self.stopped:
            try:
                await self._turn()
            except Exception as error:
                log.loop_failed("claims", error)
                self.strayed = True
                await asyncio.sleep(0.5)

    async def _turn(self) -> None:
        if self.strayed:
            await self._release_strays()
        # Company for the few rows of each wake: three statements for ten rows cost what they cost for one.
        if (rest := self._rested_at - time.monotonic()) > 0:
            await asyncio.sleep(rest)
        self._something.clear()  # before the plan: what is told from here on is for the next one
        asks = self._plan()
        got = await self._claim(asks) if asks else 0
        if asks:
            self._rested_at = 0.0 if got >= LOW else time.monotonic() + _REST_SECONDS * min(max(got, 1) / _REST_IN_FULL, 1.0)
        if time.monotonic() >= self._survey_due or self._wants_next_page(got):
            await self._survey()
        if not asks:
            await wait_at_most(self._something, self._pause())

    def _pause(self) -> float:
        """Until the next look; shorter while nobody can wake us."""
        poll = self._settings.poll_seconds if self._wakes.reachable else min(0.1, self._settings.poll_seconds)
        return max(0.001, min(poll, self._survey_due - time.monotonic()))

    # --- planning

    def _has_room(self, lane_class: int) -> bool:
        part = _PART if lane_class else 1.0
        settings = self._settings
        return self._in_hand() < settings.worker_buffer_rows * part and self._bytes_in_hand() < settings.worker_buffer_bytes * part

    def _plan(self) -> list[Ask]:
        others_wait = any(len(hungry) > (ALONE_SITE in hungry) for hungry in self._hungry)
        turn = self._suspects.turn(waiting=self._serves(ALONE_SITE), others_wait=others_wait)
        if turn is Turn.ALONE:
            return self._asks_of_suspects(ALONE_SITE, 1)
        self._blocked = turn is Turn.NOTHING
        return self._plan_others() if turn is Turn.OTHERS else []

    def _plan_others(self) -> list[Ask]:
        """The classes in turns, each as long as it has hungry lanes and there is room for it."""
        classes = [lane_class for lane_class in (TRANSACTIONAL, BULK) if self._has_room(lane_class)]
        self._blocked = any(self._hungry[lane_class] for lane_class in (TRANSACTIONAL, BULK) if lane_class not in classes)
        asks: list[Ask] = []
        suspects_wait = False
        later: list[_Lane] = []  # all that is known there is of an account that has its part already
        while len(asks) + len(later) < _ASKS_PER_CLAIM and any(self._hungry[lane_class] for lane_class in classes):
            for lane_class in classes:
                if not self._hungry[lane_class]:
                    continue
                site_id, _ = self._hungry[lane_class].popitem(last=False)
                if self._lease.slot_of(site_id) is None:
                    self._forget(site_id)
                elif site_id == SUSPECT_SITE:
                    suspects_wait = True
                elif site_id != ALONE_SITE:
                    of_site = self._asks_of(site_id, lane_class)
                    asks += of_site
                    if not of_site and self._is_of_full(site_id, lane_class):
                        later.append((site_id, lane_class))
        for site_id, lane_class in later:
            self._hungry[lane_class][site_id] = None
            self._blocked = True
        if suspects_wait:
            asks += self._asks_of_group()
        return asks

    def _forget(self, site_id: int) -> None:
        """Of a site that another worker serves."""
        for lane_class in (TRANSACTIONAL, BULK):
            for account_id in self._known.pop((site_id, lane_class), ()):
                self._told_again.discard(Share(site_id, lane_class, account_id))

    def _serves(self, site_id: int) -> bool:
        """Whether a site is ours and has something ready, as far as we know."""
        known = any(self._known.get((site_id, lane_class)) for lane_class in (TRANSACTIONAL, BULK))
        return known and self._lease.slot_of(site_id) is not None

    def _asks_of(self, site_id: int, lane_class: int) -> list[Ask]:
        """The free room of a lane."""
        room = _LANE_TARGET - self._buffered(site_id, lane_class)
        return self._asks_of_lane(site_id, lane_class, room) if room >= _LANE_TARGET - LOW else []

    def _is_of_full(self, site_id: int, lane_class: int) -> bool:
        known = self._known.get((site_id, lane_class), ())
        return bool(known) and all(self._rows_of(account_id) >= self._most_of_one for account_id in known)

    def _asks_of_group(self) -> list[Ask]:
        room = self._suspects.room()
        if room and self._has_room(BULK):
            return self._asks_of_suspects(SUSPECT_SITE, room)
        self._hungry[BULK][SUSPECT_SITE] = None
        self._blocked = True
        return []

    def _asks_of_suspects(self, site_id: int, room: int) -> list[Ask]:
        """Of both classes together, transactional first."""
        asks = self._asks_of_lane(site_id, TRANSACTIONAL, room)
        return asks + self._asks_of_lane(site_id, BULK, room - sum(ask.take for ask in asks))

    def _asks_of_lane(self, site_id: int, lane_class: int, room: int) -> list[Ask]:
        """Equal parts for the accounts of a lane, together no more than `room`; those that waited longest come first."""
        known = self._known.get((site_id, lane_class))
        if not known or room <= 0:
            return []
        take = min(room, max(_LEAST_TAKE, room // len(known)))
        accounts = list(islice((account for account in known if self._rows_of(account) < self._most_of_one), room // take))
        for account_id in accounts:
            known.move_to_end(account_id)
        return [Ask(Share(site_id, lane_class, account_id), known[account_id], take) for account_id in accounts]

    # --- claiming

    async def _claim(self, asks: list[Ask]) -> int:
        """Claim; how many rows there were."""
        owner = self._lease.worker_id
        # No more than half of the room that is left: a part of it is nobody's alone.
        limit = min(_ROWS_PER_CLAIM, max(1, (self._settings.worker_buffer_rows - self._in_hand()) // 2))
        for ask in asks:
            self._told_again.discard(ask.share)
        try:
            async with self._database.hot() as connection:
                rows = await store.queue.claim(connection, owner, asks, limit)
                if rows:
                    self._suspects.take(rows)
                    await self._take(connection, owner, rows)
        except BaseException:
            for ask in asks:
                self._hungry[ask.share.lane_class][ask.share.site_id] = None
            raise
        self._learn(asks, rows, limit)
        return len(rows)

    def _learn(self, asks: list[Ask], rows: list[Claimed], limit: int) -> None:
        last: dict[Share, datetime] = {}
        count: dict[Share, int] = {}
        for row in rows:
            share = row.share
            count[share] = count.get(share, 0) + 1
            last[share] = max(last.get(share, EPOCH), row.due_at)
        if len(rows) >= limit:
            asks = self._met(asks, count)
        for ask in asks:
            share = ask.share
            account_id = share.account_id
            known = self._known.get(_lane_of(share))
            if known is None or account_id not in known:
                continue
            if share in last:
                known[account_id] = max(known[account_id], last[share] - _OVERLAP)
            if count.get(share, 0) < ask.take and share not in self._told_again:
                self._remember(share, known.pop(account_id), came=share in last)
                if not known:
                    del self._known[_lane_of(share)]
            else:
                self._hungry[share.lane_class][share.site_id] = None
        self._widen(asks, rows)

    def _met(self, asks: list[Ask], count: dict[Share, int]) -> list[Ask]:
        """The asks that a full claim has come to. Those it has not go first into the next one."""
        met = max(place for place, ask in enumerate(asks, 1) if ask.share in count)
        self._told_again.add(asks[met - 1].share)  # it may have been cut short
        for ask in reversed(asks[met:]):
            hungry = self._hungry[ask.share.lane_class]
            hungry[ask.share.site_id] = None
            hungry.move_to_end(ask.share.site_id, last=False)
        return asks[:met]

    def _remember(self, share: Share, after: datetime, *, came: bool) -> None:
        """How far a share was claimed, and when it last gave something: what is ready much later lies before that place."""
        since = time.monotonic() if came else self._past.get(share, (after, 0.0))[1]
        self._past[share] = (after, since)

    def _widen(self, asks: list[Ask], rows: list[Claimed]) -> None:
        """Note the sites that always have more than we can take: their owner gives them another slot (drain)."""
        asked: dict[int, int] = {}
        got: dict[int, int] = {}
        for ask in asks:
            asked[ask.share.site_id] = asked.get(ask.share.site_id, 0) + ask.take
        for row in rows:
            got[row.site_id] = got.get(row.site_id, 0) + 1
        now = time.monotonic()
        for site_id, wanted in asked.items():
            if got.get(site_id, 0) >= wanted // 2 and wanted >= _LANE_TARGET // 2:
                self._full_since.setdefault(site_id, now)
            else:
                self._full_since.pop(site_id, None)

    def full_for(self, site_id: int) -> float:
        """Seconds for which every claim at a site has come back full."""
        since = self._full_since.get(site_id)
        return time.monotonic() - since if since is not None else 0.0

    def full_sites(self) -> list[int]:
        return list(self._full_since)

    async def _release_strays(self) -> None:
        """Give back what is in our name and not in our hands: a claim whose answer never came, a release that failed.

        As long as we live nobody else would. No claim is under way now, so what is in our hands is all that we know to have.
        """
        owner = self._lease.worker_id
        self.strayed = False
        try:
            async with self._database.hot() as connection:
                shares = set(await store.queue.release_strays(connection, owner, self._held_of(owner)))
        except BaseException:
            self.strayed = True
            raise
        self.tell(shares)
        self._wakes.tell_ready(shares)

    # --- surveying

    def _wants_next_page(self, got: int) -> bool:
        """Whether there is room and little known to fill it with, and the last survey found something and ended at its limit."""
        return got < _ROWS_PER_CLAIM // 4 and not self._blocked and self._survey_goes_on

    def _wake_lane(self, share: Share) -> None:
        """A lane that is known has something ready: nobody may have come back to it."""
        site_id, lane_class = _lane_of(share)
        if site_id != ALONE_SITE and site_id not in self._hungry[lane_class] and self._buffered(site_id, lane_class) <= LOW:
            self._hungry[lane_class][site_id] = None
            self._something.set()

    async def _survey(self) -> None:
        """Look for shares that nobody told of."""
        began = time.monotonic()
        async with self._database.hot() as connection:
            shares = await store.queue.survey_shares(connection, self._survey_from, _SURVEY_SHARES)
        self._survey_from = shares[-1] if len(shares) == _SURVEY_SHARES else FIRST_SHARE
        now = time.monotonic()
        fresh: list[Share] = []
        back: list[Share] = []
        for share in shares:
            if share.account_id in self._known.get(_lane_of(share), ()):
                self._wake_lane(share)
                continue
            past = self._past.get(share)
            # Claimed to its end not long ago: what is there now came after, most likely.
            (fresh if past and now - past[1] < _REWIND_SECONDS else back).append(share)
        if fresh:
            self.tell(fresh)
        if back:
            self.tell(back, rewind=True)
        self._survey_goes_on = len(shares) == _SURVEY_SHARES and any(self._lease.slot_of(share.site_id) for share in fresh + back)
        rest = self._settings.poll_seconds if self._wakes.reachable else min(0.1, self._settings.poll_seconds)
        self._survey_due = now + max(rest, (now - began) * _SURVEY_REST)


def _lane_of(share: Share) -> _Lane:
    return share.site_id, share.lane_class
