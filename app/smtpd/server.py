"""The sockets of the SMTP doors, in the loop of whoever starts them: submission with STARTTLS and with TLS from the first octet, returns.

Stopping: no new connections, sessions between two messages are told to come back, those with a message under way get their answer
first, within the patience of whoever stops.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial

from app.accounts.credentials import Sender
from app.accounts.guard import Guard
from app.accounts.smtp_credentials import SmtpCredentialBook
from app.config import Settings
from app.feedback.arrivals import Arrivals
from app.intake.raw import RawSubmission
from app.intake.submit import Receipt
from app.smtpd import figures
from app.smtpd.certificate import Certificate
from app.smtpd.crowd import Crowd, Guest
from app.smtpd.door import ReturnDoor, Room, SubmissionDoor
from app.smtpd.handshake import TlsPort
from app.smtpd.login import Logins
from app.smtpd.rates import Rates
from app.smtpd.returns import Return
from app.smtpd.submission import Submission
from app.sockets import listen
from app.tally import Tally

_BACKLOG = 512
_LOOK_SECONDS = 0.05


@dataclass(slots=True)
class Listeners:
    """Listening sockets: they can be opened before there is a loop, and be shared by processes."""

    starttls: list[socket.socket] = field(default_factory=list)
    tls: list[socket.socket] = field(default_factory=list)
    returns: list[socket.socket] = field(default_factory=list)

    @classmethod
    def open(cls, host: str, starttls: Sequence[int], tls: Sequence[int], returns: Sequence[int] = ()) -> Listeners:
        """Listen on all of them; OSError, with the port in its words, when one cannot be had."""
        opened = cls()
        try:
            for ports, kept in ((starttls, opened.starttls), (tls, opened.tls), (returns, opened.returns)):
                for port in ports:
                    kept.append(listen(host, port, _BACKLOG))
        except OSError:
            opened.close()
            raise
        return opened

    def close(self) -> None:
        for each in (*self.starttls, *self.tls, *self.returns):
            each.close()


class SmtpServer:
    """The sessions of one process; `door` and `return_door` are what they share."""

    def __init__(
        self,
        settings: Settings,
        submit: Callable[[Sender, RawSubmission], Awaitable[Receipt]],
        credentials: SmtpCredentialBook,
        certificate: Certificate,
        arrivals: Arrivals,
        guard: Guard,
        tally: Tally,
        *,
        refusal_seconds: float = 0.5,
    ) -> None:
        self.door = SubmissionDoor(
            hostname=settings.submission_name or settings.helo_name,
            submit=submit,
            logins=Logins(credentials, tally, refusal_seconds=refusal_seconds),
            rates=Rates(tally),
            guard=guard,
            crowd=Crowd(settings.submission_connections, settings.submission_connections_per_address),
            room=Room(settings.submission_bytes),
            most_bytes=settings.max_message_bytes,
            most_recipients=settings.max_recipients,
            login_seconds=settings.submission_login_seconds,
            idle_seconds=settings.submission_idle_seconds,
            session_seconds=settings.submission_session_seconds,
        )
        # A crowd of its own: whoever floods the one door drives nobody out of the other.
        self.return_door = ReturnDoor(
            hostname=settings.helo_name,
            find=arrivals.find,
            take=arrivals.take,
            crowd=Crowd(settings.return_connections, settings.return_connections_per_address),
            room=Room(settings.return_bytes),
            most_bytes=max(settings.inbound_most_bytes, settings.return_most_bytes),
            most_report_bytes=settings.return_most_bytes,
            login_seconds=settings.submission_login_seconds,
            idle_seconds=settings.submission_idle_seconds,
            session_seconds=settings.submission_session_seconds,
        )
        for door in (self.door, self.return_door):
            figures.sessions.labels(door.name).set_function(partial(len, door.crowd.guests))
            figures.accepted.labels(door.name)  # 0 is a figure, too
        self._certificate = certificate
        self._servers: list[asyncio.Server | TlsPort] = []
        self._watch: asyncio.Task[None] | None = None

    async def start(self, listeners: Listeners) -> None:
        """Take connections from now on."""
        loop, context = asyncio.get_running_loop(), self._certificate.context
        for each in listeners.starttls:
            self._servers.append(await loop.create_server(lambda: Submission(self.door, context), sock=each, backlog=_BACKLOG))
        for each in listeners.returns:
            self._servers.append(await loop.create_server(lambda: Return(self.return_door, context), sock=each, backlog=_BACKLOG))
        self._servers += [TlsPort(each, lambda: Submission(self.door, context), context) for each in listeners.tls]
        self._watch = asyncio.create_task(self._certificate.watch(), name="certificate")

    async def close(self, patience_seconds: float) -> None:
        """Take no more, let messages under way be answered, end."""
        self.door.closing = self.return_door.closing = True
        for server in self._servers:
            server.close()
        if self._watch is not None:
            self._watch.cancel()
        for guest in self._guests():
            guest.close_soon()
        until = asyncio.get_running_loop().time() + patience_seconds
        while self._guests() and asyncio.get_running_loop().time() < until:  # noqa: ASYNC110  (only when stopping)
            await asyncio.sleep(_LOOK_SECONDS)
        for guest in self._guests():
            with suppress(OSError):
                guest.abort()

    def _guests(self) -> list[Guest]:
        return [*self.door.crowd.guests, *self.return_door.crowd.guests]
