"""The names of the sites whose rows one worker has claimed: what a route is compared with.

A row lies in the lane of the site that its domain was at when it was placed. The domain may have moved since: then its mail must neither
use up the old site's connections nor speak for or against it (delivery.deliver gives the row back to be placed anew). A site's name never
changes, so it is read once and kept.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable

from app import store

_MOST_KEPT = 50_000


class SiteNames:
    def __init__(self) -> None:
        self._names: OrderedDict[int, str] = OrderedDict()

    async def learn(self, connection: store.db.HotConnection, site_ids: Iterable[int]) -> None:
        """Read the names of sites that are not known yet; lanes of exceptions have none."""
        new = {site_id for site_id in site_ids if site_id > 0 and site_id not in self._names}
        if not new:
            return
        self._names |= await store.sites.read_names(connection, list(new))
        while len(self._names) > _MOST_KEPT:
            self._names.popitem(last=False)

    def of(self, site_id: int) -> str | None:
        return self._names.get(site_id)
