"""Every way of receiving badly that the bench knows, two messages each: every recipient ends in the right state, with the reason."""

from __future__ import annotations

from tests.bench.behaviours import open_house, post, read_fates, recipients_for, wait_until_settled
from tests.house.house import House

_EACH = 2
_AGE_SECONDS = 25.0


async def test_every_recipient_ends_in_the_right_state() -> None:
    async with House() as house:
        await open_house(house, _AGE_SECONDS)
        await post(house, recipients_for(_EACH), rate=100)
        await wait_until_settled(house, _EACH, _AGE_SECONDS * 3)
        wrong = [one for one in await read_fates(house) if not one.is_right(_EACH)]
    assert wrong == []
