"""A worker whose machine's clock is wrong: mail expires and is tried again by the database's."""

from __future__ import annotations

import sys
import time
from datetime import UTC, datetime, timedelta, tzinfo

import pytest

from app import log
from tests.doubles.sink_script import Script
from tests.flows.conftest import House

_AHEAD = timedelta(days=2).total_seconds()


async def test_mail_neither_expires_nor_waits_by_a_clock_that_is_ahead(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[float] = []
    monkeypatch.setattr(log, "clock_is_wrong", told.append)
    house.workers[0][1].set()
    await house.workers[0][0]
    house.sink.script = Script.parse({"rules": [{"fault": "dot_451", "times": 1}]})
    sent = await house.send()
    with monkeypatch.context() as ahead:
        set_ahead(ahead)
        house.start_worker()
        message = await house.until_states(sent["id"], "delivered")
    (put_off,) = [event for event in message["timeline"] if event["type"] == "message.deferred"]
    due_at = datetime.fromisoformat(put_off["facts"]["next_attempt_at"])
    assert abs(due_at - datetime.now(UTC)) < timedelta(minutes=1)
    assert [round(ahead / _AHEAD) for ahead in told] == [1]


def set_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything that a worker may look at but the database."""
    own = time.time
    monkeypatch.setattr(time, "time", lambda: own() + _AHEAD)
    for name, module in list(sys.modules.items()):
        if name.startswith("app.delivery.") and getattr(module, "datetime", None) is datetime:
            monkeypatch.setattr(module, "datetime", Ahead)


class Ahead(datetime):
    """What it makes is of no kind of its own: orjson writes no others."""

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
        return datetime.fromtimestamp(time.time(), tz)

    @classmethod
    def fromtimestamp(cls, timestamp: float, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
        return datetime.fromtimestamp(timestamp, tz)
