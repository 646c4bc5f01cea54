"""Who may log in, and how often one may guess.

A guess is hopeless (214 bits), so the limits here spare the database and the log, and tell people with a mistyped password soon:

* from one address ten wrong passwords in ten minutes, for one user name fifty from wherever; what comes then is not looked at until
  they are over;
* an address that has logged in as a user name within the last day has ten for that name whatever others do: who guesses at somebody's
  password, from many addresses or from the next desk, does not lock its owner out.

Every "no" takes the same time, whether the user name is there or not. Memory is of this process, and bounded: what is driven out by a flood
is the oldest failure, never a success.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable

from app import log
from app.accounts.smtp_credentials import SmtpCredential, SmtpCredentialBook
from app.errors import RelayError
from app.smtpd.replies import Refusal, reply_to

WINDOW_SECONDS = 600.0
FAILURES_PER_PLACE = 10
FAILURES_PER_NAME = 50
_KNOWN_SECONDS = 86_400.0
_REMEMBERED = 30_000
_LONGEST_NAME = 64
_WRONG = "535 5.7.8 The user name or the password is wrong, or the credential was revoked"


class Logins:
    """The log-ins of one process."""

    def __init__(
        self, credentials: SmtpCredentialBook, *, refusal_seconds: float = 0.5, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._credentials = credentials
        self._refusal_seconds = refusal_seconds
        self._clock = clock
        self._failures: OrderedDict[Hashable, list[float]] = OrderedDict()
        self._successes: OrderedDict[tuple[str, str], float] = OrderedDict()

    async def verify(self, user_name: str, password: str, address: str, place: str) -> SmtpCredential:
        """The credential of who logs in from this address; raises Refusal."""
        began = time.monotonic()
        self._refuse_guessers(user_name, place)
        try:
            found = await self._credentials.verify(user_name, password)
        except RelayError as error:
            raise Refusal(reply_to(error)) from error
        if found is not None and found.may_be_used_from(address):
            self._remember_success(found.user_name, place)
            return found
        self._remember_failure(user_name, place)
        log.login_refused(address, user_name if found is not None else None)
        await asyncio.sleep(max(0.0, began + self._refusal_seconds - time.monotonic()))
        raise Refusal(f"535 5.7.8 This credential may not be used from {address}" if found is not None else _WRONG)

    async def is_still_good(self, credential: SmtpCredential) -> SmtpCredential:
        """The credential as it is now; raises Refusal when it is no more."""
        try:
            found = await self._credentials.find(credential.user_name)
        except RelayError as error:
            raise Refusal(reply_to(error)) from error
        if found is None or found.secret_hash != credential.secret_hash:
            raise Refusal("421 4.7.0 The credential was revoked")
        return found

    def _refuse_guessers(self, user_name: str, place: str) -> None:
        now = self._clock()
        known = self._successes.get((user_name, place), 0.0) > now
        own = ("both", user_name[:_LONGEST_NAME], place) if known else ("place", place)
        if self._count(own, now) >= FAILURES_PER_PLACE:
            raise Refusal("454 4.7.0 Too many wrong passwords from your address: try again in ten minutes")
        if not known and self._count(("name", user_name[:_LONGEST_NAME]), now) >= FAILURES_PER_NAME:
            raise Refusal("454 4.7.0 Too many wrong passwords for this user name: try again in ten minutes")

    def _count(self, key: Hashable, now: float) -> int:
        return sum(at > now - WINDOW_SECONDS for at in self._failures.get(key, ()))

    def _remember_failure(self, user_name: str, place: str) -> None:
        now = self._clock()
        name = user_name[:_LONGEST_NAME]
        places = ((("place", place), FAILURES_PER_PLACE), (("both", name, place), FAILURES_PER_PLACE))
        for key, most in (*places, (("name", name), FAILURES_PER_NAME)):
            self._failures[key] = [*self._failures.get(key, ()), now][-most:]
            self._failures.move_to_end(key)
        while len(self._failures) > _REMEMBERED:
            self._failures.popitem(last=False)

    def _remember_success(self, user_name: str, place: str) -> None:
        self._successes[user_name, place] = self._clock() + _KNOWN_SECONDS
        self._successes.move_to_end((user_name, place))
        if len(self._successes) > _REMEMBERED:
            self._successes.popitem(last=False)


class Rates:
    """How many recipients a minute each credential has left: a bucket that holds a minute's worth."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, credential: SmtpCredential) -> None:
        """One more recipient; raises Refusal when the minute is used up."""
        most = credential.recipients_per_minute
        if most is None:
            return
        now = self._clock()
        left, at = self._left.get(credential.user_name, (float(most), now))
        left = min(float(most), left + (now - at) * most / 60.0)
        if left < 1.0:
            wait = max(1, round((1.0 - left) * 60.0 / most))
            raise Refusal(f"451 4.7.1 This credential may send to {most} recipients a minute: try again in {wait} s")
        self._left[credential.user_name] = (left - 1.0, now)
        self._left.move_to_end(credential.user_name)
        if len(self._left) > _REMEMBERED:
            self._left.popitem(last=False)
