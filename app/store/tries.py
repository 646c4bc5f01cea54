"""How often a row that a loop could not deal with is tried again, and what becomes of it then.

A fault of ours must neither hold up what waits behind it nor be met once a minute for ever. So a row counts its `tries`, waits four times
as long after each, and after MOST_TRIES is *given up*: due at GIVEN_UP, with a line in the log and in the figures. The row stays: whoever
has mended the fault has it tried anew (docs/operating.md). What nobody came back for is dropped with the history that it is about.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from app.store.db import HotConnection
from app.store.ids import floor_of

MOST_TRIES = 8  # over some thirteen hours
GIVEN_UP = "'infinity'::timestamptz"


def growing(first_seconds: str, tries: str) -> str:
    """The wait after so many tries before this one, as an SQL interval: a minute becomes four hours."""
    return f"make_interval(secs => {first_seconds} * least(4 ^ {tries}, 240))"


async def drop_given_up(connection: HotConnection, history_days: int) -> int:
    """What was given up, and is about a recipient whose history is gone."""
    floor = floor_of(datetime.now(UTC) - timedelta(days=history_days))
    dropped = 0
    for table in ("owed_reports", "second_looks"):
        query = f"DELETE FROM {table} WHERE due_at = {GIVEN_UP} AND recipient_id < $1"  # noqa: S608  (names of our own)
        dropped += int((await connection.execute(query, floor)).rpartition(" ")[2])
    return dropped
