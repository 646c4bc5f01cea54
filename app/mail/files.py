"""The files of a finished mail, and its header without what belonged to its body: what is left when a template gives the texts."""

from __future__ import annotations

import re
from collections.abc import Iterator
from email import message_from_bytes
from email.message import Message

from app.mail.adopt import Adopted
from app.mail.compose import Attachment
from app.mail.header import format_free_text
from app.mail.words import decode_words, scrub

_OF_THE_BODY = re.compile(rb"(?:mime-version|content-[!-9;-~]+)[ \t]*:(?:[^\r\n]|\r\n[ \t])*\r\n", re.IGNORECASE)
_NO_SUBJECT = re.compile(rb"^subject:[ \t]*\r\n(?![ \t])", re.IGNORECASE | re.MULTILINE)


def read_files(adopted: Adopted) -> tuple[Attachment, ...]:
    """The attachments and inline images; ValueError for mail that may not be taken apart."""
    if adopted.sealed:
        raise ValueError("A template cannot take the place of texts that are signed, encrypted or in too many parts.")
    if not any(part.attached or not part.content_type.startswith("text/") for part in adopted.content.parts):
        return ()
    mail = message_from_bytes(adopted.content.head + b"\r\n" + adopted.content.body)
    return tuple(_read_file(part) for part in _leaves(mail) if _is_file(part))


def without_content_fields(head: bytes, subject: str) -> bytes:
    """A header block without the fields of its body, and with the subject if it had none."""
    kept = _NO_SUBJECT.sub(b"", b"".join([field for field in _fields(head) if _OF_THE_BODY.fullmatch(field) is None]))
    has_one = re.search(rb"^subject:", kept, re.IGNORECASE | re.MULTILINE) is not None
    return kept if has_one else kept + format_free_text("Subject", subject)


def _fields(head: bytes) -> list[bytes]:
    return [line + b"\r\n" for line in re.split(rb"\r\n(?![ \t])", head.removesuffix(b"\r\n"))]


def _leaves(part: Message) -> Iterator[Message]:
    """A message within the mail is one leaf: its files are not the mail's."""
    if part.get_content_maintype() == "multipart" and part.is_multipart():
        for child in part.get_payload():
            if isinstance(child, Message):
                yield from _leaves(child)
    else:
        yield part


def _is_file(part: Message) -> bool:
    return part.get_content_disposition() == "attachment" or bool(part.get_filename()) or part.get_content_maintype() != "text"


def _read_file(part: Message) -> Attachment:
    filename = decode_words(scrub(str(part.get_filename() or "")))[:255] or "attachment"
    content_id = str(part.get("Content-ID", "")).strip().removeprefix("<").removesuffix(">")
    within = part.get_payload()
    if isinstance(within, list):
        content = b"".join([bytes(one) for one in within if isinstance(one, Message)])
    else:
        decoded = part.get_payload(decode=True)
        content = decoded if isinstance(decoded, bytes) else b""
    return Attachment(filename, part.get_content_type(), content, content_id or None)
