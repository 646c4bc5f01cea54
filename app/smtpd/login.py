"""Who may log in, and how often one may guess.

A guess is hopeless (214 bits), so the limits here spare the database and the log, and tell people with a mistyped password soon. In ten
minutes, in all SMTP processes together:

* from one address ten wrong passwords, from one network (an IPv4 /24, an IPv6 /48) a hundred, for one user name fifty from wherever; what
  comes then is not looked at until they are over. Each "no" comes more slowly than the one before, up to sixteen times;
* who guesses at somebody's password, from many addresses or from the next desk, does not lock its owner out: an address that has logged
  in as a user name within the last day, and a network that its mail has come from for longer, have ten for that name whatever others do.

Every "no" takes the same time, whether the user name is there or not. The counts are shared by Valkey (app.tally) and kept here too: while
Valkey is away each process goes by what it has seen itself. This memory is bounded: what is driven out by a flood is the oldest failure,
never a success.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

from app import log
from app.accounts.smtp_credentials import SmtpCredential, SmtpCredentialBook
from app.ip import network_of
from app.recent import Recent
from app.smtpd import figures
from app.smtpd.replies import Refusal
from app.tally import Tally

WINDOW_SECONDS = 600.0
FAILURES_PER_PLACE = 10
FAILURES_PER_NETWORK = 100
FAILURES_PER_NAME = 50
_KNOWN_SECONDS = 86_400.0
_STRANGE_SECONDS = 60.0
_SLOWEST = 4  # doublings of the first delay
_REMEMBERED = 30_000
_WRONG = "535 5.7.8 The user name or the password is wrong, or the credential was revoked"


@dataclass(frozen=True, slots=True)
class _Guest:
    """Who tries: the names of what is counted about it."""

    place: str
    network: str
    name: str
    both: str
    known: str

    @property
    def counted(self) -> tuple[tuple[str, int], ...]:
        """What a failure counts for, and how many are of interest."""
        return (
            (self.place, FAILURES_PER_PLACE),
            (self.both, FAILURES_PER_PLACE),
            (self.network, FAILURES_PER_NETWORK),
            (self.name, FAILURES_PER_NAME),
        )


@dataclass(frozen=True, slots=True)
class Standing:
    """What is known of a guest: failures of its own, and whether it is no stranger to the user name."""

    failures: int
    is_known: bool


class Logins:
    """The log-ins of one process; the counts are those of all."""

    def __init__(
        self, credentials: SmtpCredentialBook, tally: Tally, *, refusal_seconds: float = 0.5, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._credentials = credentials
        self._tally = tally
        self._refusal_seconds = refusal_seconds
        self._clock = clock
        self._failures: Recent[str, list[float]] = Recent(_REMEMBERED)
        self._successes: Recent[str, float] = Recent(_REMEMBERED)
        self._strange: Recent[tuple[str, str], float] = Recent(_REMEMBERED)

    async def verify(self, user_name: str, password: str, address: str, place: str) -> SmtpCredential:
        """The credential of who logs in from this address; raises Refusal."""
        began = time.monotonic()
        guest = self._guest(user_name, address, place)
        standing = await self._refuse_guessers(guest, user_name, address)
        found = await self._credentials.verify(user_name, password)
        if found is not None and found.may_be_used_from(address):
            await self._remember_success(guest)
            return found
        self._remember_failure(guest)
        await self._tally.count([name for name, _ in guest.counted], int(WINDOW_SECONDS))
        figures.logins_refused.inc()
        log.login_refused(address, user_name if found is not None else None)
        delay = self._refusal_seconds * 2 ** min(standing.failures, _SLOWEST)
        await asyncio.sleep(max(0.0, began + delay - time.monotonic()))
        raise Refusal(f"535 5.7.8 This credential may not be used from {address}" if found is not None else _WRONG)

    async def is_still_good(self, credential: SmtpCredential) -> SmtpCredential:
        """The credential as it is now; raises Refusal when it is no more."""
        found = await self._credentials.find(credential.user_name)
        if found is None or found.secret_hash != credential.secret_hash:
            raise Refusal("421 4.7.0 The credential was revoked, or has another password")
        return found

    def _guest(self, user_name: str, address: str, place: str) -> _Guest:
        who = self._credentials.disguise(user_name)
        return _Guest(
            f"login:place:{place}", f"login:net:{network_of(address)}", f"login:name:{who}", f"login:both:{who}:{place}",
            f"login:known:{who}:{place}",
        )  # fmt: skip

    async def _refuse_guessers(self, guest: _Guest, user_name: str, address: str) -> Standing:
        names = [name for name, _ in guest.counted]
        shared = await self._tally.read([*names, guest.known]) or [0] * 5
        now = self._clock()
        place, both, network, name = (max(self._count(each, now), told) for each, told in zip(names, shared[:4], strict=True))
        is_known = self._successes.get(guest.known, 0.0) > now or shared[4] > 0
        is_over = place >= FAILURES_PER_PLACE or network >= FAILURES_PER_NETWORK or name >= FAILURES_PER_NAME
        if is_over and not is_known:
            is_known = await self._has_sent_from(user_name, network_of(address), now)
        own = both if is_known else place
        if own >= FAILURES_PER_PLACE or (not is_known and network >= FAILURES_PER_NETWORK):
            raise Refusal("454 4.7.0 Too many wrong passwords from your address: try again in ten minutes")
        if not is_known and name >= FAILURES_PER_NAME:
            raise Refusal("454 4.7.0 Too many wrong passwords for this user name: try again in ten minutes")
        return Standing(own, is_known)

    async def _has_sent_from(self, user_name: str, network: str, now: float) -> bool:
        """What PostgreSQL knows of a network that neither this process nor Valkey remembers; asked once a minute at most."""
        key = user_name[:64], network
        if self._strange.get(key, 0.0) > now:
            return False
        if await self._credentials.was_used_from(user_name, network):
            return True
        self._strange[key] = now + _STRANGE_SECONDS
        return False

    def _count(self, name: str, now: float) -> int:
        return sum(at > now - WINDOW_SECONDS for at in self._failures.get(name, ()))

    def _remember_failure(self, guest: _Guest) -> None:
        now = self._clock()
        for name, most in guest.counted:
            self._failures[name] = [*self._failures.get(name, ()), now][-most:]

    async def _remember_success(self, guest: _Guest) -> None:
        known_until = self._successes.get(guest.known, 0.0)
        if known_until <= self._clock() + _KNOWN_SECONDS / 2:
            await self._tally.remember({guest.known: int(_KNOWN_SECONDS)})
            known_until = self._clock() + _KNOWN_SECONDS
        self._successes[guest.known] = known_until
