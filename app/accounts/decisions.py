"""The word on an incident of an SMTP credential: what is held goes out, or is cancelled.

It is an order in the incident's row; workers carry it out (delivery.incidents), however much is held.

    release   it was right: the networks it came from are its own from now on, and as many an hour as it sent are trusted
    discard   it was somebody else: what it came from for the first time within a day is forgotten

Either way its last hour begins anew, so that its next mail is judged by itself. Whoever discards should change the password, or revoke the
credential: else the other one goes on, and the next incident is minutes away.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from app import store
from app.errors import Conflict
from app.store.db import HotConnection
from app.store.held import Wanted
from app.store.incidents import DISCARD, RELEASE, Incident, decide_incident, mark_of
from app.store.smtp_credentials import raise_trust

Decision = Callable[[HotConnection, int | None, str, str], Awaitable[tuple[Incident, int]]]


async def release(connection: HotConnection, account_id: int | None, credential: str, by: str) -> tuple[Incident, int]:
    """Let it go, and trust the credential with as much; the incident, and how many recipients were held. In the caller's transaction."""
    incident, held = await _decide(connection, account_id, credential, RELEASE, by)
    sent = await store.credential_habits.begin_anew(connection, credential)
    await raise_trust(connection, credential, sent + held)
    await store.credential_habits.trust_networks(connection, credential)
    if incident.network is not None:
        await store.credential_habits.trust_network(connection, credential, incident.network)
    return incident, held


async def discard(connection: HotConnection, account_id: int | None, credential: str, by: str) -> tuple[Incident, int]:
    """Cancel it; the incident, and how many recipients were held. In the caller's transaction."""
    incident, held = await _decide(connection, account_id, credential, DISCARD, by)
    await store.credential_habits.begin_anew(connection, credential)
    await store.credential_habits.forget_new_networks(connection, credential)
    return incident, held


async def _decide(connection: HotConnection, account_id: int | None, credential: str, decision: str, by: str) -> tuple[Incident, int]:
    incident = await decide_incident(connection, account_id, credential, decision, by)
    if incident is None:
        raise Conflict("Nothing of this credential is held.")
    groups = await store.held.count_held(connection, Wanted(incident.account_id, mark_of(incident.id)))
    return incident, sum(group.recipients for group in groups)
