"""Finished mail as it is handed to us: its bytes, its envelope, and what its sender wants to be told.

It enters by `Intake.submit_raw`, whichever door it came through, and is accepted like all other mail. What is asked of it here, before:

    who sends     each mailbox in From, Sender, Resent-From and Resent-Sender, and the envelope's own, lies in a domain of the account, and
                  is one that the credential may use; the null sender stands for nobody and is no lie
    who gets it   whom the envelope names and nobody else, To and Cc only tell who may be seen; without one, whom To, Cc and Bcc name
    how           the X-Staffetta-* fields (controls)
    who is told   the envelope's sender or X-Staffetta-Report-To, kept with each recipient (store.owed_reports)
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, replace

import orjson

from app.accounts.credentials import Sender
from app.accounts.domains import DomainBook
from app.errors import FieldError, InvalidMessage, SenderNotAllowed
from app.intake.controls import Controls, pointer_to_header, read_controls
from app.mail.address import domain_of, parse_mailbox, suppression_key
from app.mail.address_list import find_mailboxes, read_mailboxes
from app.mail.adopt import Finished, read_finished
from app.mail.compose import Draft
from app.mail.fields import Unfit
from app.mail.trace import Protocol
from app.mail.words import scrub


@dataclass(slots=True)
class EnvelopeRecipient:
    """One RCPT TO. `notify` (NOTIFY) and `original` (ORCPT, "rfc822;ada@example.com") are kept for delivery reports (RFC 3461 §4)."""

    address: str
    notify: frozenset[str] = frozenset()
    original: str | None = None


@dataclass(slots=True)
class RawSubmission:
    """What a client hands us, as MIME. `raw` is as DATA brought it: dots unstuffed, CRLF line ends.

    `envelope_from` is empty for the null sender. `allowed_from`: the addresses and domains that the credential may have in From, all of
    the account's when it is empty. `tells_failures`: whether a final failure is reported to `envelope_from`. `stream`: the credential's.
    `is_report`: it is a delivery report of the house, which leaves with the null reverse path.
    `held_for`: why it is accepted and held (accounts.guard).
    `protocol` and `greeted_as` (the client's word in EHLO) are told in its Received field. `is_tidy`: the door has
    seen to it that there is no CR, LF or NUL but in CRLF line ends.
    """

    raw: bytes
    envelope_from: str
    recipients: tuple[EnvelopeRecipient, ...]
    ret: str | None = None
    envelope_id: str | None = None
    allowed_from: tuple[str, ...] = ()
    tells_failures: bool = False
    stream: str | None = None
    is_report: bool = False
    held_for: str | None = None
    protocol: Protocol = "HTTP"
    greeted_as: str | None = None
    is_tidy: bool = False


@dataclass(slots=True)
class TakenRecipient:
    """A recipient as it is stored; `dsn` is JSON text: what its sender wants to be told of it, None for nothing."""

    address: str
    suppression_key: str
    kind: str
    dsn: str | None


@dataclass(slots=True)
class Taken:
    """A finished mail that may be sent by whom it says, as far as its header and envelope tell."""

    finished: Finished
    draft: Draft
    recipients: list[TakenRecipient]
    controls: Controls
    protocol: Protocol
    greeted_as: str | None


async def take(domains: DomainBook, sender: Sender, raw: RawSubmission, most_recipients: int) -> Taken:
    """Read and admit a finished mail; raises RelayError."""
    try:
        finished = read_finished(raw.raw, is_tidy=raw.is_tidy)
    except Unfit as unfit:
        pointed = [FieldError(pointer_to_header(unfit.field), "invalid_header", str(unfit))] if unfit.field is not None else []
        raise InvalidMessage(str(unfit), errors=pointed) from unfit
    await _admit_senders(domains, sender, finished, raw)
    controls = read_controls(finished.controls)
    if controls.report_to is not None:
        await _admit_mailbox(domains, sender, raw, "X-Staffetta-Report-To", controls.report_to)
        raw = replace(raw, envelope_from=controls.report_to, tells_failures=True)
    recipients = _read_recipients(finished, raw, most_recipients)
    own = tuple((field.name, field.value) for field in finished.fields)
    draft = Draft(finished.author, (), (), (), (), finished.subject, None, None, own)
    return Taken(finished, draft, recipients, controls, raw.protocol, raw.greeted_as)


# --- who sends


async def _admit_senders(domains: DomainBook, sender: Sender, finished: Finished, raw: RawSubmission) -> None:
    mailboxes = [(shown, address.mailbox) for shown, address in finished.senders]
    if raw.envelope_from:
        try:
            mailboxes.append(("MAIL FROM", parse_mailbox(raw.envelope_from)))
        except ValueError as error:
            raise SenderNotAllowed(f"The envelope's sender cannot be read: {error}") from error
    for shown, mailbox in mailboxes:
        await _admit_mailbox(domains, sender, raw, shown, mailbox)


async def _admit_mailbox(domains: DomainBook, sender: Sender, raw: RawSubmission, shown: str, mailbox: str) -> None:
    pointed = [] if shown == "MAIL FROM" else [FieldError(pointer_to_header(shown), "sender_not_allowed", _NOT_YOURS)]
    if await domains.find(sender.account_id, domain_of(mailbox)) is None:
        raise SenderNotAllowed(f"This account may not send from {domain_of(mailbox)} ({shown}).", errors=pointed)
    if raw.allowed_from and not is_allowed(mailbox, raw.allowed_from):
        raise SenderNotAllowed(f"This credential may not send from {mailbox} ({shown}).", errors=pointed)


_NOT_YOURS = "The address is not one that may be used here."


def is_allowed(mailbox: str, allowed: Iterable[str]) -> bool:
    """Whether a mailbox is among addresses and domains ("shop.example" or "@shop.example": that domain and none below it)."""
    key = suppression_key(mailbox)
    return any(key == suppression_key(each) or domain_of(key) == each.removeprefix("@").lower() for each in allowed)


# --- who gets it


def _read_recipients(finished: Finished, raw: RawSubmission, most: int) -> list[TakenRecipient]:
    """Each mailbox of the envelope once, with the kind that the header gives it. Without an envelope the header is it."""
    named = {kind: _mailboxes_of(finished, kind, strict=not raw.recipients) for kind in ("to", "cc")}
    kinds = {suppression_key(mailbox): kind for kind in ("cc", "to") for mailbox in named[kind]}
    recipients = raw.recipients
    if not recipients:
        hidden = _mailboxes_of(finished, "bcc", strict=True)
        recipients = tuple(map(EnvelopeRecipient, (*named["to"], *named["cc"], *hidden)))
    found: dict[str, TakenRecipient] = {}
    for recipient in recipients:
        try:
            mailbox = parse_mailbox(recipient.address)
        except ValueError as error:
            raise _wrong("#/to", "invalid_address", str(error)) from error
        key = suppression_key(mailbox)
        if key not in found:
            found[key] = TakenRecipient(mailbox, key, kinds.get(key, "bcc"), _dsn_of(raw, recipient))
    if not found:
        raise _wrong("#/to", "missing", "There is no recipient.")
    if len(found) > most:
        raise _wrong("#/to", "too_many", f"At most {most} recipients are allowed in one message.")
    return list(found.values())


def _mailboxes_of(finished: Finished, name: str, *, strict: bool) -> list[str]:
    found: list[str] = []
    for field in (*finished.fields, *finished.hidden):
        if field.name != name:
            continue
        try:
            found += read_mailboxes(field.value) if strict else find_mailboxes(field.value)
        except ValueError as error:
            raise _wrong(pointer_to_header(name.title()), "invalid_address", str(error)) from error
    return found


def _wrong(pointer: str, code: str, detail: str) -> InvalidMessage:
    return InvalidMessage.of_fields([FieldError(pointer, code, detail)])


def _dsn_of(raw: RawSubmission, recipient: EnvelopeRecipient) -> str | None:
    """What is kept of the DSN extension (RFC 3461 §4): only what was said. The null sender is told nothing (RFC 3461 §6.2)."""
    if not raw.envelope_from:
        return None
    said = {
        "notify": sorted(recipient.notify),
        "original": recipient.original,
        "ret": raw.ret,
        "envelope_id": raw.envelope_id,
        "tells_failures": raw.tells_failures,
    }
    kept = {name: scrub(value) if isinstance(value, str) else value for name, value in said.items() if value}
    return orjson.dumps(kept | {"from": raw.envelope_from}).decode() if kept else None


def digest_of(raw: RawSubmission) -> bytes:
    """By what the same submission is known again, under an idempotency key."""
    digest = hashlib.sha256(raw.raw)
    digest.update("\0".join(("", raw.envelope_from, *(one.address for one in raw.recipients))).encode(errors="surrogatepass"))
    return digest.digest()
