"""Placing: an account with many domains that nobody answers for holds up no other's."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest

from app.config import Settings
from app.delivery import placing
from app.delivery.lease import Lease
from app.delivery.placing import Placing
from app.jobs import Wakes
from app.store.db import Database
from app.store.queue import NO_SITE, UNKNOWN_SITE
from tests.builders import a_message, write


class Dns:
    """The site of a domain is its own name; of some nobody ever answers, and about one the asker trips."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()

    async def site_of(self, domain: str) -> str:
        self.asked[domain] += 1
        if domain.endswith("silent.test"):
            await asyncio.sleep(60)
        if domain == "odd.test":
            raise AssertionError("nobody has thought of this")
        return domain


async def lanes(database: Database) -> dict[str, int]:
    async with database.hot() as connection:
        rows = await connection.fetch("SELECT r.address, q.site_id FROM queue q JOIN recipients r ON r.id = q.recipient_id")
    return {row[0].partition("@")[2]: row[1] for row in rows}


@pytest.fixture
async def dns(database: Database, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(placing, "_LOOKUPS", 10)
    monkeypatch.setattr(placing, "_ROWS", 40)
    monkeypatch.setattr(placing, "_PATIENCE_SECONDS", 0.5)
    answers, wakes = Dns(), Wakes(redis_url)
    lease = Lease(database, Settings(), wakes, "test", dict)
    await lease.begin()
    loop = Placing(database, Settings(), lease, wakes, answers, lambda _shares: None)  # type: ignore[arg-type]
    yield answers, loop
    await wakes.close()


async def test_silent_domains_of_one_account_hold_up_no_other(database: Database, dns: Any) -> None:
    answers, loop = dns
    await write(database, *[a_message(f"u@d{number}.silent.test") for number in range(100)])
    await write(database, a_message("ada@new.test", account_id=2))
    assert await loop._place_some()
    found = await lanes(database)
    assert found["new.test"] > 0, "in the first round"
    assert Counter(site for site in found.values() if site <= 0) == {
        NO_SITE: len(answers.asked) - 1,
        UNKNOWN_SITE: 101 - len(answers.asked),
    }
    assert all(found[domain] == UNKNOWN_SITE for domain in found if domain not in answers.asked), "nobody came to ask for them"


async def test_a_look_up_that_fails_by_our_fault_holds_up_no_other(database: Database, dns: Any) -> None:
    _, loop = dns
    await write(database, a_message("ada@odd.test"), a_message("ada@new.test"))
    assert await loop._place_some()
    found = await lanes(database)
    assert found["odd.test"] == NO_SITE
    assert found["new.test"] > 0
    assert not await loop._place_some()
