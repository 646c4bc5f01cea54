"""A fault of ours, wherever it comes on a job's way: the job is put off with the reason, and the next ones go on."""

from __future__ import annotations

from typing import Any

import asyncpg
import pytest

from app import store
from app.delivery import deliver
from app.delivery.route import Router
from tests.flows.conftest import House


async def test_a_fault_before_an_attempt_loses_no_job(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first route of a site is asked for before anything else of a job."""
    resolve, failures = Router.resolve, iter([OSError("too many open files")] * 3)

    async def fail_at_first(router: Router, domain: str) -> Any:
        for failure in failures:
            raise failure
        return await resolve(router, domain)

    monkeypatch.setattr(Router, "resolve", fail_at_first)
    sent = await house.send([f"ada{number}@x.test" for number in range(3)])
    message = await house.until_states(sent["id"], *["deferred"] * 3)
    assert [recipient["reason"] for recipient in message["recipients"]] == ["internal fault"] * 3
    async with house.database.hot() as connection:
        await connection.execute("UPDATE queue SET due_at = now()")
    await house.until_states(sent["id"], *["delivered"] * 3)


async def test_a_release_that_fails_loses_no_job(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """A job that was not tried goes back; if PostgreSQL refuses that, however it says so, the row is found as a stray."""
    release = store.queue.release
    failures = iter([asyncpg.DeadlockDetectedError("chosen as the victim")])

    async def fail_once(*given: Any) -> None:
        for failure in failures:
            raise failure
        await release(*given)

    made, untried = deliver.Deliveries._deliver, iter([None])

    async def not_at_first(deliveries: deliver.Deliveries, *given: Any) -> Any:
        for verdict in untried:
            return verdict
        return await made(deliveries, *given)

    monkeypatch.setattr(deliver.Deliveries, "_deliver", not_at_first)
    monkeypatch.setattr(store.queue, "release", fail_once)
    sent = await house.send()
    await house.until_states(sent["id"], "delivered")
