"""Submission (RFC 6409): log-in under TLS, envelope, content, and the 250 when the message is committed."""

from __future__ import annotations

import asyncio
import base64
import binascii
import ssl

from app.accounts.smtp_credentials import SmtpCredential
from app.errors import RelayError
from app.intake.raw import EnvelopeRecipient, RawSubmission
from app.smtpd import figures
from app.smtpd.connection import LONGEST_COMMAND
from app.smtpd.content import Incoming, tidy
from app.smtpd.door import SubmissionDoor
from app.smtpd.parameters import RcptTo, read_rcpt
from app.smtpd.replies import Refusal, launder
from app.smtpd.transaction import Receiving, Transaction
from app.store.ids import public_id

_LOGIN_FAILURES = 3


class Submission(Receiving):
    """A connection whose client hands in mail."""

    door: SubmissionDoor
    transaction: Transaction[RcptTo] | None

    def __init__(self, door: SubmissionDoor, tls: ssl.SSLContext) -> None:
        super().__init__(door, tls)
        self._credential: SmtpCredential | None = None
        self._login_failures = 0

    @property
    def offers(self) -> list[str]:
        return [*super().offers, "DSN", *(["AUTH PLAIN LOGIN"] if self.is_private else [])]

    # --- TLS and log-in

    async def smtp_AUTH(self, argument: str | None) -> None:  # noqa: N802
        if not self.is_private:
            raise Refusal("538 5.7.11 Begin TLS first: log-in in the clear is not accepted")
        if not self.has_greeted:
            raise Refusal("503 5.5.1 Say EHLO first")
        if self._credential is not None or self.transaction is not None:
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
        self.door.crowd.introduce(self, self.holder)
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
        mail = self.read_mail(argument)
        # A session may be hours old: what holds for its credential is looked up again.
        credential = await self._look_again()
        credential.sender.require("messages:send")
        await self.begin(mail)

    async def smtp_RCPT(self, argument: str | None) -> None:  # noqa: N802
        transaction = self.require_transaction()
        try:
            recipient = read_rcpt(argument or "", utf8=transaction.mail.utf8)
            if len(transaction.recipients) >= self.door.most_recipients:
                # RFC 5321 §4.5.3.1.10: the client sends the rest in another transaction.
                raise Refusal(f"452 4.5.3 At most {self.door.most_recipients} recipients are taken at once: send to the others afterwards")
            await self.door.rates.take(self._known_credential)
        except Refusal:
            self.errors -= 1  # a list may hold many bad addresses, and is sent to the good ones
            raise
        transaction.recipients.append(recipient)
        await self.push("250 2.1.5 OK")

    def require_welcome(self) -> None:
        if not self.is_private:
            raise Refusal("530 5.7.0 Begin TLS first (STARTTLS), then log in")
        if self._credential is None:
            raise Refusal("530 5.7.0 Log in first, with an SMTP user name and its password")

    @property
    def _known_credential(self) -> SmtpCredential:
        assert self._credential is not None  # `require_welcome` has seen to it
        return self._credential

    @property
    def holder(self) -> str:
        """One account's credentials are one holder."""
        return f"account {self._known_credential.sender.account_id}"

    async def _look_again(self) -> SmtpCredential:
        credential = self._credential = await self.door.logins.is_still_good(self._known_credential)
        return credential

    # --- content

    async def take_message(self, transaction: Transaction[RcptTo], content: Incoming) -> str:
        """Read the content and hand it in; the reply to it."""
        raw = tidy(content.whole())
        mail, guard = transaction.mail, self.door.guard
        # A content may take an hour to come: what holds for the credential now decides.
        credential = await self._look_again()
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
        try:
            # A client that goes now has its message taken all the same: the commit may be under way.
            receipt = await asyncio.shield(asyncio.ensure_future(self.door.submit(credential.sender, submission)))
        except RelayError:
            guard.give_back(passage)
            raise
        guard.note(passage, [each.id for each in receipt.recipients])
        figures.accepted.labels(self.door.name).inc()
        return f"250 2.0.0 Accepted as {public_id('msg', receipt.message_id)}"


def _decode(text: str) -> bytes:
    if text == "=":  # RFC 4954 §4: an initial response that is there, and empty
        return b""
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Refusal("501 5.5.2 That is no base64") from error
