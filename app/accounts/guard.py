"""The guard of SMTP credentials: what each usually does, what it does now, and an incident when the two do not fit (accounts.misuse).

Asked for every mail, out of memory: PostgreSQL is read when a credential is new here and while it sends, beside its mail from AHEAD_SECONDS
on, so that nothing known is older than REFRESH_SECONDS and a mail seldom waits for it; and written once in FLUSH_SECONDS for all that sent.
Processes know of each other's mail by that, so what two let through together may be more than the rule by what they take in a second.

An incident is committed before the mail that began it is accepted: its mail is then held, never refused and never lost. From there on all
mail of the credential is held, wherever it comes from, until somebody has decided (accounts.decisions); the account is told once.
Nothing is counted while an incident is open: an attack is no habit.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import OrderedDict, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from app import log, store
from app.accounts import misuse
from app.accounts.circle import Circle
from app.accounts.misuse import Habits, LastHour, Suspicion
from app.accounts.smtp_credentials import SmtpCredential, SmtpCredentialBook
from app.events.notices import tell_held
from app.ip import network_of
from app.jobs import Wakes
from app.loops import keep
from app.store.credential_habits import KeptHabits, Sent
from app.store.db import CONNECTION_ERRORS, Database, away, refusing_while_away
from app.store.incidents import mark_of

FLUSH_SECONDS = 1.0
REFRESH_SECONDS = 5.0
AHEAD_SECONDS = 3.0
LOOK_SECONDS = 5.0
_CIRCLE_SECONDS = 60.0
_REMEMBERED = 2_000
_SAMPLE = 200
_NETWORKS_AT_ONCE = 50


@dataclass(slots=True)
class Count:
    """Recipients that were let through."""

    recipients: int = 0
    elsewhere: int = 0
    strangers: int = 0

    def add(self, other: Count, sign: int = 1) -> None:
        self.recipients += sign * other.recipients
        self.elsewhere += sign * other.elsewhere
        self.strangers += sign * other.strangers


@dataclass(frozen=True, slots=True)
class Passage:
    """The word on one mail. `held_for` is why it is accepted and held."""

    user_name: str
    held_for: str | None = None
    count: Count | None = None


@dataclass(slots=True, eq=False)
class _Known:
    """A credential that sends through this process."""

    account_id: int
    kept: KeptHabits
    is_settled: bool
    own_networks: frozenset[str]
    circle: Circle
    read_at: float
    circle_at: float
    untold: Count = field(default_factory=Count)  # not in PostgreSQL yet
    told: Count = field(default_factory=Count)  # in PostgreSQL, after it was read
    networks: set[str] = field(default_factory=set)
    circle_grew: bool = False
    sample: deque[UUID] = field(default_factory=lambda: deque(maxlen=_SAMPLE))


class Guard:
    """The guard of one process."""

    def __init__(self, database: Database, credentials: SmtpCredentialBook, wakes: Wakes, *, first_allowance: int) -> None:
        self._database = database
        self._credentials = credentials
        self._wakes = wakes
        self._first_allowance = first_allowance
        self._known: OrderedDict[str, _Known] = OrderedDict()
        self._reading: dict[str, asyncio.Task[_Known]] = {}
        # What was written is not counted twice: nobody reads while it is being written.
        self._lock = asyncio.Lock()
        self._loops: list[asyncio.Task[None]] = []

    def start(self) -> None:
        self._loops = [
            asyncio.create_task(keep("guard", self.flush, FLUSH_SECONDS)),
            asyncio.create_task(keep("guard", self.look, LOOK_SECONDS)),
        ]

    async def close(self) -> None:
        under_way = [*self._loops, *self._reading.values()]
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)
        with contextlib.suppress(*CONNECTION_ERRORS):
            await self.flush()

    # --- for each mail

    async def admit(self, credential: SmtpCredential, address: str, recipients: Sequence[str]) -> Passage:
        """The word on a mail that comes from this IP address. Raises Unavailable when nobody can be asked."""
        name = credential.user_name
        if credential.held_for is not None:
            # What it did is asked anew when that is over.
            self._known.pop(name, None)
            return Passage(name, credential.held_for)
        known = await self._find(credential)
        network = network_of(address)
        is_elsewhere = known.is_settled and network not in known.own_networks
        count = Count(len(recipients), len(recipients) if is_elsewhere else 0, known.circle.count_strangers(recipients))
        suspicion = misuse.judge(self._habits(known, credential), _last_hour(known, count))
        if suspicion is not None:
            return Passage(name, await self._begin(name, known.account_id, suspicion, network))
        known.untold.add(count)
        if len(known.networks) < _NETWORKS_AT_ONCE:
            known.networks.add(network)
        known.circle_grew |= known.circle.add(recipients)
        return Passage(name, count=count)

    def give_back(self, passage: Passage) -> None:
        """The mail was refused after all."""
        known = self._known.get(passage.user_name)
        if passage.count is not None and known is not None:
            known.untold.add(passage.count, -1)

    def note(self, passage: Passage, recipient_ids: Iterable[UUID]) -> None:
        """The mail was accepted: what becomes of these is looked at later."""
        known = self._known.get(passage.user_name)
        if passage.count is not None and known is not None:
            known.sample.extend(recipient_ids)

    def _habits(self, known: _Known, credential: SmtpCredential) -> Habits:
        kept = known.kept
        return Habits(known.is_settled, kept.busiest_recipients, kept.busiest_strangers, credential.trusted_per_hour, self._first_allowance)

    # --- PostgreSQL

    async def _find(self, credential: SmtpCredential) -> _Known:
        name = credential.user_name
        known = self._known.get(name)
        age = time.monotonic() - known.read_at if known is not None else REFRESH_SECONDS
        if known is not None and age < AHEAD_SECONDS:
            return known
        task = self._reading.get(name)
        if task is None:
            task = self._reading[name] = asyncio.create_task(self._read(name, credential.sender.account_id))
            task.add_done_callback(lambda done: self._has_read(name, done))
        if known is not None and age < REFRESH_SECONDS:
            return known
        try:
            return await asyncio.shield(task)
        except CONNECTION_ERRORS as error:
            if known is not None:
                return known
            raise away() from error

    def _has_read(self, name: str, done: asyncio.Task[_Known]) -> None:
        self._reading.pop(name, None)
        if not done.cancelled():
            done.exception()  # who waits for it has it; beside a mail nobody does, and the next one reads again

    async def _read(self, name: str, account_id: int) -> _Known:
        async with self._lock, self._database.hot() as connection:
            kept = await store.credential_habits.read_habits(connection, name)
            known, now = self._known.get(name), time.monotonic()
            with_circle = known is None or now - known.circle_at > _CIRCLE_SECONDS
            circle = await store.credential_habits.read_circle(connection, name) if with_circle else None
            seen = ((each.network, each.first_seen_at, each.trusted) for each in kept.networks)
            is_settled, own = misuse.known_networks(kept.now, seen)
            known = self._known.get(name)
            if known is None:
                known = self._known[name] = _Known(account_id, kept, is_settled, own, Circle(name, circle), now, now)
                self._forget_oldest()
                return known
            known.kept, known.is_settled, known.own_networks, known.read_at, known.told = kept, is_settled, own, now, Count()
            if circle is not None:
                known.circle.merge(circle)
            if with_circle:
                known.circle_at = now
            self._known.move_to_end(name)
            return known

    def _forget_oldest(self) -> None:
        if len(self._known) > _REMEMBERED:
            name, known = next(iter(self._known.items()))
            if known.untold.recipients == 0:
                del self._known[name]

    async def flush(self) -> None:
        """Write what was let through since the last time: one row for each credential."""
        async with self._lock:
            some = {name: known for name, known in self._known.items() if known.networks or known.circle_grew or known.untold.recipients}
            if not some:
                return
            written = {name: Count(k.untold.recipients, k.untold.elsewhere, k.untold.strangers) for name, k in some.items()}
            networks = {name: set(known.networks) for name, known in some.items()}
            grown = [(name, bytes(known.circle)) for name, known in some.items() if known.circle_grew]
            for known in some.values():
                known.circle_grew = False
            try:
                async with self._database.hot() as connection, connection.transaction():
                    rows = [Sent(name, max(c.recipients, 0), max(c.elsewhere, 0), max(c.strangers, 0)) for name, c in written.items()]
                    await store.credential_habits.add_sent(connection, rows)
                    await store.credential_habits.see_networks(connection, [(name, net) for name in networks for net in networks[name]])
                    if grown:
                        await store.credential_habits.widen_circles(connection, grown)
            except BaseException:
                for name, _ in grown:
                    some[name].circle_grew = True
                raise
            for name, known in some.items():
                known.untold.add(written[name], -1)
                known.told.add(written[name])
                known.networks -= networks[name]

    async def look(self) -> None:
        """What became of the latest recipients: many that do not exist are a sign of their own."""
        samples = [(n, k.account_id, id_) for n, k in self._known.items() if len(k.sample) >= misuse.DEAD_LEAST for id_ in k.sample]
        if not samples:
            return
        async with self._database.hot() as connection:
            found = await store.credential_habits.look_back(connection, samples)
        for name, (settled, dead) in found.items():
            suspicion, known = misuse.judge_outcomes(settled, dead), self._known.get(name)
            if suspicion is not None and known is not None:
                await self._begin(name, known.account_id, suspicion, None)

    async def _begin(self, name: str, account_id: int, suspicion: Suspicion, network: str | None) -> str:
        """Open an incident, or find the one that another mail has opened; why its mail is held."""
        reason = f"credential {name}: {suspicion.words}"
        async with refusing_while_away():
            await self.flush()
            async with self._database.hot() as connection, connection.transaction():
                incident, is_new = await store.incidents.open_incident(connection, account_id, name, reason, network)
                if is_new:
                    await tell_held(connection, incident, suspicion.kind)
        if is_new:
            log.credential_held(name, suspicion.kind, mark_of(incident.id))
            self._wakes.tell_events({account_id})
        self._known.pop(name, None)
        self._credentials.forget(name)
        return f"{mark_of(incident.id)}, {incident.reason}"


def _last_hour(known: _Known, count: Count) -> LastHour:
    kept, told, untold = known.kept, known.told, known.untold
    return LastHour(
        kept.last_recipients + told.recipients + untold.recipients + count.recipients,
        kept.last_elsewhere + told.elsewhere + untold.elsewhere + count.elsewhere,
        kept.last_strangers + told.strangers + untold.strangers + count.strangers,
    )
