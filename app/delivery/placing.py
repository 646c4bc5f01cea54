"""Placing: finding the site of a domain that nobody has looked up yet.

Accepting does no DNS: rows of unknown domains lie in a lane of their own until this loop has resolved them, many at once, and moved
them. A site is known by the MX records alone; the addresses are asked for by the worker that delivers there. What is learnt is kept in
the database, so a domain is placed once for all. A domain that has no route, or no answer within a second, goes to the lane of those:
delivery asks again and turns the answer into a bounce or another attempt.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from app import log, store
from app.config import Settings
from app.delivery.lease import Lease
from app.delivery.route import Router
from app.jobs import Wakes
from app.loops import wait_at_most
from app.store.queue import NO_SITE, UNKNOWN_SITE, Share

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

    def wake(self) -> None:
        self._woken.set()

    async def run(self) -> None:
        while True:
            try:
                placed = await self._place_some() if self._lease.slot_of(UNKNOWN_SITE) is not None else 0
            except Exception as error:
                log.loop_failed("placing", error)
                placed = 0
            if placed == _ROWS:
                continue
            await wait_at_most(self._woken, self._settings.poll_seconds)
            self._woken.clear()

    async def _place_some(self) -> int:
        async with self._database.hot() as connection:
            unplaced = await store.sites.read_unplaced(connection, _ROWS)
            if not unplaced:
                return 0
            domains = sorted({domain for _, _, _, domain in unplaced})
            known = await store.sites.find_domain_sites(connection, domains)
        names = await self._look_up([domain for domain in domains if domain not in known])
        async with self._database.hot() as connection, connection.transaction():
            if names:
                known |= await store.sites.keep_domain_sites(connection, names)
            sites = [known.get(domain, NO_SITE) for _, _, _, domain in unplaced]
            await store.queue.place(connection, [recipient_id for recipient_id, _, _, _ in unplaced], sites)
        shares = {Share(site, lane_class, account_id) for site, (_, account_id, lane_class, _) in zip(sites, unplaced, strict=True)}
        self._tell(shares)
        self._wakes.tell_ready(share for share in shares if not self._lease.serves_alone(share.site_id))
        return len(unplaced)

    async def _look_up(self, domains: list[str]) -> dict[str, str]:
        """The site name of each domain that has a way now. One that takes too long holds up nobody: its answer is kept for delivery."""
        gate = asyncio.Semaphore(_LOOKUPS)

        async def one(domain: str) -> tuple[str, str | None]:
            async with gate:
                return domain, await self._router.site_of(domain)

        asked = [asyncio.create_task(one(domain)) for domain in domains]
        if not asked:
            return {}
        answered, late = await asyncio.wait(asked, timeout=_PATIENCE_SECONDS)
        for task in late:
            task.cancel()
        return {domain: site for domain, site in (task.result() for task in answered) if site is not None}
