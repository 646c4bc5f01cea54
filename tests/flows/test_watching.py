"""What the operator sees from outside."""

from __future__ import annotations

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


async def test_metrics_are_for_this_machine_or_the_token(house: House) -> None:
    assert (await house.api.get("/metrics", headers={"X-Forwarded-For": "192.0.2.1"})).status_code == 404


async def test_ready_says_what_is_away(house: House) -> None:
    answer = await house.api.get("/readyz")
    assert (answer.status_code, answer.json()["status"]) == (200, "ready")
