"""From a checked body to a submission: addresses, headers, files and times get their meaning here.

Every text that becomes part of a header is checked before it can reach one: CR, LF, NUL, other controls and lone surrogates
are refused with a pointer to the field. All that is wrong is told at once. Whether the sender may use the From domain, and
what is too much, too late or too large, is admission's word (intake).
"""

from __future__ import annotations

import binascii
import math
import mimetypes
import re
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any, TypeVar

import orjson

from app.accounts.templates import TemplateUse
from app.api.message_body import AddressBody, AttachmentBody, MessageBody
from app.api.problems import refuse_fields
from app.api.times import read_time
from app.errors import FieldError, pointer_to
from app.intake.admission import Track
from app.intake.submit import Submission
from app.mail.address import Address, name_address, parse_address
from app.mail.compose import Attachment, Draft, check_header
from app.mail.header import check_text

_MOST_METADATA_BYTES = 4096
MOST_VARIABLES_BYTES = 64 * 1024
_MOST_LEVELS = 16
_MEDIA_TYPE = re.compile(r'[\w!#$&^.+\-]{1,127}/[\w!#$&^.+\-]{1,127}(?: *; *[\w.*\-]+=(?:[\w!#$&^.+\-/:]+|"[ !#-\[\]-~]*"))*', re.ASCII)
_HALF_A_PAIR = "It contains half of a surrogate pair, which is no character."
_CONTENT_ID = re.compile(r"<?[!-;=?-~]{1,200}>?")
# Not in a text at all: NUL and the controls that no program shows; tab and line ends are text.
_NOT_TEXT = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
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
        for name, value in body.headers.items():
            faults.trap("invalid_header", ("headers", name), check_header, name, value)
    attachments = _read_files(body.attachments, faults, most_bytes) if body.attachments else ()
    if body.tags or body.metadata:
        _check_labels(body, faults)
    send_at = faults.trap("invalid_time", ("send_at",), read_time, body.send_at) if body.send_at is not None else None
    expires_at = faults.trap("invalid_time", ("expires_at",), read_time, body.expires_at) if body.expires_at is not None else None
    if faults.found or sender is None:
        raise refuse_fields(faults.found, of_message=True)
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
            faults.add((field,), "invalid_text", _HALF_A_PAIR)


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


def check_variables(variables: dict[str, Any]) -> int:
    """The size of variables as JSON, in bytes; ValueError(code, sentence) when they are too large or no text."""
    try:
        written = orjson.dumps(variables)
    except TypeError as error:
        raise ValueError(
            "invalid_value", "It holds half of a surrogate pair, a number of more than 64 bits, or too many levels."
        ) from error
    if len(written) > MOST_VARIABLES_BYTES:
        raise ValueError("too_long", f"The variables have more than {MOST_VARIABLES_BYTES} bytes as JSON.")
    if b"null" in written and not _is_finite(variables):  # 1e400 is read as infinity, and written as null
        raise ValueError("invalid_value", "It holds a number that is too large.")
    if b"\\u0000" in written:
        raise ValueError("invalid_text", "It contains a NUL character.")
    if written.count(b"{") + written.count(b"[") > _MOST_LEVELS and not _is_shallow(variables, _MOST_LEVELS):
        raise ValueError("too_deep", f"The variables are nested more than {_MOST_LEVELS} deep.")
    return len(written)


def _is_finite(value: Any) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return all(map(_is_finite, inner))


def _is_shallow(value: Any, levels: int) -> bool:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return levels > 0 and all(_is_shallow(one, levels - 1) for one in inner if isinstance(one, dict | list))


def _check_labels(body: MessageBody, faults: _Faults) -> None:
    for place, tag in enumerate(body.tags):
        faults.trap("invalid_text", ("tags", place), check_text, tag, "tag")
    for name, value in body.metadata.items():
        faults.trap("invalid_text", ("metadata", name), check_text, name, "name")
        if not _is_encodable(value):
            faults.add(("metadata", name), "invalid_text", _HALF_A_PAIR)
        elif _NOT_TEXT.search(value) is not None:
            faults.add(("metadata", name), "invalid_text", "It contains a control character that is not part of a text.")
    if sum(len((name + value).encode("utf-8", "replace")) for name, value in body.metadata.items()) > _MOST_METADATA_BYTES:
        faults.add(("metadata",), "too_long", f"The metadata has more than {_MOST_METADATA_BYTES} bytes together.")


def _is_encodable(text: str) -> bool:
    """Whether there is no half of a surrogate pair in it: JSON's escapes can write one."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


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
