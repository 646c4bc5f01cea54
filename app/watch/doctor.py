"""doctor: looks at everything that an operator sets up around Staffetta, and says what to do about it.

Checks run side by side, each within its own time; one that breaks is a finding too. It changes nothing, and may run beside a house
at work.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass

from app import store
from app.config import Settings
from app.resolver import Resolver
from app.watch import ground, reach
from app.watch.findings import Finding, fail

LONGEST_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Strangers:
    """Whom doctor asks outside: the domain whose MX greets everybody, and a web server with the right time ("" for none)."""

    domain: str = "gmail.com"
    time_url: str = "https://letsencrypt.org"


async def examine(database: store.db.Database, settings: Settings, strangers: Strangers, ours: Sequence[str]) -> list[Finding]:
    """All findings. `ours` are the addresses that mail leaves from, as far as they are known."""
    resolver = Resolver(settings.dns_servers)
    checks: dict[str, Awaitable[list[Finding]]] = {
        "database": ground.check_database(database, settings),
        "valkey": ground.check_valkey(settings),
        "keyring": ground.check_keyring(database, settings),
        "resolver": reach.check_resolver(resolver, strangers.domain),
        "smtp": reach.check_smtp(resolver, settings, strangers.domain),
        "helo": reach.check_helo(resolver, settings, ours),
        "return path": reach.check_return_path(resolver, settings),
        "dkim": _check_dkim(database, resolver),
        "certificate": reach.check_certificate(settings),
    }
    if strangers.time_url:
        checks["clock"] = reach.check_far_clock(strangers.time_url)
    results = await asyncio.gather(*(_within(name, check) for name, check in checks.items()))
    return [finding for found in results for finding in found]


async def _check_dkim(database: store.db.Database, resolver: Resolver) -> list[Finding]:
    try:
        async with database.reading() as connection:
            keys = await store.domains.list_sealed(connection)
    except store.db.AWAY:
        return []  # that PostgreSQL is away is said elsewhere
    return await reach.check_dkim(resolver, keys)


async def _within(name: str, check: Awaitable[list[Finding]]) -> list[Finding]:
    try:
        return await asyncio.wait_for(check, LONGEST_SECONDS)
    except Exception as error:
        return [fail(name, f"the check itself broke: {type(error).__name__}: {error}"[:200], "please report it")]
