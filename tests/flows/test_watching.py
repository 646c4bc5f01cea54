"""What the operator sees from outside."""

from __future__ import annotations

import asyncio
import os
import socket
import time

import pytest
from prometheus_client import REGISTRY
from prometheus_client.parser import text_string_to_metric_families

from app.store.ids import new_id
from tests.flows.conftest import House, until


async def test_metrics_tell_of_queue_workers_and_webhooks(house: House) -> None:
    accepted = await house.send()
    await house.until_states(accepted["id"], "delivered")

    async def read() -> str:
        answer = await house.api.get("/metrics")
        assert answer.status_code == 200
        return answer.text

    text = await until(read, lambda text: 'outcome="delivered",worker="1"} 1.0' in text or 'worker="1",outcome="delivered"} 1.0' in text)
    for name in (
        "staffetta_database_up 1.0",
        'staffetta_queue_recipients{class="transactional",state="ready"}',
        'staffetta_queue_oldest_ready_seconds{class="bulk"}',
        'staffetta_delivery_seconds_bucket{le="+Inf",worker="1"}',
        "staffetta_webhook_lag_seconds 0.0",
        "staffetta_accepted_messages_total",
    ):
        assert name in text, name


async def test_workers_tell_what_they_counted(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Posts to webhooks are the worker's, and no worker answers HTTP."""
    monkeypatch.setattr("app.worker.TELL_SECONDS", 0.1)
    monkeypatch.setattr("app.watch.metrics._FRESH_SECONDS", 0.0)
    house.start_worker()
    assert (await house.api.post("/v1/webhooks", json={"url": house.hooks.url})).status_code == 201
    before = REGISTRY.get_sample_value("staffetta_webhook_posts_total", {"outcome": "taken"}) or 0.0
    await house.send()
    process = f"worker {socket.gethostname()}:{os.getpid()}"

    async def read() -> float:
        text = (await house.api.get("/metrics")).text
        assert text.count("# TYPE staffetta_webhook_posts_total ") == 1, "its own and theirs are one family"
        samples = (sample for family in text_string_to_metric_families(text) for sample in family.samples)
        told = {(sample.name, sample.labels.get("outcome"), sample.labels.get("process")): sample.value for sample in samples}
        return told.get(("staffetta_webhook_posts_total", "taken", process), 0.0)

    await until(read, lambda posts: posts > before)


async def test_metrics_tell_what_waits_for_the_loops_of_workers(house: House) -> None:
    for _, stop in house.workers:
        stop.set()
    await asyncio.gather(*(task for task, _ in house.workers))
    old = new_id(time.time() - 100)
    async with house.database.hot() as connection:
        # Owed: due, failed before, given up. Looks: due, not yet, seen, given up.
        await connection.execute(
            "INSERT INTO owed_reports (account_id, recipient_id, kind, due_at, tries)"
            " VALUES (1, $1, 'failure', now() - interval '50 s', 0),"
            " (1, $2, 'failure', now() + interval '1 h', 2), (1, $3, 'failure', 'infinity', 8), (1, $3, 'delay', now(), 0)",
            old, new_id(), new_id(),
        )  # fmt: skip
        await connection.execute(
            "INSERT INTO inbound_waiting (message_id, account_id, purge_on) VALUES ($1, 1, now()), ($2, 1, now())", old, new_id()
        )
        await connection.execute(
            "INSERT INTO second_looks (account_id, recipient_id, number, at, kind, asker, due_at, seen)"
            " VALUES (1, $1, 1, now(), 'open', 1, now() - interval '70 s', false),"
            " (1, $1, 2, now(), 'open', 1, now() + interval '1 h', false),"
            " (1, $1, 3, now(), 'open', 1, now() - interval '1 h', true), (1, $1, 4, now(), 'open', 1, 'infinity', false)",
            old,
        )
    text = (await house.api.get("/metrics")).text
    told = {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in text.splitlines() if not line.startswith("#")}
    owed = {(kind, state): told[f'staffetta_owed_reports{{kind="{kind}",state="{state}"}}'] for kind in ("failure", "delay", "success")
            for state in ("waiting", "failed", "given_up")}  # fmt: skip
    assert {key: value for key, value in owed.items() if value} == {
        ("failure", "waiting"): 1, ("failure", "failed"): 1, ("failure", "given_up"): 1, ("delay", "waiting"): 1,
    }  # fmt: skip
    assert 50 <= told['staffetta_owed_report_oldest_seconds{kind="failure"}'] < 80
    assert (told["staffetta_inbound_waiting"], 100 <= told["staffetta_inbound_oldest_seconds"] < 130) == (2, True)
    assert (told['staffetta_second_looks{state="due"}'], told['staffetta_second_looks{state="given_up"}']) == (1, 1)
    assert 70 <= told["staffetta_second_look_oldest_seconds"] < 100


async def test_metrics_are_for_this_machine_or_the_token(house: House) -> None:
    assert (await house.api.get("/metrics", headers={"X-Forwarded-For": "192.0.2.1"})).status_code == 404


async def test_ready_says_what_is_away(house: House) -> None:
    answer = await house.api.get("/readyz")
    assert (answer.status_code, answer.json()["status"]) == (200, "ready")
