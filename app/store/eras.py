"""Eras: what keeps the order of events when a backup is restored.

An event's `xid` is the number of the transaction that wrote it, and readers keep cursors on it: in webhook endpoints, and far away in
the programs of accounts. PostgreSQL gives those numbers by cluster. A dump restored into a new cluster finds small ones there, and a
physical backup gives some again that readers have seen already: either way new events would lie before cursors that have passed.
So events ask feed_xid() for their number and readers ask feed_horizon() how far they may read, two functions of the
database that give PostgreSQL's own number plus the era's offset. A restore begins a new era, above all that was ever handed out; nothing
that is written changes, and no cursor loses its place.

They are plain SQL functions, so that the planner puts their bodies in place of the calls: nothing is paid for them.
"""

from __future__ import annotations

from app.store.db import HotConnection

# Room of one era: a trillion transactions. 64 bits hold eight million eras.
ERA_XIDS = 2**40

# The last number of each account is the end of a range of the events' primary key.
_HIGHEST = """
SELECT greatest(
    feed_horizon()::text::numeric,
    (SELECT max(cursor_xid)::text::numeric FROM webhook_endpoints),
    (SELECT max(v.xid)::text::numeric FROM accounts a
     CROSS JOIN LATERAL (SELECT xid FROM events WHERE account_id = a.id ORDER BY xid DESC LIMIT 1) v)
)::text
"""


async def read_highest(connection: HotConnection) -> int:
    """The highest transaction number that an event, a cursor or a reader of the feed knows here."""
    return int(await connection.fetchval(_HIGHEST))


async def is_readable(connection: HotConnection) -> bool:
    """Whether readers can reach all that is committed; not so in a database that came out of a dump and has no era of its own yet."""
    # A transaction's own number is above all that is committed and all that a cursor was given.
    readable: bool = await connection.fetchval(f"SELECT ({_HIGHEST})::numeric <= feed_xid()::text::numeric")
    return readable


async def begin_era(connection: HotConnection) -> int:
    """Lift all numbers to come above those that were; returns its offset. Within the caller's transaction, which shuts writers out."""
    await connection.execute("LOCK TABLE events IN ACCESS EXCLUSIVE MODE")
    offset = (await read_highest(connection) // ERA_XIDS + 1) * ERA_XIDS
    for name, source in (
        ("feed_xid", "pg_catalog.pg_current_xact_id()"),
        ("feed_horizon", "pg_catalog.pg_snapshot_xmin(pg_catalog.pg_current_snapshot())"),
    ):
        safety = "SAFE" if name == "feed_horizon" else "UNSAFE"
        # Made here of constants and a number: nothing of a caller's goes into the statement.
        await connection.execute(
            f"CREATE OR REPLACE FUNCTION {name}() RETURNS xid8 LANGUAGE sql STABLE PARALLEL {safety}"
            f" AS 'SELECT ({source}::text::bigint + {offset})::text::xid8'"
        )
    return offset
