"""Submission (RFC 6409): log-in under TLS, envelope, content, and the 250 when the message is committed."""

from __future__ import annotations

import asyncio
import base64
import binascii
import ssl
from dataclasses import dataclass, field

from app.accounts.smtp_credentials import SmtpCredential
from app.errors import RelayError
from app.intake.raw import EnvelopeRecipient, RawSubmission
from app.smtpd.connection import LONGEST_COMMAND, Connection
from app.smtpd.content import Incoming, read_to_end, tidy
from app.smtpd.door import SubmissionDoor
from app.smtpd.parameters import MailFrom, RcptTo, read_mail, read_rcpt
from app.smtpd.replies import Refusal, launder, reply_to
from app.store.ids import public_id

_LOGIN_FAILURES = 3


@dataclass(slots=True)
class _Transaction:
    """From MAIL to the end of DATA."""

    mail: MailFrom
    recipients: list[RcptTo] = field(default_factory=list)


class Submission(Connection):
    """A connection whose client hands in mail."""

    door: SubmissionDoor

    def __init__(self, door: SubmissionDoor, tls: ssl.SSLContext) -> None:
        super().__init__(door, tls)
        self._credential: SmtpCredential | None = None
        self._transaction: _Transaction | None = None
        self._login_failures = 0

    def give_up_transaction(self) -> None:
        self._transaction = None

    @property
    def is_idle(self) -> bool:
        return self._transaction is None

    @property
    def offers(self) -> list[str]:
        return [*super().offers, "DSN", *(["AUTH PLAIN LOGIN"] if self.is_private else [])]

    # --- TLS and log-in

    async def smtp_AUTH(self, argument: str | None) -> None:  # noqa: N802
        if not self.is_private:
            raise Refusal("538 5.7.11 Begin TLS first: log-in in the clear is not accepted")
        if not self.has_greeted:
            raise Refusal("503 5.5.1 Say EHLO first")
        if self._credential is not None or self._transaction is not None:
            raise Refusal("503 5.5.1 AUTH comes once, and before MAIL")
        mechanism, _, initial = (argument or "").partition(" ")
        try:
            if mechanism.upper() == "PLAIN":
                user_name, password = await self._read_plain(initial.strip())
            elif mechanism.upper() == "LOGIN":
                user_name, password = await self._read_login(initial.strip())
            else:
                raise Refusal("504 5.5.4 Only AUTH PLAIN and AUTH LOGIN are understood")
            self._credential = await self.door.logins.verify(user_name, password, self.address, self.place)
        except Refusal as refusal:
            self._login_failures += refusal.reply.startswith("535")
            if self._login_failures >= _LOGIN_FAILURES or refusal.reply.startswith("454"):
                await self.say(launder(refusal.reply))
                raise Refusal("421 4.7.0 Too many failed log-ins") from refusal
            raise
        self.door.crowd.introduce(self, _holder(self._credential))
        self.set_deadline(self.door.session_seconds)
        await self.push("235 2.7.0 Welcome")

    async def _read_plain(self, initial: str) -> tuple[str, str]:
        """RFC 4616: authorization identity, user name and password, parted by NUL."""
        parts = (_decode(initial) if initial else await self._ask("")).split(b"\0")
        if len(parts) != 3:
            raise Refusal("501 5.5.2 AUTH PLAIN wants NUL, user name, NUL, password, in base64")
        acting_for, user_name, password = (part.decode("utf-8", "surrogateescape") for part in parts)
        if acting_for not in {"", user_name}:
            raise Refusal("535 5.7.8 Nobody may act for another user here")
        return user_name, password

    async def _read_login(self, initial: str) -> tuple[str, str]:
        """The way of old programs and of Outlook; the user name may stand on the first line."""
        user_name = _decode(initial) if initial else await self._ask("Username:")
        password = await self._ask("Password:")
        return user_name.decode("utf-8", "surrogateescape"), password.decode("utf-8", "surrogateescape")

    async def _ask(self, challenge: str) -> bytes:
        await self.say(f"334 {base64.b64encode(challenge.encode()).decode()}")
        line = (await self._reader.readuntil()).strip()
        self._reset_timeout()
        if len(line) > LONGEST_COMMAND:
            raise Refusal("500 5.5.6 The line is too long")
        if line == b"*":
            raise Refusal("501 5.7.0 The log-in was given up")
        return _decode(line.decode("ascii", "replace"))

    # --- envelope

    async def smtp_MAIL(self, argument: str | None) -> None:  # noqa: N802
        self.idle_commands += 1
        credential = self._require_login()
        if self._transaction is not None:
            raise Refusal("503 5.5.1 There is a message under way: RSET gives it up")
        if self.door.closing:
            raise Refusal("421 4.3.2 The server stops: connect again in a moment")
        mail = read_mail(argument or "")
        if mail.size_bytes is not None and mail.size_bytes > self.door.most_bytes:
            raise Refusal(f"552 5.3.4 The message has {mail.size_bytes} octets; at most {self.door.most_bytes} are allowed")
        # A session may be hours old: what holds for its credential is looked up again.
        credential = self._credential = await self.door.logins.is_still_good(credential)
        try:
            credential.sender.require("messages:send")
        except RelayError as error:
            raise Refusal(reply_to(error)) from error
        self._transaction = _Transaction(mail)
        await self.push("250 2.1.0 OK")

    async def smtp_RCPT(self, argument: str | None) -> None:  # noqa: N802
        credential = self._require_login()
        transaction = self._transaction
        if transaction is None:
            raise Refusal("503 5.5.1 Say MAIL FROM first")
        try:
            recipient = read_rcpt(argument or "", utf8=transaction.mail.utf8)
            if len(transaction.recipients) >= self.door.most_recipients:
                # RFC 5321 §4.5.3.1.10: the client sends the rest in another transaction.
                raise Refusal(f"452 4.5.3 At most {self.door.most_recipients} recipients are taken at once: send to the others afterwards")
            await self.door.rates.take(credential)
        except Refusal:
            self.errors -= 1  # a list may hold many bad addresses, and is sent to the good ones
            raise
        transaction.recipients.append(recipient)
        await self.push("250 2.1.5 OK")

    def _require_login(self) -> SmtpCredential:
        if not self.is_private:
            raise Refusal("530 5.7.0 Begin TLS first (STARTTLS), then log in")
        if self._credential is None:
            raise Refusal("530 5.7.0 Log in first, with an SMTP user name and its password")
        return self._credential

    # --- content

    async def smtp_DATA(self, argument: str | None) -> None:  # noqa: N802
        credential = self._require_login()
        transaction = self._transaction
        if transaction is None or not transaction.recipients:
            raise Refusal("503 5.5.1 There is no recipient yet" if transaction is not None else "503 5.5.1 Say MAIL FROM first")
        if argument:
            raise Refusal("501 5.5.4 DATA stands alone")
        await self.say("354 End with a line that has only a dot")
        reply = await self._take_message(credential, transaction)
        self._transaction = None
        await self.push(reply)

    async def _take_message(self, credential: SmtpCredential, transaction: _Transaction) -> str:
        """Read the content and hand it in; the reply to it."""
        coming = Incoming(self.door.room, _holder(credential), self.door.most_bytes)
        guard, passage = self.door.guard, None
        try:
            await read_to_end(self._reader, lambda piece: self._take(coming, piece))
            raw = tidy(coming.whole())
            mail = transaction.mail
            # A content may take an hour to come: what holds for the credential now decides.
            credential = self._credential = await self.door.logins.is_still_good(credential)
            passage = await guard.admit(credential, self.address, [each.address for each in transaction.recipients])
            submission = RawSubmission(
                raw=raw,
                envelope_from=mail.address,
                recipients=tuple(EnvelopeRecipient(each.address, each.notify, each.original) for each in transaction.recipients),
                ret=mail.ret,
                envelope_id=mail.envelope_id,
                allowed_from=credential.allowed_from,
                tells_failures=credential.tells_failures,
                stream=credential.stream,
                held_for=passage.held_for,
                protocol="UTF8SMTPSA" if mail.utf8 else "ESMTPSA",
                greeted_as=self.helo,
                is_tidy=True,
            )
            self.is_committing = True
            # A client that goes now has its message taken all the same: the commit may be under way.
            receipt = await asyncio.shield(asyncio.ensure_future(self.door.submit(credential.sender, submission)))
        except Refusal as refusal:
            return refusal.reply
        except RelayError as error:
            if passage is not None:
                guard.give_back(passage)
            return reply_to(error)
        finally:
            self.is_committing = False
            coming.give_back()
        guard.note(passage, [each.id for each in receipt.recipients])
        self.errors = self.idle_commands = 0
        return f"250 2.0.0 Accepted as {public_id('msg', receipt.message_id)}"

    def _take(self, coming: Incoming, piece: bytes) -> None:
        # A piece is 64 KB or the rest: octets that come more slowly than that in the time of silence are none.
        self._reset_timeout()
        coming.take(piece)


def _holder(credential: SmtpCredential) -> str:
    """Whose share of the door it uses: one account's credentials are one holder."""
    return f"account {credential.sender.account_id}"


def _decode(text: str) -> bytes:
    if text == "=":  # RFC 4954 §4: an initial response that is there, and empty
        return b""
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Refusal("501 5.5.2 That is no base64") from error
