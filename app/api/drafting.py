"""From a checked body to a submission: addresses, headers, files and times get their meaning here.

Every text that becomes part of a header is checked before it can reach one: CR, LF, NUL, other controls and lone surrogates
are refused with a pointer to the field. All that is wrong is told at once. Whether the sender may use the From domain, and
what is too much, too late or too large, is admission's word (intake).
"""

from __future__ import annotations

import binascii
import mimetypes
import re
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import TypeVar

from app.accounts.templates import TemplateUse
from app.api.message_body import AddressBody, AttachmentBody, MessageBody
from app.errors import FieldError, InvalidMessage, MessageTooLarge, pointer_to
from app.intake.admission import Track
from app.intake.labels import HALF_A_PAIR, check_metadata_size, check_metadata_text, check_variables
from app.intake.submit import Submission
from app.mail.address import Address, name_address, parse_address
from app.mail.compose import Attachment, Draft, check_header
from app.mail.header import check_text
from app.mail.times import read_time

_MEDIA_TYPE = re.compile(r'[\w!#$&^.+\-]{1,127}/[\w!#$&^.+\-]{1,127}(?: *; *[\w.*\-]+=(?:[\w!#$&^.+\-/:]+|"[ !#-\[\]-~]*"))*', re.ASCII)
_CONTENT_ID = re.compile(r"<?[!-;=?-~]{1,200}>?")
_known_types = mimetypes.MimeTypes(filenames=())
# Few senders write many messages.
_parse_sender = lru_cache(maxsize=1000)(parse_address)

_Read = TypeVar("_Read")


class _Faults:
    """What is wrong so far."""

    def __init__(self) -> None:
        self.found: list[FieldError] = []

    def add(self, path: Iterable[str | int], code: str, detail: str) -> None:
        self.found.append(FieldError(pointer_to(path), code, detail))

    def trap(self, code: str, path: tuple[str | int, ...], read: Callable[..., _Read], *given: object) -> _Read | None:
        """`read(*given)`, or None and a fault at `path` with the sentence of its ValueError."""
        try:
            return read(*given)
        except ValueError as error:
            self.add(path, code, str(error))
            return None


def draft_submission(body: MessageBody, *, idempotency_key: str | None, body_hash: bytes | None, most_bytes: int) -> Submission:
    """What the body asks for; raises InvalidMessage with a pointer to each field that is wrong."""
    faults = _Faults()
    sender = _read_one(body.from_, ("from",), faults, _parse_sender)
    to, cc, bcc, reply_to = (
        _read_many(getattr(body, field), field, faults) if getattr(body, field) else () for field in ("to", "cc", "bcc", "reply_to")
    )
    if not (body.to or body.cc or body.bcc):
        faults.add(("to",), "missing", "There is no recipient.")
    if body.subject is not None:
        faults.trap("invalid_text", ("subject",), check_text, body.subject, "subject")
    elif body.template is None:
        faults.add(("subject",), "missing", "The field is required.")
    _check_texts(body, faults)
    template = _read_template(body, faults)
    if body.headers:
        _check_headers(body.headers, faults)
    attachments = _read_files(body.attachments, faults, most_bytes) if body.attachments else ()
    if body.tags or body.metadata:
        _check_labels(body, faults)
    send_at = faults.trap("invalid_time", ("send_at",), read_time, body.send_at) if body.send_at is not None else None
    expires_at = faults.trap("invalid_time", ("expires_at",), read_time, body.expires_at) if body.expires_at is not None else None
    if faults.found or sender is None:
        kind = MessageTooLarge if any(one.code == "too_large" for one in faults.found) else InvalidMessage
        raise kind.of_fields(faults.found)
    draft = Draft(sender, to, cc, bcc, reply_to, body.subject or "", body.html, body.text, tuple(body.headers.items()), attachments)
    made = Submission(
        draft, body.stream, tuple(body.tags), body.metadata, send_at, expires_at, idempotency_key, body_hash, template=template
    )
    if body.track is not None:
        made.track = Track(body.track.opens, body.track.clicks)
    return made


def _read_one(
    given: str | AddressBody, path: tuple[str | int, ...], faults: _Faults, parse: Callable[[str], Address] = parse_address
) -> Address | None:
    if isinstance(given, str):
        return faults.trap("invalid_address", path, parse, given)
    if given.name:
        faults.trap("invalid_text", (*path, "name"), check_text, given.name, "name")
    return faults.trap("invalid_address", (*path, "email"), _named, given)


def _named(given: AddressBody) -> Address:
    # The name has had its own check and pointer: what is still said here is about the mailbox, or about the name's length.
    return name_address(given.email, given.name)


def _read_many(given: str | AddressBody | list[str | AddressBody], field: str, faults: _Faults) -> tuple[Address, ...]:
    if not isinstance(given, list):
        one = _read_one(given, (field,), faults)
        return (one,) if one is not None else ()
    read = [_read_one(each, (field, place), faults) for place, each in enumerate(given)]
    return tuple(one for one in read if one is not None)


def _check_headers(headers: dict[str, str], faults: _Faults) -> None:
    """A name in two spellings would be two fields, where programs look at one (RFC 5322 §3.6, RFC 2369 §2)."""
    met: set[str] = set()
    for name, value in headers.items():
        faults.trap("invalid_header", ("headers", name), check_header, name, value)
        if name.lower() in met:
            faults.add(("headers", name), "invalid_header", f"The header {name} occurs more than once.")
        met.add(name.lower())


def _check_texts(body: MessageBody, faults: _Faults) -> None:
    if body.html is None and body.text is None and body.template is None:
        faults.add((), "missing", "The message has neither html nor text.")
    for field, text in (("html", body.html), ("text", body.text)):
        if text is None:
            continue
        try:
            octets = text.encode()
        except UnicodeEncodeError:
            octets = text.encode(errors="replace")
            half_a_pair = True
        else:
            half_a_pair = False
        if b"\0" in octets:  # RFC 5322 §3.5; what else programs do not show is encoded, and harmless
            faults.add((field,), "invalid_text", "It contains a NUL character.")
        if half_a_pair:
            faults.add((field,), "invalid_text", HALF_A_PAIR)


def _read_template(body: MessageBody, faults: _Faults) -> TemplateUse | None:
    if body.template is None:
        for field in ("template_version", "variables", "locale"):
            if getattr(body, field) is not None:
                faults.add((field,), "contradiction", "It needs a template.")
        return None
    for field in ("html", "text"):
        if getattr(body, field) is not None:
            faults.add((field,), "contradiction", "A message with a template has no html and text of its own.")
    variables = body.variables or {}
    try:
        size = check_variables(variables)
    except ValueError as error:
        faults.add(("variables",), *error.args)
        size = 0
    return TemplateUse(body.template, body.template_version, variables, body.locale, size)


def _check_labels(body: MessageBody, faults: _Faults) -> None:
    for place, tag in enumerate(body.tags):
        faults.trap("invalid_text", ("tags", place), check_text, tag, "tag")
    for name, value in body.metadata.items():
        faults.trap("invalid_text", ("metadata", name), check_text, name, "name")
        faults.trap("invalid_text", ("metadata", name), check_metadata_text, value)
    faults.trap("too_long", ("metadata",), check_metadata_size, body.metadata)


def _read_files(given: list[AttachmentBody], faults: _Faults, most_bytes: int) -> tuple[Attachment, ...]:
    if sum(len(file.content) for file in given) > most_bytes:  # as base64, as they will stand in the mail: before any is decoded
        faults.add(("attachments",), "too_large", f"The attachments have more than {most_bytes} bytes together.")
        return ()
    return tuple(_read_file(file, place, faults) for place, file in enumerate(given))


def _read_file(given: AttachmentBody, place: int, faults: _Faults) -> Attachment:
    path = ("attachments", place)
    faults.trap("invalid_text", (*path, "filename"), check_text, given.filename, "file name")
    content_type = given.content_type
    if content_type is None:
        content_type = _known_types.guess_type(given.filename, strict=False)[0] or "application/octet-stream"
    elif _MEDIA_TYPE.fullmatch(content_type) is None:
        faults.add((*path, "content_type"), "invalid_media_type", "It must be of the form type/subtype.")
    if given.content_id is not None and _CONTENT_ID.fullmatch(given.content_id) is None:
        faults.add((*path, "content_id"), "invalid_text", "It must be printable ASCII without spaces and < >.")
    if given.disposition == "inline" and given.content_id is None:
        faults.add((*path, "content_id"), "missing", "An inline attachment needs a content_id.")
    if given.disposition == "attachment" and given.content_id is not None:
        faults.add((*path, "disposition"), "contradiction", "An attachment with a content_id is inline.")
    content = faults.trap("invalid_base64", (*path, "content"), _decode, given.content)
    return Attachment(given.filename, content_type, content or b"", given.content_id)


def _decode(text: str) -> bytes:
    """Base64 of RFC 4648 §4, in one line or in lines as MIME writes it."""
    try:
        return binascii.a2b_base64(text.replace("\r\n", "").replace("\n", ""), strict_mode=True)
    except ValueError as error:  # binascii.Error among them
        raise ValueError("It is not base64.") from error
