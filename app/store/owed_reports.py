"""Delivery reports that are owed: what senders of SMTP mail are still to be told of a recipient (RFC 3461), a narrow row each.

A row is written by the statement that decides the fate (settlement, submissions), so that no kill loses it, and only where its sender
gets one. It is deleted when the report is accepted as mail. What one report tells is fixed when it is first taken (`report_id`): whoever
takes it again after a kill writes the same one, and its id as idempotency key lets it enter once.

A taken row is left alone for a time, by its `due_at`, and for longer each time that it is taken; one that was taken too often is given up
(store.tries). So that kills count too, it is the taking that is counted. Left alone are those of a sender who has got enough for now too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from uuid import UUID

from sqlalchemy import Column, DateTime, Index, Integer, PrimaryKeyConstraint, SmallInteger, Table, Text, Uuid

from app.store.db import HotConnection, metadata
from app.store.ids import last_of_message, message_of
from app.store.tries import GIVEN_UP, growing

owed_reports = Table(
    "owed_reports",
    metadata,
    Column("account_id", Integer, nullable=False),
    Column("recipient_id", Uuid, nullable=False),
    Column("kind", Text, nullable=False),
    # Since when it is owed; how long such a thing may wait is known to who tells it.
    Column("due_at", DateTime(timezone=True), nullable=False),
    Column("report_id", Uuid),  # UUIDv7: when it was first taken
    Column("tries", SmallInteger, nullable=False, server_default="0"),
    PrimaryKeyConstraint("account_id", "recipient_id", "kind"),
    Index("ix_owed_reports_due", "kind", "due_at"),
)


class OwedKind(StrEnum):
    FAILURE = "failure"  # it will not arrive
    DELAY = "delay"  # it has been put off
    SUCCESS = "success"  # the next hop took it


# RFC 3461 §4.1: who says NOTIFY gets what it names; who does not gets what the credential says of failures. RFC 3461 §6.2: nobody is told
# of mail with the null reverse path. The first outcome of all is the one that puts off first.
_KIND = """
CASE WHEN coalesce({dsn}->>'from', '') = '' THEN NULL
     WHEN {state} IN ('bounced', 'expired', 'failed', 'suppressed', 'bounced_late')
          AND coalesce(({dsn}::jsonb->'notify') ? 'FAILURE', ({dsn}->>'tells_failures')::bool) THEN 'failure'
     WHEN {state} = 'deferred' AND {events} = 1 AND ({dsn}::jsonb->'notify') ? 'DELAY' THEN 'delay'
     WHEN {state} = 'delivered' AND ({dsn}::jsonb->'notify') ? 'SUCCESS' THEN 'success' END
"""


def owing(source: str) -> str:
    """The statement that writes what is owed of recipients; `source` has account_id, id, state, events, dsn after the change."""
    kind = _KIND.format(dsn="s.dsn", state="s.state", events="s.events")
    return (
        "INSERT INTO owed_reports (account_id, recipient_id, kind, due_at)"  # noqa: S608  (expressions of our own)
        f" SELECT account_id, id, kind, now() FROM (SELECT s.account_id, s.id, {kind} AS kind FROM {source} s WHERE s.dsn IS NOT NULL) o"
        " WHERE kind IS NOT NULL ON CONFLICT DO NOTHING"
    )


_OWE_FAILURES = owing(
    "(SELECT account_id, id, 'failed' AS state, events, dsn FROM recipients WHERE account_id = $1 AND id = ANY($2::uuid[]))"
)


async def owe_failures(connection: HotConnection, account_id: int, recipient_ids: Sequence[UUID]) -> None:
    """These end as failures in their senders' eyes, by somebody's word; within the caller's transaction."""
    await connection.execute(_OWE_FAILURES, account_id, recipient_ids)


@dataclass(frozen=True, slots=True)
class TakenReport:
    """One report to write: of recipients of one message, of one kind."""

    id: UUID
    account_id: int
    kind: OwedKind
    recipient_ids: tuple[UUID, ...]
    tries: int  # this one too

    @property
    def message_id(self) -> UUID:
        return message_of(self.recipient_ids[0])


# The group of a report is everything of its message that is owed by now, but for delays, which are told when each has waited. Rows that
# somebody is just taking are passed over.
_TAKE = f"""
WITH first AS MATERIALIZED (
    SELECT o.* FROM unnest($1::text[], $2::float8[]) AS k(kind, wait) CROSS JOIN LATERAL (
        SELECT account_id, recipient_id, kind, report_id, now() - make_interval(secs => k.wait) AS late FROM owed_reports
        WHERE kind = k.kind AND due_at <= now() - make_interval(secs => k.wait) ORDER BY due_at LIMIT 1
    ) o LIMIT 1
), picked AS MATERIALIZED (
    SELECT o.account_id, o.recipient_id, o.kind, f.late FROM first f
    JOIN owed_reports o ON o.account_id = f.account_id AND o.kind = f.kind
        AND o.recipient_id BETWEEN overlay(f.recipient_id::text placing '0000' from 33)::uuid
                               AND overlay(f.recipient_id::text placing 'ffff' from 33)::uuid
        AND o.report_id IS NOT DISTINCT FROM f.report_id
        AND o.due_at <= CASE f.kind WHEN 'delay' THEN f.late ELSE now() END
    ORDER BY o.recipient_id LIMIT $3 FOR UPDATE OF o SKIP LOCKED
)
UPDATE owed_reports o SET report_id = coalesce(o.report_id, $4), due_at = p.late + {growing("$5", "o.tries")}, tries = o.tries + 1
FROM picked p WHERE o.account_id = p.account_id AND o.recipient_id = p.recipient_id AND o.kind = p.kind
RETURNING o.report_id, o.account_id, o.kind, o.recipient_id, o.tries
"""  # noqa: S608  (expressions of our own)


async def take_report(
    connection: HotConnection, waits: Mapping[OwedKind, float], report_id: UUID, *, most: int, seconds: float
) -> TakenReport | None:
    """What is to be told next, for so many seconds at first; a new one gets `report_id`. `waits`: how long each kind waits first."""
    rows = await connection.fetch(_TAKE, [kind.value for kind in waits], list(waits.values()), most, report_id, seconds)
    if not rows:
        return None
    return TakenReport(rows[0][0], rows[0][1], OwedKind(rows[0][2]), tuple(sorted(row[3] for row in rows)), max(row[4] for row in rows))


async def give_back(connection: HotConnection, report: TakenReport, seconds: float) -> None:
    """Not told now; then it is gathered anew, as if it were owed since so many seconds from now."""
    await connection.execute(
        "UPDATE owed_reports SET report_id = NULL, tries = 0, due_at = now() + make_interval(secs => $4)"
        " WHERE account_id = $1 AND kind = $2 AND recipient_id = ANY($3::uuid[])",
        report.account_id,
        report.kind.value,
        report.recipient_ids,
        seconds,
    )


async def give_up(connection: HotConnection, report: TakenReport) -> None:
    """It could not be told so often that it is not tried again."""
    await connection.execute(
        f"UPDATE owed_reports SET due_at = {GIVEN_UP} WHERE account_id = $1 AND kind = $2 AND recipient_id = ANY($3::uuid[])",  # noqa: S608
        report.account_id,
        report.kind.value,
        report.recipient_ids,
    )


async def delete_report(connection: HotConnection, report: TakenReport) -> None:
    """It is told, or there is nothing to tell any more."""
    await connection.execute(
        "DELETE FROM owed_reports WHERE account_id = $1 AND kind = $2 AND recipient_id = ANY($3::uuid[])",
        report.account_id,
        report.kind.value,
        report.recipient_ids,
    )


async def forget_due(connection: HotConnection) -> None:
    """Of a restored database: what was owed when it was saved has been told since; what is delayed only by chance."""
    await connection.execute("DELETE FROM owed_reports WHERE kind <> 'delay' OR report_id IS NOT NULL")


@dataclass(frozen=True, slots=True)
class OwedOfKind:
    """What is owed of a kind. `due_seconds`: for how long the oldest could have been taken, its own wait not counted."""

    kind: OwedKind
    waiting: int
    failed: int  # of those: tried in vain
    given_up: int
    oldest_seconds: float


_OWED = f"""
SELECT kind, count(*) FILTER (WHERE due_at < {GIVEN_UP}),
       count(*) FILTER (WHERE due_at < {GIVEN_UP} AND tries > 1),
       count(*) FILTER (WHERE due_at = {GIVEN_UP}),
       coalesce(extract(epoch FROM now() - min(due_at) FILTER (WHERE due_at <= now())), 0)::float8
FROM owed_reports GROUP BY kind
"""  # noqa: S608  (a constant)


async def read_owed(connection: HotConnection) -> list[OwedOfKind]:
    """Reads the whole table: for scrapes."""
    return [OwedOfKind(OwedKind(row[0]), *row[1:]) for row in await connection.fetch(_OWED)]


@dataclass(frozen=True, slots=True)
class FateRow:
    """What is known of a recipient, and of the last try at it, if there was one."""

    id: UUID
    address: str
    state: str
    reason: str | None
    last_reply: str | None
    settled_at: datetime | None
    dsn: str  # JSON text: intake.raw
    attempt_id: UUID | None
    phase: str | None
    code: int | None
    enhanced: str | None
    reply: str | None
    mx: str | None


_FATES = """
SELECT r.id, r.address, r.state, r.reason, r.last_reply, r.settled_at, r.dsn::text, a.id, a.phase, a.code, a.enhanced, a.reply, a.mx
FROM recipients r LEFT JOIN LATERAL (
    SELECT id, phase, code, enhanced, reply, mx FROM attempts
    WHERE account_id = $1 AND recipient_id = r.id AND recipient_id BETWEEN $3 AND $4 AND NOT stale ORDER BY id DESC LIMIT 1
) a ON true
WHERE r.account_id = $1 AND r.id = ANY($2::uuid[]) AND r.id BETWEEN $3 AND $4 AND r.dsn IS NOT NULL ORDER BY r.id
"""


async def read_fates(connection: HotConnection, report: TakenReport) -> list[FateRow]:
    """The recipients of a report, as far as they are still kept and not erased."""
    low, high = report.message_id, last_of_message(report.message_id)
    return [FateRow(*row) for row in await connection.fetch(_FATES, report.account_id, report.recipient_ids, low, high)]


@dataclass(frozen=True, slots=True)
class ReportedMail:
    """The mail that a report is about."""

    subject: str
    rfc_message_id: str
    expires_at: datetime
    purge_on: date


async def read_reported(connection: HotConnection, account_id: int, message_id: UUID) -> ReportedMail | None:
    """By primary key."""
    query = "SELECT subject, rfc_message_id, expires_at, purge_on FROM messages WHERE account_id = $1 AND id = $2"
    row = await connection.fetchrow(query, account_id, message_id)
    return ReportedMail(*row) if row is not None else None
