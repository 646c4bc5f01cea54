"""The course of a message: MAIL, its recipients, DATA, and the reply when all of it is there.

Who may send, to whom, and what becomes of the message say `submission` and `returns`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from app.smtpd.connection import STOPPING, Connection
from app.smtpd.content import Incoming, read_to_end
from app.smtpd.parameters import MailFrom, read_mail
from app.smtpd.replies import Refusal

_Recipient = TypeVar("_Recipient")


@dataclass(slots=True)
class Transaction(Generic[_Recipient]):
    """A message under way: from MAIL to the end of DATA."""

    mail: MailFrom
    recipients: list[_Recipient] = field(default_factory=list)


class Receiving(Connection):
    """A connection on which messages come in."""

    transaction: Transaction[Any] | None

    async def smtp_MAIL(self, argument: str | None) -> None:  # noqa: N802
        await self.begin(self.read_mail(argument))

    async def smtp_DATA(self, argument: str | None) -> None:  # noqa: N802
        transaction = self.require_transaction()
        if not transaction.recipients:
            raise Refusal("503 5.5.1 There is no recipient yet")
        if argument:
            raise Refusal("501 5.5.4 DATA stands alone")
        await self.say("354 End with a line that has only a dot")
        coming = Incoming(self.door.room, self.holder, self.most_bytes)
        try:
            await read_to_end(self._reader, lambda piece: self._take(coming, piece))
            reply = await self.take_message(transaction, coming)
        finally:
            self.is_committing = False
            self.transaction = None
            coming.give_back()
        self.errors = self.idle_commands = 0
        await self.push(reply)

    async def take_message(self, transaction: Transaction[Any], content: Incoming) -> str:
        """Hand in what came; the reply to it, or a refusal."""
        raise NotImplementedError

    def read_mail(self, argument: str | None) -> MailFrom:
        """What MAIL says, where a message may begin."""
        self.idle_commands += 1
        self.require_welcome()
        if self.transaction is not None:
            raise Refusal("503 5.5.1 There is a message under way: RSET gives it up")
        if self.door.closing:
            raise Refusal(STOPPING)
        mail = read_mail(argument or "")
        if mail.size_bytes is not None and mail.size_bytes > self.door.most_bytes:
            raise Refusal(f"552 5.3.4 The message has {mail.size_bytes} octets; at most {self.door.most_bytes} are allowed")
        return mail

    async def begin(self, mail: MailFrom) -> None:
        self.transaction = Transaction(mail)
        await self.push("250 2.1.0 OK")

    def require_welcome(self) -> None:
        """Refuse who may not send yet."""
        if not self.has_greeted:
            raise Refusal("503 5.5.1 Say EHLO first")

    def require_transaction(self) -> Transaction[Any]:
        self.require_welcome()
        if self.transaction is None:
            raise Refusal("503 5.5.1 Say MAIL FROM first")
        return self.transaction

    @property
    def most_bytes(self) -> int:
        """Of the message under way."""
        return self.door.most_bytes

    @property
    def holder(self) -> str:
        """Whose share of the door's room the message under way takes."""
        return self.place

    def _take(self, coming: Incoming, piece: bytes) -> None:
        # A piece is 64 KB or the rest: octets that come more slowly than that in the time of silence are none.
        self._reset_timeout()
        coming.take(piece)
