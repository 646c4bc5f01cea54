"""A domain whose mail servers are others than when it was placed: its mail goes there, and the site where it was knows nothing of it."""

from __future__ import annotations

import pytest

from app.delivery.route import Router
from tests.flows.conftest import House

_DEAD = "127.0.0.9"  # nobody listens there


async def start_anew(house: House) -> None:
    """A worker that has not asked DNS yet, in place of the one that has."""
    task, stop = house.workers.pop()
    stop.set()
    await task
    house.start_worker()


async def test_a_domain_that_has_moved_does_not_speak_for_its_old_site(house: House) -> None:
    """Whoever has placed his domain at somebody's servers and then names a dead host would silence them for everybody."""
    house.dns.zones["moving.test"] = {"MX": [[10, "mx.x.test"]]}
    first = await house.send("eve@moving.test")
    await house.until_states(first["id"], "delivered")
    house.dns.zones |= {"moving.test": {"MX": [[10, "mx.dead.test"]]}, "mx.dead.test": {"A": [_DEAD]}}
    await start_anew(house)
    moved = await house.send([f"eve{number}@moving.test" for number in range(40)])
    await house.until_states(moved["id"], *["deferred"] * 40)
    told = await house.send("ada@x.test")
    message = await house.until_states(told["id"], "delivered")
    assert [event["type"] for event in message["timeline"]] == ["message.accepted", "message.delivered"]
    async with house.database.hot() as connection:
        sites = "SELECT DISTINCT s.name FROM queue q JOIN sites s ON s.id = q.site_id"
        assert [row[0] for row in await connection.fetch(sites)] == ["mx.dead.test"]
        found = await connection.fetch("SELECT d.domain, s.name FROM domain_sites d JOIN sites s ON s.id = d.site_id")
        assert {tuple(row) for row in found} == {("moving.test", "mx.dead.test"), ("x.test", "mx.x.test")}


async def test_a_domain_that_is_placed_wrongly_each_time_does_not_go_round(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """DNS tells the worker that places something else than the one that delivers."""
    asked: list[str] = []

    async def old_site_of(_router: Router, domain: str) -> str:
        asked.append(domain)
        return "mx.old.test"

    monkeypatch.setattr(Router, "site_of", old_site_of)
    sent = await house.send("ada@x.test")
    await house.until_states(sent["id"], "delivered")
    assert asked == ["x.test"] * 2
