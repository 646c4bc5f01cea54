"""What is written into history: times have one form."""

from __future__ import annotations

from datetime import UTC, datetime

import orjson

from app.events.record import as_facts
from app.mail.times import read_time, show_time


def test_times_in_facts_end_in_z_and_are_read_as_they_were() -> None:
    for at in (datetime(2030, 6, 1, 9, 0, 0, 123456, UTC), datetime(2030, 6, 1, 9, 0, 0, 0, UTC)):
        told = orjson.loads(as_facts({"next_attempt_at": at}))["next_attempt_at"]
        assert told == show_time(at)
        assert told.endswith("Z")
        assert datetime.fromisoformat(told) == read_time(told) == datetime.fromisoformat(at.isoformat()) == at
