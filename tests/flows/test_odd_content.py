"""Sixty odd drafts through the whole house: verified by two verifiers, and read back as they were posted."""

from __future__ import annotations

from tests.bench.odd import send_and_read
from tests.house.house import House


async def test_odd_content_arrives_as_it_was_posted() -> None:
    async with House() as house:
        found = await send_and_read(house, 60)
    assert found.faults == []
    assert found.expected == len(found.received) == found.by_dkimpy == found.by_mail_dkim == found.equal
    assert found.expected > 60
    assert found.links > 100
    assert found.refused.total() > 0
