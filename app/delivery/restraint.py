"""What holds a site back: its connections, its pace, and the silence after openings that failed.

    connections   our part of what the site takes at once (providers' file, or the setting); one while it is being probed
    pace          messages per second, if the providers' file says so
    silence       a site that cannot be reached is left alone for a while, and its mail is put off at once with the reason: it would only
                  fill this worker's hands, which healthy sites need

A site without an entry that answers costs two comparisons per message. Lanes of exceptions (domains without a route, suspects) hold mail of
many sites and have neither pace nor silence. All of it is this worker's memory: losing it costs a few connections.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from datetime import timedelta

from app.config import Settings
from app.delivery.conversation import Conversation, Phase
from app.delivery.lanes import Site
from app.delivery.lease import Lease
from app.delivery.pacing import Pace, Silence
from app.delivery.providers import Provider
from app.recent import Recent

_MOST_REMEMBERED = 10_000


class Restraint:
    """The limits of the sites that one worker serves. `start` is called for a site whose pace lets it go on."""

    def __init__(self, settings: Settings, lease: Lease, start: Callable[[Site], None]) -> None:
        self._settings = settings
        self._lease = lease
        self._start = start
        self._limited: Recent[int, tuple[Provider, Pace | None]] = Recent(_MOST_REMEMBERED)
        self._silent: Recent[int, Silence] = Recent(_MOST_REMEMBERED)

    # --- what a site is known by

    def remind(self, site: Site) -> None:
        """Give a site that has mail again what is known of it."""
        site.silence = self._silent.get(site.id)
        site.provider, site.pace = self._limited.get(site.id, (None, None))
        site.is_known = site.provider is not None or site.id <= 0

    def learn(self, site: Site, provider: Provider | None) -> None:
        """What the providers' file says of a site, told with the first route to it."""
        if site.is_known:
            return
        site.is_known = True
        if provider is None or not provider.words:
            return
        site.provider = provider
        site.pace = Pace(provider.messages_per_second) if provider.messages_per_second else None
        self._limited[site.id] = provider, site.pace

    def is_limited(self, site_id: int) -> bool:
        """Whether a site has limits of its own, so that more workers would not make it faster."""
        return site_id in self._limited

    # --- may it go on?

    def connections_of(self, site: Site) -> int:
        """How many we may have at a site."""
        if site.silence is not None and site.silence.is_probing:
            return 1
        slot = self._lease.slot_of(site.id)
        most = site.provider.connections if site.provider is not None else 0
        return max(1, (most or self._settings.connections_per_site) // (slot[0] if slot is not None else 1))

    def lets_go(self, site: Site) -> bool:
        """Whether the pace of a site allows a message now, which is then counted; if not, it is started again when it does."""
        if site.is_resting:
            return False
        if site.pace is None:
            return True
        slot = self._lease.slot_of(site.id)
        wait = site.pace.take(time.monotonic(), slot[0] if slot is not None else 1)
        if wait > 0:
            site.is_resting = True
            asyncio.get_running_loop().call_later(wait, self._go_on, site)
        return wait <= 0

    def _go_on(self, site: Site) -> None:
        site.is_resting = False
        self._start(site)

    # --- silence

    def heed(self, site: Site, conversation: Conversation) -> None:
        """Learn from a conversation: an opening that failed for now counts against its site, anything else speaks for it."""
        if not conversation.never_opened:
            if site.silence is not None:
                site.silence = None
                self._silent.pop(site.id, None)
            return
        refused = conversation.reply is not None and conversation.reply.code // 100 == 5
        demanded = conversation.phase is Phase.TLS and conversation.hop.tls.is_demanded  # which the site's other domains do without
        if site.id <= 0 or refused or demanded:
            return
        if site.silence is None:
            site.silence = self._silent[site.id] = Silence(self._settings.retry_first_seconds)
        words = str(conversation.reply) if conversation.reply is not None else conversation.error
        site.silence.failed(f"{conversation.hop.host or 'the site'}: {words} ({conversation.phase})", time.monotonic())

    def put_off(self, site: Site) -> tuple[str, float] | None:
        """Why mail for a site is not tried now, and for how many seconds; None when it may be tried."""
        silence = site.silence
        if silence is None or not (seconds := silence.lasts(time.monotonic())):
            return None
        until = self._lease.now() + timedelta(seconds=seconds)
        return f"the site cannot be reached, last {silence.reason}; it is left alone until {until:%H:%M:%S} UTC", seconds

    def figures(self, sites: Mapping[int, Site]) -> dict[str, str]:
        """Of the sites in hand that have mail waiting, those that limits hold back: why, by the site's id as text."""
        held: dict[str, str] = {}
        for site_id, (provider, _) in self._limited.items():
            site = sites.get(site_id)
            if site is not None and site.buffered and provider.words:
                held[str(site_id)] = f"waits for its turn: {provider.words} ({provider.name})"
        return held
