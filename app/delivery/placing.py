"""Placing: finding the site of a domain that nobody has looked up yet.

Accepting does no DNS: rows of unknown domains lie in a lane of their own until this loop has resolved them, many at once, and moved
them. A site is known by the MX records alone; the addresses are asked for by the worker that delivers there. What is learnt is kept in
the database, so a domain is placed once for all. A domain that has no route, or no answer within a second, goes to the lane of those:
delivery asks again and turns the answer into a bounce or another attempt. Accounts take turns, in what is read and in what is asked; a
domain that nobody came to ask for stays for the next round.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence

from app import log, store
from app.config import Settings
from app.delivery.lease import Lease
from app.delivery.route import Router
from app.jobs import Wakes
from app.loops import wait_at_most
from app.store.queue import NO_SITE, UNKNOWN_SITE, Share
from app.store.sites import FIRST_UNPLACED, Unplaced

_ROWS = 500
_LOOKUPS = 200
_PATIENCE_SECONDS = 1.0


class Placing:
    """The placing loop; it works in the one worker that owns the lane of the unknown. `tell` is told where rows were moved."""

    def __init__(
        self,
        database: store.db.Database,
        settings: Settings,
        lease: Lease,
        wakes: Wakes,
        router: Router,
        tell: Callable[[Iterable[Share]], None],
    ) -> None:
        self._database = database
        self._settings = settings
        self._lease = lease
        self._wakes = wakes
        self._router = router
        self._tell = tell
        self._woken = asyncio.Event()
        self._after = FIRST_UNPLACED

    def wake(self) -> None:
        self._woken.set()

    async def run(self) -> None:
        while True:
            try:
                if self._lease.slot_of(UNKNOWN_SITE) is not None and await self._place_some():
                    continue
            except Exception as error:
                log.loop_failed("placing", error)
            await wait_at_most(self._woken, self._settings.poll_seconds)
            self._woken.clear()

    async def _place_some(self) -> bool:
        """One round; whether there was anything, so that there may be more."""
        async with self._database.hot() as connection:
            unplaced = await store.sites.read_unplaced(connection, _ROWS, self._after)
            some = bool(unplaced) or self._after != FIRST_UNPLACED
            shares = {(row.lane_class, row.account_id) for row in unplaced}
            self._after = max(shares) if len(shares) == _ROWS else FIRST_UNPLACED
            domains = list(dict.fromkeys(row.domain for row in unplaced))
            known = await store.sites.find_domain_sites(connection, domains) if domains else {}
        names = await self._look_up([domain for domain in domains if domain not in known])
        await self._move([row for row in unplaced if row.domain in known or row.domain in names], known, names)
        return some

    async def _move(self, rows: Sequence[Unplaced], known: dict[str, int], names: dict[str, str | None]) -> None:
        """Rows to the lanes of the sites that are known or were found by name; without a name to the lane of what has no site."""
        if not rows:
            return
        found = {domain: name for domain, name in names.items() if name is not None}
        async with self._database.hot() as connection, connection.transaction():
            if found:
                known |= await store.sites.keep_domain_sites(connection, found)
            sites = [known.get(row.domain, NO_SITE) for row in rows]
            await store.queue.place(connection, [row.recipient_id for row in rows], sites)
        shares = {Share(site, row.lane_class, row.account_id) for site, row in zip(sites, rows, strict=True)}
        self._tell(shares)
        self._wakes.tell_ready(share for share in shares if not self._lease.serves_alone(share.site_id))

    async def _look_up(self, domains: list[str]) -> dict[str, str | None]:
        """The site name of each domain that was asked for; None where there is no way, or no answer in time.

        One that takes too long holds up nobody: its answer is kept for delivery. Those behind the gate when time is up are left out.
        """
        gate = asyncio.Semaphore(_LOOKUPS)
        names: dict[str, str | None] = {}

        async def ask(domain: str) -> None:
            async with gate:
                names[domain] = None
                try:
                    names[domain] = await self._router.site_of(domain)
                except Exception as error:  # delivery will meet it too, and say so of the one message
                    log.loop_failed("placing", error)

        asked = [asyncio.create_task(ask(domain)) for domain in domains]
        if asked:
            _, late = await asyncio.wait(asked, timeout=_PATIENCE_SECONDS)
            for task in late:
                task.cancel()
        return names
