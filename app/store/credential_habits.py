"""What SMTP credentials usually do: recipients by the hour, networks they send from, and whom they write to.

Written by a process in batches, about once a second, never for one message: what a process had not told yet when it died is lost, and
missed by nobody. Nothing here is mail. The circle (accounts.circle) holds no addresses, only bits that some of them would set.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import asyncpg
from sqlalchemy import Boolean, Column, DateTime, Integer, PrimaryKeyConstraint, Table, Text, func, text
from sqlalchemy.dialects.postgresql import BIT
from sqlalchemy.ext.asyncio import AsyncConnection

from app.store.db import HotConnection, metadata

KEPT_DAYS = 14
NETWORKS_KEPT_DAYS = 60
CIRCLE_BITS = 65536
# Of a credential that comes from everywhere the latest are enough to judge by.
_MOST_NETWORKS = 500

smtp_credential_hours = Table(
    "smtp_credential_hours",
    metadata,
    Column("credential", Text, nullable=False),
    Column("hour", DateTime(timezone=True), nullable=False),
    # Of what was let through: what was held is no habit.
    Column("recipients", Integer, nullable=False),
    Column("elsewhere", Integer, nullable=False),  # of them: from a network that was not known then
    Column("strangers", Integer, nullable=False),  # of them: not in its circle then
    PrimaryKeyConstraint("credential", "hour"),
)

smtp_credential_networks = Table(
    "smtp_credential_networks",
    metadata,
    Column("credential", Text, nullable=False),
    Column("network", Text, nullable=False),  # an IPv4 /24 or an IPv6 /48
    Column("first_seen_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("last_seen_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("trusted", Boolean, nullable=False, server_default="false"),
    PrimaryKeyConstraint("credential", "network"),
)

smtp_credential_circles = Table(
    "smtp_credential_circles",
    metadata,
    Column("credential", Text, primary_key=True),
    Column("circle", BIT(CIRCLE_BITS), nullable=False),
)


@dataclass(frozen=True, slots=True)
class Sent:
    """What one credential sent in a moment, from one network or several."""

    credential: str
    recipients: int
    elsewhere: int
    strangers: int


_ADD_HOURS = """
INSERT INTO smtp_credential_hours AS h (credential, hour, recipients, elsewhere, strangers)
SELECT credential, date_trunc('hour', now(), 'UTC'), recipients, elsewhere, strangers
FROM unnest($1::text[], $2::int[], $3::int[], $4::int[]) AS i(credential, recipients, elsewhere, strangers) ORDER BY credential
ON CONFLICT (credential, hour) DO UPDATE
SET recipients = h.recipients + excluded.recipients, elsewhere = h.elsewhere + excluded.elsewhere,
    strangers = h.strangers + excluded.strangers
"""


async def add_sent(connection: HotConnection, rows: Sequence[Sent]) -> None:
    """Add to the hour that is now, one row for each credential; in sorted order, so that two processes cannot deadlock."""
    columns = [r.credential for r in rows], [r.recipients for r in rows], [r.elsewhere for r in rows], [r.strangers for r in rows]
    await connection.execute(_ADD_HOURS, *columns)


_SEE_NETWORKS = """
INSERT INTO smtp_credential_networks AS n (credential, network)
SELECT credential, network FROM unnest($1::text[], $2::text[]) AS i(credential, network) ORDER BY credential, network
ON CONFLICT (credential, network) DO UPDATE SET last_seen_at = now() WHERE n.last_seen_at < now() - interval '1 hour'
"""


async def see_networks(connection: HotConnection, pairs: Sequence[tuple[str, str]]) -> None:
    """These credentials sent from these networks."""
    await connection.execute(_SEE_NETWORKS, [pair[0] for pair in pairs], [pair[1] for pair in pairs])


async def widen_circles(connection: HotConnection, circles: Sequence[tuple[str, bytes]]) -> None:
    """Set the bits of these circles in those that are kept."""
    await connection.execute(
        "INSERT INTO smtp_credential_circles AS c (credential, circle)"
        " SELECT credential, circle FROM unnest($1::text[], $2::bit(65536)[]) AS i(credential, circle) ORDER BY credential"
        " ON CONFLICT (credential) DO UPDATE SET circle = c.circle | excluded.circle",
        [name for name, _ in circles],
        [asyncpg.BitString.frombytes(bits, bitlength=CIRCLE_BITS) for _, bits in circles],
    )


@dataclass(frozen=True, slots=True)
class SeenNetwork:
    network: str
    first_seen_at: datetime
    trusted: bool


@dataclass(frozen=True, slots=True)
class KeptHabits:
    """One credential's, as of `now` on the database's clock. The last hour slides: what is left of the hour before counts in part."""

    now: datetime
    busiest_recipients: int
    busiest_strangers: int
    last_recipients: float
    last_elsewhere: float
    last_strangers: float
    networks: tuple[SeenNetwork, ...]


# Busiest is an hour that was over an hour ago: what is judged is no measure for itself.
_HABITS = f"""
WITH clock AS (
    SELECT date_trunc('hour', now(), 'UTC') AS hour, 1 - extract(epoch FROM now() - date_trunc('hour', now(), 'UTC')) / 3600.0 AS rest
), hours AS (
    SELECT h.*, h.hour < c.hour - interval '1 hour' AS before,
           CASE WHEN h.hour = c.hour THEN 1 WHEN h.hour = c.hour - interval '1 hour' THEN c.rest ELSE 0 END AS share
    FROM smtp_credential_hours h, clock c WHERE h.credential = $1 AND h.hour >= now() - interval '{KEPT_DAYS} days'
)
SELECT now(), coalesce(max(recipients) FILTER (WHERE before), 0), coalesce(max(strangers) FILTER (WHERE before), 0),
       coalesce(sum(recipients * share), 0)::float8, coalesce(sum(elsewhere * share), 0)::float8,
       coalesce(sum(strangers * share), 0)::float8
FROM hours
"""  # noqa: S608  (a constant above)


async def read_habits(connection: HotConnection, credential: str) -> KeptHabits:
    """By primary keys: at most 14 days of hours and some hundred networks."""
    row = await connection.fetchrow(_HABITS, credential)
    networks = await connection.fetch(
        "SELECT network, first_seen_at, trusted FROM smtp_credential_networks WHERE credential = $1 ORDER BY last_seen_at DESC LIMIT $2",
        credential,
        _MOST_NETWORKS,
    )
    return KeptHabits(row[0], row[1], row[2], row[3], row[4], row[5], tuple(SeenNetwork(*each) for each in networks))


async def read_circle(connection: HotConnection, credential: str) -> bytes | None:
    kept = await connection.fetchval("SELECT circle FROM smtp_credential_circles WHERE credential = $1", credential)
    return kept.bytes if kept is not None else None


async def trust_networks(connection: HotConnection, credential: str) -> None:
    """Its owner says that what it did lately was right: the networks it came from are known from now on."""
    await connection.execute("UPDATE smtp_credential_networks SET trusted = true WHERE credential = $1 AND NOT trusted", credential)


async def trust_network(connection: HotConnection, credential: str, network: str) -> None:
    await connection.execute(
        "INSERT INTO smtp_credential_networks (credential, network, trusted) VALUES ($1, $2, true)"
        " ON CONFLICT (credential, network) DO UPDATE SET trusted = true",
        credential,
        network,
    )


async def is_network_known(connection: HotConnection, credential: str, network: str) -> bool:
    """Whether it has sent from there for longer than a day, or its owner trusts the place."""
    query = (
        "SELECT trusted OR first_seen_at < now() - interval '1 day' FROM smtp_credential_networks WHERE credential = $1 AND network = $2"
    )
    return bool(await connection.fetchval(query, credential, network))


async def forget_new_networks(connection: HotConnection, credential: str) -> None:
    """What it came from for the first time within a day was somebody else."""
    await connection.execute(
        "DELETE FROM smtp_credential_networks WHERE credential = $1 AND NOT trusted AND first_seen_at >= now() - interval '1 day'",
        credential,
    )


async def begin_anew(connection: HotConnection, credential: str) -> int:
    """Count the last hour from zero, because somebody has looked at it; returns how many recipients it had."""
    return int(
        await connection.fetchval(
            "WITH cleared AS (DELETE FROM smtp_credential_hours WHERE credential = $1"
            " AND hour >= date_trunc('hour', now(), 'UTC') - interval '1 hour' RETURNING recipients)"
            " SELECT coalesce(sum(recipients), 0) FROM cleared",
            credential,
        )
    )


# Dead: a receiver called the address so when this very mail came, or it was known to be dead and the mail never left.
_LOOK_BACK = """
SELECT i.credential, count(*) FILTER (WHERE r.state NOT IN ('scheduled', 'ready', 'deferred', 'held', 'cancelled')),
       count(*) FILTER (WHERE r.state = 'suppressed' AND r.reason IN ('invalid_mailbox', 'invalid_domain', 'mailbox_disabled')
                        OR r.state = 'bounced' AND EXISTS (SELECT FROM suppressions s WHERE s.account_id = r.account_id
                                                           AND s.address = lower(r.address COLLATE "C") AND s.about = r.id))
FROM unnest($1::text[], $2::int[], $3::uuid[]) AS i(credential, account_id, id)
JOIN recipients r ON r.account_id = i.account_id AND r.id = i.id GROUP BY i.credential
"""


async def look_back(connection: HotConnection, samples: Sequence[tuple[str, int, UUID]]) -> dict[str, tuple[int, int]]:
    """Of samples (credential, account, recipient): how many of each credential have an outcome, and how many addresses were dead."""
    rows = await connection.fetch(_LOOK_BACK, [s[0] for s in samples], [s[1] for s in samples], [s[2] for s in samples])
    return {row[0]: (row[1], row[2]) for row in rows}


async def drop_old_habits(connection: AsyncConnection) -> int:
    """What is too old to judge by, and all of credentials that were revoked as long ago.

    The latest network of a credential stays: by it one tells who was silent for long from who is new.
    """
    revoked = f"credential IN (SELECT id FROM smtp_credentials WHERE revoked_at < now() - interval '{KEPT_DAYS} days')"  # noqa: S608
    replaced = (
        f"last_seen_at < now() - interval '{NETWORKS_KEPT_DAYS} days' AND EXISTS (SELECT FROM smtp_credential_networks newer"
        " WHERE newer.credential = n.credential AND newer.last_seen_at > n.last_seen_at)"
    )
    dropped = 0
    for statement in (
        f"DELETE FROM smtp_credential_hours WHERE hour < now() - interval '{KEPT_DAYS} days'",  # noqa: S608
        f"DELETE FROM smtp_credential_networks n WHERE {revoked} OR {replaced}",  # noqa: S608
        f"DELETE FROM smtp_credential_circles WHERE {revoked}",  # noqa: S608
    ):
        dropped += (await connection.execute(text(statement))).rowcount
    return dropped
