"""What the sessions of one process share: where messages go, who is here, how much may be held, how long things may take."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import ClassVar

from app.accounts.credentials import Sender
from app.accounts.guard import Guard
from app.feedback.arrivals import Destination
from app.feedback.reports import Taken
from app.intake.raw import RawSubmission
from app.intake.submit import Receipt
from app.mail.inbound_trace import Origin
from app.smtpd.crowd import Crowd
from app.smtpd.login import Logins
from app.smtpd.rates import Rates


class Room:
    """Bytes of unfinished messages that this process may hold. Nobody holds more than what is left for all others: alone half of it.

    A holder is an account, or the address of a host that nobody knows.
    """

    def __init__(self, most: int) -> None:
        self.left = most
        self._half = most // 2
        self._held: dict[str, int] = {}

    @property
    def is_scarce(self) -> bool:
        """Whether who takes his time should rather come again."""
        return self.left < self._half

    def take(self, holder: str, count: int) -> bool:
        held = self._held.get(holder, 0) + count
        if held > self.left - count:
            return False
        self.left -= count
        self._held[holder] = held
        return True

    def give_back(self, holder: str, count: int) -> None:
        self.left += count
        held = self._held.pop(holder, 0) - count
        if held > 0:
            self._held[holder] = held


@dataclass(slots=True)
class Door:
    """What all connections of a process have in common, whatever they come for."""

    name: ClassVar[str]
    hostname: str
    crowd: Crowd
    room: Room
    most_bytes: int
    login_seconds: float  # until it is known to be worth its place
    idle_seconds: float
    session_seconds: float
    closing: bool = field(default=False, kw_only=True)


@dataclass(slots=True)
class SubmissionDoor(Door):
    """For mail programs."""

    name = "submission"
    submit: Callable[[Sender, RawSubmission], Awaitable[Receipt]]
    logins: Logins
    rates: Rates
    guard: Guard
    most_recipients: int


@dataclass(slots=True)
class ReturnDoor(Door):
    """For hosts that bring mail: `find` says what an address of ours is for; `take` takes a mail. Reports are shorter than mail."""

    name = "returns"
    find: Callable[[str], Awaitable[Destination | None]]
    take: Callable[[Destination, Origin, bytes], Awaitable[Taken]]
    most_report_bytes: int
