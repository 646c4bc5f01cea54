"""A draft becomes content: the header block and the MIME tree, written by hand because this is the hot path.

    text | html | alternative(text, html)          what is there
    related(html, inline images)                   if an attachment has a content id and there is HTML to show it
    mixed(any of these, attachments)               for all other attachments

The same draft, message id, date and seed always give the same bytes. Only CRLF, no NUL, no line over 998 octets,
and only 7-bit octets except for UTF-8 mailboxes in the header (RFC 6532).
Bcc never reaches the content. What is added per recipient, and the signature, is `finish`.

What is made for every message is no frozen dataclass: those take three times as long to make. Nobody changes one all the same.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from email.utils import format_datetime
from functools import lru_cache

from app.mail.address import Address, format_header
from app.mail.header import LONGEST_WORD, check_text, format_field, format_free_text, format_parameter, has_long_word, is_field_name
from app.mail.links import MOST_HTML, MOST_LINKS, LinkSpan, read_links
from app.mail.transfer import Encoded, encode_octets, encode_text, text_octets

_CONTENT_TYPE = re.compile(
    r'[A-Za-z0-9!#$&^_.+\-]{1,127}/[A-Za-z0-9!#$&^_.+\-]{1,127}(?: *; *[A-Za-z0-9_.*\-]+=(?:[\w!#$&^.+\-/:]+|"[ !#-\[\]-~]*"))*'
)
_CONTENT_ID = re.compile(r"[!-;=?-~]{1,200}")
_MESSAGE_LINES = re.compile(rb"(?:[\t\x20-\x7e]{0,998}\r\n)*[\t\x20-\x7e]{0,998}")

_OURS = frozenset(
    ("bcc", "dkim-signature", "domainkey-signature", "received", "return-path", "delivered-to", "authentication-results", "mime-version")
)
_FIELDS_OF_THE_DRAFT = frozenset(("message-id", "date", "from", "to", "cc", "sender", "reply-to", "subject"))
_OUR_PREFIXES = ("arc-", "content-", "resent-", "x-staffetta-")
# Read by machines, which do not decode words: their values must be ASCII.
_STRUCTURED = frozenset(("references", "in-reply-to", "feedback-id", "precedence", "auto-submitted", "importance", "priority"))


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file; with a content id it is shown inside the HTML (RFC 2392)."""

    filename: str
    content_type: str
    content: bytes
    content_id: str | None = None


@dataclass(slots=True)
class Draft:
    """A mail as its author thinks of it, before MIME. Addresses are already parsed."""

    sender: Address
    to: tuple[Address, ...]
    cc: tuple[Address, ...]
    bcc: tuple[Address, ...]
    reply_to: tuple[Address, ...]
    subject: str
    html: str | None
    text: str | None
    headers: tuple[tuple[str, str], ...] = ()
    attachments: tuple[Attachment, ...] = ()


@dataclass(slots=True)
class Part:
    """A leaf of the MIME tree: `path` as in IMAP ("1.2"), [start:end] its encoded octets in the body; is it a file, not to be shown?"""

    path: str
    content_type: str
    charset: str
    encoding: str
    start: int
    end: int
    attached: bool = False


@dataclass(slots=True)
class Content:
    """`head` is the header block without the empty line after it, `body` what follows that line; links and pixel are places in the body."""

    head: bytes
    body: bytes
    parts: tuple[Part, ...]
    links: tuple[LinkSpan, ...] = ()
    pixel: int | None = None


@dataclass(slots=True)
class _Leaf:
    content_type: str
    charset: str
    encoded: Encoded
    fields: bytes
    attached: bool = False


@dataclass(slots=True)
class _Branch:
    subtype: str
    children: tuple[_Leaf | _Branch, ...]


_Tree = _Leaf | _Branch


def compose(draft: Draft, *, message_id: str, date: datetime, boundary_seed: bytes, link_spans: bool = False) -> Content:
    """Write the draft as MIME; ValueError says which of its texts cannot be mailed."""
    content = compose_body(draft.html, draft.text, draft.attachments, boundary_seed=boundary_seed, link_spans=link_spans)
    content.head = compose_head(draft, message_id=message_id, date=date) + content.head
    return content


def compose_head(draft: Draft, *, message_id: str, date: datetime) -> bytes:
    """The header block as far as it does not depend on html, text and files: what `compose_body` gives comes behind it."""
    fields = [_address_field("From", (draft.sender,))]
    for name, addresses in (("To", draft.to), ("Cc", draft.cc), ("Reply-To", draft.reply_to)):
        if addresses:
            fields.append(_address_field(name, addresses))
    if not draft.to and not draft.cc:
        fields.append(b"To: undisclosed-recipients:;\r\n")
    check_text(draft.subject, "subject")
    fields.append(format_free_text("Subject", draft.subject))
    fields.append(f"Date: {_date_text(date.replace(microsecond=0))}\r\nMessage-ID: <{message_id}>\r\n".encode("ascii"))
    for name, value in draft.headers:
        check_header(name, value)
        value = value.strip(" \t")
        fields.append(format_field(name, value) if value.isascii() else format_free_text(name, value))
    return b"".join(fields)


def compose_body(
    html: str | None, text: str | None, attachments: Sequence[Attachment], *, boundary_seed: bytes, link_spans: bool = False
) -> Content:
    """The MIME tree of texts and files; its head has the fields that belong to the tree, and no others."""
    tree = _plan_tree(html, text, attachments, link_spans)
    written = _Written(_choose_mark(tree, boundary_seed))
    written.add(tree, path="", depth=0)
    written.end_line()
    head = b"MIME-Version: 1.0\r\n" + written.fields_of(tree, depth=0)
    return Content(head, b"".join(written.pieces), tuple(written.parts), tuple(written.links), written.pixel)


def check_header(name: str, value: str) -> None:
    """Raise ValueError if a client may not set this field, or if mail cannot carry it."""
    lower = name.lower()
    if not is_field_name(name):
        raise ValueError("The header name is not valid: it must be printable ASCII without spaces and colons, at most 76 characters.")
    if lower in _FIELDS_OF_THE_DRAFT:
        raise ValueError(f"The header {name} has a place of its own in the message and cannot be set as a custom header.")
    if lower in _OURS or lower.startswith(_OUR_PREFIXES):
        raise ValueError(f"The header {name} is written by the relay and cannot be set.")
    check_text(value, f"header {name}")
    if not value.strip(" \t"):
        raise ValueError(f"The header {name} is empty.")
    if not value.isascii() and (lower in _STRUCTURED or lower.startswith("list-")):
        raise ValueError(f"The header {name} may only contain ASCII characters.")
    if value.isascii() and has_long_word(value.strip(" \t")):
        raise ValueError(f"The header {name} contains a word of more than {LONGEST_WORD} characters, with the spaces before it.")


@lru_cache(maxsize=64)
def _date_text(second: datetime) -> str:
    """RFC 5322 §3.3; the standard library takes 8 µs for what a thousand mails of a second share."""
    return format_datetime(second)


def _address_field(name: str, addresses: Sequence[Address]) -> bytes:
    return format_field(name, ", ".join(map(format_header, addresses)))


def _plan_tree(html: str | None, text: str | None, attachments: Sequence[Attachment], link_spans: bool) -> _Tree:
    inline = tuple(_file(one) for one in attachments if one.content_id is not None and html is not None)
    attached = tuple(_file(one) for one in attachments if one.content_id is None or html is None)
    bodies: list[_Tree] = []
    if text is not None or html is None:
        bodies.append(_text(text or "", "plain", ends_line=not attachments and html is None))
    if html is not None:
        page: _Tree = _text(html, "html", ends_line=not attachments and text is None, link_spans=link_spans)
        bodies.append(_Branch("related", (page, *inline)) if inline else page)
    tree = bodies[0] if len(bodies) == 1 else _Branch("alternative", tuple(bodies))
    return _Branch("mixed", (tree, *attached)) if attached else tree


def _text(text: str, subtype: str, *, ends_line: bool, link_spans: bool = False) -> _Leaf:
    octets = text_octets(text, "HTML" if subtype == "html" else "text")
    if ends_line and not octets.endswith(b"\n"):
        octets += b"\n"  # a text that is the whole body ends its last line, as the last line of every mail ends
    if link_spans and len(octets) <= MOST_HTML:
        found = read_links(octets)
        encoded = encode_text(octets, links=found.links[:MOST_LINKS], pixel=found.pixel)
    else:
        encoded = encode_text(octets)
    fields = f"Content-Type: text/{subtype}; charset=utf-8\r\nContent-Transfer-Encoding: {encoded.encoding}\r\n".encode()
    return _Leaf(f"text/{subtype}", "utf-8", encoded, fields)


def _file(file: Attachment) -> _Leaf:
    filename = file.filename.strip()
    check_text(filename, "file name")
    if len(filename) > 255:
        raise ValueError("The file name is longer than 255 characters.")
    if _CONTENT_TYPE.fullmatch(file.content_type) is None or not file.content_type.isascii() or len(file.content_type) > 255:
        raise ValueError(f"The content type of the attachment {filename} is not of the form type/subtype.")
    content_type, encoded = _encode_file(file)
    fields = format_field("Content-Type", content_type).decode().removesuffix("\r\n")
    if not filename.isascii() and "name" not in content_type:
        # Some programs read the name here and do not know RFC 2231; a plain name in both fields would shadow the true one.
        fields += format_parameter("name", _ascii_name(filename))
    fields += f"\r\nContent-Transfer-Encoding: {encoded.encoding}\r\n"
    fields += f"Content-Disposition: {'attachment' if file.content_id is None else 'inline'}"
    fields += format_parameter("filename", filename) + "\r\n" if filename else "\r\n"
    if file.content_id is not None:
        fields += f"Content-ID: <{_content_id(file.content_id)}>\r\n"
    return _Leaf(content_type.partition(";")[0].strip().lower(), "", encoded, fields.encode("ascii"), attached=True)


def _encode_file(file: Attachment) -> tuple[str, Encoded]:
    kind = file.content_type.lower()
    if kind.startswith("message/rfc822") and _MESSAGE_LINES.fullmatch(file.content):
        return "message/rfc822", Encoded("7bit", file.content)
    if kind.startswith(("message/", "multipart/")):
        # RFC 2046 §5.2.1 and RFC 2045 §6.4 forbid base64 for these: what cannot go as it is goes as a mere file.
        return "application/octet-stream", Encoded("base64", encode_octets(file.content))
    return file.content_type, Encoded("base64", encode_octets(file.content))


def _content_id(content_id: str) -> str:
    content_id = content_id.removeprefix("<").removesuffix(">")
    if _CONTENT_ID.fullmatch(content_id) is None:
        raise ValueError("The content id of an attachment must be 1 to 200 printable ASCII characters without spaces and < >.")
    return content_id


def _ascii_name(filename: str) -> str:
    stem = unicodedata.normalize("NFKD", filename).encode("ascii", "ignore").decode().strip()
    return stem if stem and not stem.startswith(".") else f"attachment{stem}"


def _choose_mark(tree: _Tree, seed: bytes) -> str:
    """What all boundaries end with and no part contains. "=_" cannot occur in an encoded part: only plain ones are searched."""
    plain = [leaf.encoded.octets for leaf in _leaves(tree) if leaf.encoded.encoding == "7bit"]
    for attempt in range(100):
        mark = hashlib.blake2b(seed, digest_size=12, salt=attempt.to_bytes(8, "big")).hexdigest()
        if not any(mark.encode() in octets for octets in plain):
            return mark
    raise ValueError("The text contains every boundary that could separate its parts.")


def _leaves(tree: _Tree) -> list[_Leaf]:
    return [tree] if isinstance(tree, _Leaf) else [leaf for child in tree.children for leaf in _leaves(child)]


class _Written:
    """The body as it grows: its pieces, and where each part and link lies in them."""

    def __init__(self, mark: str) -> None:
        self._mark = mark
        self._size = 0
        self.pieces: list[bytes] = []
        self.parts: list[Part] = []
        self.links: list[LinkSpan] = []
        self.pixel: int | None = None

    def add(self, tree: _Tree, *, path: str, depth: int) -> None:
        if isinstance(tree, _Leaf):
            self._add_leaf(tree, path or "1")
            return
        boundary = self._boundary(depth).encode()
        for number, child in enumerate(tree.children, 1):
            start = b"--" if number == 1 else b"\r\n--"
            self._add_octets(b"%b%b\r\n%b\r\n" % (start, boundary, self.fields_of(child, depth=depth + 1)))
            self.add(child, path=f"{path}.{number}".removeprefix("."), depth=depth + 1)
        self._add_octets(b"\r\n--%b--\r\n" % boundary)

    def end_line(self) -> None:
        """Base64 alone is the only body whose last line is open."""
        if not self.pieces[-1].endswith(b"\r\n"):
            self._add_octets(b"\r\n")

    def fields_of(self, tree: _Tree, *, depth: int) -> bytes:
        """The content fields that stand before the tree's octets."""
        if isinstance(tree, _Leaf):
            return tree.fields
        root = ' type="text/html";' if tree.subtype == "related" else ""  # RFC 2387 §3.1: related names the type of its root
        return f'Content-Type: multipart/{tree.subtype};{root}\r\n boundary="{self._boundary(depth)}"\r\n'.encode()

    def _boundary(self, depth: int) -> str:
        # Branches nest in one line, so the depth tells them apart; before the mark, lest one be the beginning of another.
        return f"=_{depth}{self._mark}"

    def _add_leaf(self, leaf: _Leaf, path: str) -> None:
        start = self._size
        self._add_octets(leaf.encoded.octets)
        self.parts.append(Part(path, leaf.content_type, leaf.charset, leaf.encoded.encoding, start, self._size, leaf.attached))
        if leaf.encoded.pixel is not None:
            self.pixel = start + leaf.encoded.pixel
        self.links += [LinkSpan(start + link.start, start + link.end, link.url) for link in leaf.encoded.links]

    def _add_octets(self, octets: bytes) -> None:
        self.pieces.append(octets)
        self._size += len(octets)
