"""PostgreSQL: a table and every query on it share one file; functions are `verb_noun(connection, …)` and take sequences.

Values that are made for every message are plain dataclasses with slots: a frozen one costs three times as much to make. Nobody
changes them.

Nothing here decides, commits or knows a protocol. The statements that touch several tables of a message at once
(accept, load, settle) have a file of their own.
"""

from app.store import (
    accounts,
    chores,
    db,
    deliverables,
    domains,
    eras,
    erasure,
    erasure_orders,
    events,
    ground,
    held,
    idempotency,
    ids,
    messages,
    partitions,
    queue,
    readers,
    revision,
    settlement,
    sites,
    states,
    streams,
    submissions,
    suppressions,
    templates,
    webhook_attempts,
    webhook_replays,
    webhook_rounds,
    webhooks,
    workers,
)

__all__ = [
    "accounts",
    "chores",
    "db",
    "deliverables",
    "domains",
    "eras",
    "erasure",
    "erasure_orders",
    "events",
    "ground",
    "held",
    "idempotency",
    "ids",
    "messages",
    "partitions",
    "queue",
    "readers",
    "revision",
    "settlement",
    "sites",
    "states",
    "streams",
    "submissions",
    "suppressions",
    "templates",
    "webhook_attempts",
    "webhook_replays",
    "webhook_rounds",
    "webhooks",
    "workers",
]
