"""What the sessions of one process share: where messages go, who is here, how much may be held, how long things may take."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from app.accounts.credentials import Sender
from app.intake.raw import RawSubmission
from app.intake.submit import Receipt
from app.smtpd.crowd import Crowd
from app.smtpd.login import Logins, Rates


class Room:
    """Bytes of unfinished messages that this process may hold."""

    def __init__(self, most: int) -> None:
        self.left = most

    def take(self, count: int) -> bool:
        if count > self.left:
            return False
        self.left -= count
        return True

    def give_back(self, count: int) -> None:
        self.left += count


@dataclass(slots=True)
class Door:
    """What all sessions of a process share."""

    hostname: str
    submit: Callable[[Sender, RawSubmission], Awaitable[Receipt]]
    logins: Logins
    rates: Rates
    crowd: Crowd
    room: Room
    most_bytes: int
    most_recipients: int
    login_seconds: float
    idle_seconds: float
    session_seconds: float
    closing: bool = False
