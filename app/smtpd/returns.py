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

from app import log
from app.feedback.arrivals import Destination, InboundAddress
from app.feedback.reports import Taken
from app.mail.inbound_trace import MOST_RECEIVED, Origin, goes_in_circles
from app.smtpd import figures
from app.smtpd.content import Incoming, unstuffed
from app.smtpd.door import ReturnDoor
from app.smtpd.parameters import read_rcpt
from app.smtpd.replies import Refusal, reply_to
from app.smtpd.transaction import Receiving, Transaction
from app.store.db import AWAY, away

# Each return path is of one mail: who names many at once is no host that brings one back.
_MOST_RETURN_PATHS = 10
_MOST_RECIPIENTS = 100  # RFC 5321 §4.5.3.1.8


class Return(Receiving):
    """A connection of a host that brings mail."""

    door: ReturnDoor
    transaction: Transaction[Destination] | None

    async def smtp_AUTH(self, _argument: str | None) -> None:  # noqa: N802
        raise Refusal("502 5.5.1 Nobody logs in here: mail programs send by the submission ports")

    async def smtp_RCPT(self, argument: str | None) -> None:  # noqa: N802
        transaction = self.require_transaction()
        recipient = read_rcpt(argument or "", utf8=transaction.mail.utf8)
        found = await self.door.find(recipient.address)
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

    @property
    def most_bytes(self) -> int:
        is_inbound = self.transaction is not None and any(isinstance(one, InboundAddress) for one in self.transaction.recipients)
        return self.door.most_bytes if is_inbound else self.door.most_report_bytes

    async def take_message(self, transaction: Transaction[Destination], content: Incoming) -> str:
        """Read the content and keep it for each recipient; the reply to it."""
        raw = unstuffed(content.whole())
        if goes_in_circles(raw):
            raise Refusal(f"554 5.4.6 The mail goes in circles: it has passed more than {MOST_RECEIVED} hosts")
        origin = Origin(transaction.mail.address, self.address, self.helo, self.is_private)
        self.is_committing = True
        try:
            # What is recorded of one recipient is known when it comes again for another.
            fates = [await asyncio.shield(asyncio.ensure_future(self.door.take(each, origin, raw))) for each in transaction.recipients]
        except AWAY as error:
            log.loop_failed("returns", error)
            raise Refusal(reply_to(away())) from error
        if Taken.LATER in fates:
            return "451 4.3.0 The mail that this is about is not settled yet: try again later"
        figures.accepted.labels(self.door.name).inc()
        return "250 2.0.0 Thank you"
