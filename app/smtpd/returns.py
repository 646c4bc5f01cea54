"""Port 25, for other hosts that bring mail: to return paths, to the address for complaints, to addresses at which accounts receive.

An address that is none of ours is refused while the other host still has its mail, so nothing is ever bounced from here
(backscatter). What a mail is for and what becomes of it say feedback.arrivals; the 250 follows the commit, and
where our own books are not as far the host is asked to come again. Anybody may connect; who names an address that holds keeps his place
when it gets crowded. That sender and content are who they say they are is asked later, and refuses nothing.

`postmaster` is taken where a domain has routes (RFC 5321 §4.5.1). At the domain of the return paths it is somebody's only if the operator
makes a route for it.
"""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass, field

from sqlalchemy.exc import DBAPIError

from app import log
from app.errors import RelayError
from app.feedback.arrivals import Destination, InboundAddress
from app.feedback.reports import Taken
from app.mail.inbound_trace import MOST_RECEIVED, Origin, goes_in_circles
from app.smtpd.connection import Connection
from app.smtpd.content import Incoming, read_to_end, unstuffed
from app.smtpd.door import ReturnDoor
from app.smtpd.parameters import read_mail, read_rcpt
from app.smtpd.replies import Refusal
from app.store.db import CONNECTION_ERRORS

_AWAY: tuple[type[BaseException], ...] = (*CONNECTION_ERRORS, DBAPIError)
# Each return path is of one mail: who names many at once is no host that brings one back.
_MOST_RETURN_PATHS = 10
_MOST_RECIPIENTS = 100  # RFC 5321 §4.5.3.1.8


@dataclass(slots=True)
class _Transaction:
    sender: str
    utf8: bool
    recipients: list[Destination] = field(default_factory=list)

    @property
    def is_inbound(self) -> bool:
        return any(isinstance(one, InboundAddress) for one in self.recipients)


class Return(Connection):
    """A connection of a host that brings mail."""

    door: ReturnDoor

    def __init__(self, door: ReturnDoor, tls: ssl.SSLContext) -> None:
        super().__init__(door, tls)
        self._transaction: _Transaction | None = None

    def give_up_transaction(self) -> None:
        self._transaction = None

    @property
    def is_idle(self) -> bool:
        return self._transaction is None

    async def smtp_AUTH(self, _argument: str | None) -> None:  # noqa: N802
        raise Refusal("502 5.5.1 Nobody logs in here: mail programs send by the submission ports")

    async def smtp_MAIL(self, argument: str | None) -> None:  # noqa: N802
        self.idle_commands += 1
        if not self.has_greeted:
            raise Refusal("503 5.5.1 Say EHLO first")
        if self._transaction is not None:
            raise Refusal("503 5.5.1 There is a message under way: RSET gives it up")
        mail = read_mail(argument or "")
        if mail.size_bytes is not None and mail.size_bytes > self.door.most_bytes:
            raise Refusal(f"552 5.3.4 The message has {mail.size_bytes} octets; at most {self.door.most_bytes} are allowed")
        self._transaction = _Transaction(mail.address, mail.utf8)
        await self.push("250 2.1.0 OK")

    async def smtp_RCPT(self, argument: str | None) -> None:  # noqa: N802
        transaction = self._transaction
        if transaction is None:
            raise Refusal("503 5.5.1 Say MAIL FROM first")
        recipient = read_rcpt(argument or "", utf8=transaction.utf8)
        found = await self._find(recipient.address)
        if found is None:
            raise Refusal("550 5.1.1 There is no such address here")
        most = _MOST_RECIPIENTS if isinstance(found, InboundAddress) else _MOST_RETURN_PATHS
        if len(transaction.recipients) >= most:
            raise Refusal("452 4.5.3 Too many recipients at once: send to the others afterwards")
        if not transaction.recipients:
            self.door.crowd.introduce(self, self.place)
            self.set_deadline(self.door.session_seconds)
        if found not in transaction.recipients:
            transaction.recipients.append(found)
        await self.push("250 2.1.5 OK")

    async def smtp_DATA(self, argument: str | None) -> None:  # noqa: N802
        transaction = self._transaction
        if transaction is None or not transaction.recipients:
            raise Refusal("503 5.5.1 There is no recipient yet" if transaction is not None else "503 5.5.1 Say MAIL FROM first")
        if argument:
            raise Refusal("501 5.5.4 DATA stands alone")
        await self.say("354 End with a line that has only a dot")
        reply = await self._take_message(transaction)
        self._transaction = None
        await self.push(reply)

    async def _find(self, address: str) -> Destination | None:
        try:
            return await self.door.find(address)
        except RelayError as error:
            raise Refusal(f"{error.smtp_reply} {error.message}") from error

    async def _take_message(self, transaction: _Transaction) -> str:
        most_bytes = self.door.most_bytes if transaction.is_inbound else self.door.most_report_bytes
        coming = Incoming(self.door.room, self.place, most_bytes)
        try:
            await read_to_end(self._reader, lambda piece: self._take(coming, piece))
            raw = unstuffed(coming.whole())
            if goes_in_circles(raw):
                raise Refusal(f"554 5.4.6 The mail goes in circles: it has passed more than {MOST_RECEIVED} hosts")
            origin = Origin(transaction.sender, self.address, self.helo, self.is_private)
            self.is_committing = True
            # What is recorded of one recipient is known when it comes again for another.
            fates = [await asyncio.shield(asyncio.ensure_future(self.door.take(each, origin, raw))) for each in transaction.recipients]
        except Refusal as refusal:
            return refusal.reply
        except _AWAY as error:
            log.loop_failed("returns", error)
            return "451 4.3.0 The database is not reachable: try again later"
        finally:
            self.is_committing = False
            coming.give_back()
        self.errors = self.idle_commands = 0
        if Taken.LATER in fates:
            return "451 4.3.0 The mail that this is about is not settled yet: try again later"
        return "250 2.0.0 Thank you"

    def _take(self, coming: Incoming, piece: bytes) -> None:
        self._reset_timeout()
        coming.take(piece)
