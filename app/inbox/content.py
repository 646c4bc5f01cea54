"""What a message says when it is opened: its headers, its text, its HTML, its attachments.

The stdlib's parser takes the MIME tree apart; it is lenient, but it is recursive (a thousand levels end it) and trips over
some oddities. Whatever it cannot read is left out and `problem` says so: a message is always shown as far as it can be.
"""

from __future__ import annotations

import email
import mimetypes
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from email.message import Message
from html.parser import HTMLParser

from app.inbox.headers import Headers, read_headers
from app.mail.words import decode_text, decode_words

_MAX_PARTS = 1000
_MAX_LINKS = 500
_TOO_DEEP = "This message is nested too deeply to be taken apart; its source is complete."


@dataclass(frozen=True, slots=True)
class Attachment:
    """A part that is neither the text nor the HTML of the message; inline images are attachments too."""

    number: int
    filename: str
    content_type: str
    content_id: str
    content: bytes


@dataclass(frozen=True, slots=True)
class Content:
    headers: Headers
    text: str | None = None
    html: str | None = None
    attachments: tuple[Attachment, ...] = ()
    problem: str | None = None


@dataclass(slots=True)
class _Reading:
    """What was found of a message so far."""

    text: str | None = None
    html: str | None = None
    attachments: list[Attachment] = field(default_factory=list)


def open_content(raw: bytes) -> Content:
    """The message taken apart; never raises, whatever the bytes."""
    headers = read_headers(raw)
    reading = _Reading()
    problem = None
    try:
        for count, part in enumerate(_leaves(email.message_from_bytes(raw))):
            if count == _MAX_PARTS:
                problem = f"Only the first {_MAX_PARTS} parts of this message are shown; its source is complete."
                break
            _read_part(reading, part)
    except RecursionError:
        problem = _TOO_DEEP
    except Exception as error:  # the parser's own slips on hostile input: shown, and never a reason to show nothing
        problem = f"This message could not be taken apart to its end ({type(error).__name__}); its source is complete."
    return Content(headers, reading.text, reading.html, tuple(reading.attachments), problem)


def find_links(html: str) -> tuple[tuple[str, str], ...]:
    """Address and words of each web link: a sandboxed frame does not follow them."""
    collector = _Links()
    collector.feed(html)
    collector.close()
    return tuple(collector.links)


def _leaves(message: Message) -> Iterator[Message]:
    """The parts that are not multipart, in order; a message inside a message is one part."""
    waiting = [message]
    while waiting:
        part = waiting.pop()
        if part.get_content_maintype() == "multipart" and part.is_multipart():
            waiting.extend(reversed([child for child in part.get_payload() if isinstance(child, Message)]))
        else:
            yield part


def _read_part(reading: _Reading, part: Message) -> None:
    _decode_fields(part)
    content_type = part.get_content_type()
    filename = _filename_of(part)
    if part.get_content_disposition() != "attachment" and not filename:
        if content_type == "text/plain" and reading.text is None:
            reading.text = _text_of(part)
            return
        if content_type == "text/html" and reading.html is None:
            reading.html = _text_of(part)
            return
    number = len(reading.attachments) + 1
    reading.attachments.append(
        Attachment(
            number=number,
            filename=filename or _name_without(number, content_type),
            content_type=content_type,
            content_id=str(part.get("content-id", "")).strip().strip("<>"),
            content=_content_of(part),
        )
    )


def _decode_fields(part: Message) -> None:
    """Eight-bit parameters as text, before the stdlib replaces what is not ASCII in them."""
    for name, value in list(part.raw_items()):
        if name.lower() in {"content-type", "content-disposition", "content-id"} and isinstance(value, str) and not value.isascii():
            part.replace_header(name, decode_text(value.encode("utf-8", "surrogateescape")))


def _text_of(part: Message) -> str:
    return decode_text(_content_of(part), str(part.get_content_charset("")))


def _content_of(part: Message) -> bytes:
    if part.is_multipart():  # message/rfc822, message/delivery-status: shown as it stands
        inner = part.get_payload()
        return b"\r\n".join(child.as_bytes() for child in inner if isinstance(child, Message)) if isinstance(inner, list) else b""
    content = part.get_payload(decode=True)
    return content if isinstance(content, bytes) else b""


def _filename_of(part: Message) -> str:
    """The last step of the path that the sender gave: a file's name is his text, a path is not his to choose."""
    try:
        given = part.get_filename("")
    except (ValueError, TypeError, LookupError):  # parameters broken in ways the stdlib does not expect
        given = ""
    return re.split(r"[/\\]", decode_words(str(given)))[-1].strip(" .")[:200]


def _name_without(number: int, content_type: str) -> str:
    extension = ".eml" if content_type == "message/rfc822" else mimetypes.guess_extension(content_type) or ".bin"
    return f"part-{number}{extension}"


class _Links(HTMLParser):
    """Collects <a href> with http or https."""

    def __init__(self) -> None:
        super().__init__()
        self.links: list[tuple[str, str]] = []
        self._address: str | None = None
        self._words: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "a":
            self._finish()
            address = (dict(attrs).get("href") or "").strip()
            # Nothing else becomes a link of our page: javascript: and data: would run as ours.
            self._address = address if re.match(r"https?://", address, re.IGNORECASE) else None

    def handle_endtag(self, tag: str) -> None:
        if tag == "a":
            self._finish()

    def handle_data(self, data: str) -> None:
        if self._address is not None:
            self._words.append(data)

    def close(self) -> None:
        super().close()
        self._finish()

    def _finish(self) -> None:
        if self._address is not None and len(self.links) < _MAX_LINKS:
            self.links.append((self._address, " ".join("".join(self._words).split())[:200]))
        self._address = None
        self._words = []
