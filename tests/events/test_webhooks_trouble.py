"""A receiver in trouble beside a healthy one: three posts in ten fail, then it is away, then it is back. In large: `bench webhooks`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from app.config import Settings
from app.events import webhooks
from app.events.patience import Patience, hurried
from app.store.db import Database
from tests.doubles.hooks import HookReceiver, Rule
from tests.events.webhook_house import QUICK, House, until


@pytest.fixture
def house(database: Database, tmp_path: Path) -> House:
    return House(database, tmp_path)


async def test_everything_arrives_under_one_id_each_and_the_neighbour_notices_nothing(house: House) -> None:
    patience = replace(QUICK, schedule_seconds=(0.05, 0.1, 0.2, 0.4, 0.8, 1.0, 1.0, 1.0, 1.0), down_after=20)
    async with HookReceiver([Rule("500", share=0.3)]) as troubled, HookReceiver() as healthy:
        told = await house.subscribe(troubled.url)
        neighbour = await house.subscribe(healthy.url, name="neighbour")
        async with house.posting(patience):
            await house.happen(told, 800)
            await house.happen(neighbour, 50)
            await until(lambda: len(troubled.posts) > 400, 20)
            await troubled.close()
            await house.happen(told, 200)
            await until(lambda: _down(house, told.endpoint_id), 20)
            # It is away, and posts wait for it; who has nothing to do with it gets everything at once.
            await house.happen(neighbour, 50)
            await until(lambda: set(healthy.ids) == set(neighbour.event_ids))
            assert await _down(house, told.endpoint_id)
            troubled.rules = ()
            await troubled.start()
            await until(lambda: {post.id for post in troubled.posts if post.answer == "200"} == set(told.event_ids), 30)
        assert {post.id for post in troubled.posts} == set(told.event_ids)
        assert all(post.id == post.json["data"]["id"] for post in troubled.posts)
        for post in troubled.posts:
            told.verifier.verify(post.body, post.headers)
        assert (await house.endpoint(told))["given_up"] == 0
        assert sorted(healthy.ids) == sorted(neighbour.event_ids)


@pytest.mark.parametrize("receiver", ["quick", "slow"])
async def test_who_always_has_something_to_post_leaves_its_place_to_others(
    house: House, monkeypatch: pytest.MonkeyPatch, receiver: str
) -> None:
    """By many rounds, or by a single one that takes long."""
    monkeypatch.setattr(webhooks, "ENDPOINTS_AT_ONCE", 1)
    monkeypatch.setattr(webhooks, "TURN_SECONDS", 0.5)
    rules = [Rule("slow", seconds=0.3)] if receiver == "slow" else []
    async with HookReceiver(rules) as busy, HookReceiver() as other:
        told = await house.subscribe(busy.url)
        quiet = await house.subscribe(other.url, name="rival")
        async with house.posting():
            await house.happen(told, 700 if receiver == "slow" else 10)
            await until(lambda: bool(busy.posts))
            await house.happen(quiet, 1)

            async def is_told() -> bool:
                if receiver == "quick":
                    await house.happen(told, 2)
                return bool(other.posts)

            await until(is_told, 8.0)
            assert await house.unread(told) or receiver == "quick", "the slow one is not done"
            busy.rules = ()
            await until(lambda: set(busy.ids) == set(told.event_ids), 30)
        assert len(busy.ids) == len(told.event_ids), "a round that is cut repeats nothing"
        assert other.ids == quiet.event_ids


def test_haste_divides_the_waits_and_nothing_else() -> None:
    exact, quick = Patience(), hurried(Patience(), 60)
    assert sum(quick.schedule_seconds) == pytest.approx(sum(exact.schedule_seconds) / 60)
    assert quick.disable_after_seconds == exact.disable_after_seconds / 60 == 72 * 60
    assert (quick.down_after, quick.most_waiting, quick.straggler_seconds) == (
        exact.down_after,
        exact.most_waiting,
        exact.straggler_seconds,
    )
    assert hurried(exact, Settings().webhook_haste) == exact


async def _down(house: House, endpoint_id: object) -> bool:
    return (await house.row("SELECT down_since FROM webhook_endpoints WHERE id = $1", endpoint_id))["down_since"] is not None
