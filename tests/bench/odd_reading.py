"""A received mail against what was posted: read by the standard library, which shares nothing with what wrote it.

`faults_of` names everything that is not as it was sent. Tracked links lead back through their tokens, whose MACs are checked.
"""

from __future__ import annotations

import email
import re
from collections.abc import Callable
from dataclasses import dataclass
from email import policy
from email.header import decode_header, make_header
from email.message import Message
from email.utils import getaddresses
from typing import Any
from uuid import UUID

import idna

from app.mail.tokens import Token, TokenKind, read_token
from tests.bench.odd_drafts import TITLE, OddDraft, as_named
from tests.bench.odd_html import Link, Pieces

_LONGEST_LINE = 998
_TOKEN = r"([A-Za-z0-9_\-]+)"
_WORDS = re.compile(r"(?:=\?utf-8\?[bq]\?[^?\s]*\?=)(?:\s+=\?utf-8\?[bq]\?[^?\s]*\?=)*")


@dataclass(frozen=True, slots=True)
class Reading:
    """What is needed to read any mail of a run."""

    base_url: str
    account_id: int
    key_of: Callable[[int], bytes | None]


def faults_of(raw: bytes, draft: OddDraft, recipient_ids: set[UUID], reading: Reading) -> list[str]:
    """What is wrong with one received mail, as sentences; empty when it is right."""
    faults = _faults_of_lines(raw, draft)
    try:
        # Its only 8-bit octets are UTF-8 mailboxes in the header, which the library reads from text alone.
        mail = email.message_from_string(raw.decode(), policy=policy.compat32)
        faults += _faults_of_header(mail, draft)
        texts, files = _leaves(mail, draft)
        faults += _faults_of_text(texts.get("text/plain"), draft)
        faults += _faults_of_html(texts.get("text/html"), draft, recipient_ids, reading)
        faults += _faults_of_files(files, raw, draft)
    except (ValueError, LookupError, TypeError) as error:
        faults.append(f"cannot be read: {error!r}")
    return faults


def _faults_of_lines(raw: bytes, draft: OddDraft) -> list[str]:
    faults = []
    head, _, body = raw.partition(b"\r\n\r\n")
    if not raw.count(b"\n") == raw.count(b"\r") == raw.count(b"\r\n"):
        faults.append("a bare CR or LF")
    if max(map(len, raw.split(b"\r\n"))) > _LONGEST_LINE:
        faults.append("a line is too long")
    mailboxes = [one["email"].rpartition("@")[0] for kind in ("to", "cc", "reply_to") for one in draft.body.get(kind, ())]
    if not body.isascii() or (not head.isascii() and "".join(mailboxes).isascii()):
        faults.append("octets of 8 bits")
    if b"\0" in raw:
        faults.append("a NUL")
    return faults


def _faults_of_header(mail: Message, draft: OddDraft) -> list[str]:
    faults = []
    if (subject := _free_text(mail["Subject"])) != draft.body["subject"]:
        faults.append(f"subject {subject!r} for {draft.body['subject']!r}")
    sender = draft.body["from"]
    for name, given in (("From", [sender]), *((k.replace("_", "-").title(), draft.body.get(k, [])) for k in ("to", "cc", "reply_to"))):
        expected = [(as_named(one["name"]), _mailbox(one["email"])) for one in given]
        if name == "To" and not expected and not draft.body.get("cc"):
            if mail["To"] != "undisclosed-recipients:;":
                faults.append("To")
        elif (found := _addresses(mail[name])) != expected:
            faults.append(f"{name} {found!r} for {expected!r}")
    for name, value in draft.body.get("headers", {}).items():
        if (found_value := _free_text(mail[name])) != value.strip(" \t"):
            faults.append(f"{name} {found_value!r} for {value!r}")
    if mail["Bcc"] is not None:
        faults.append("Bcc")
    if draft.body["stream"] == "bulk" and not (mail["List-Unsubscribe"] and mail["List-Unsubscribe-Post"] and mail["List-Id"]):
        faults.append("no way to leave")
    if draft.body["stream"] == "bulk" and not (_free_text(mail["List-Id"]) or "").startswith(f"{TITLE} <bulk."):
        faults.append(f"List-Id {mail['List-Id']!r}")
    return faults


def _free_text(value: str | None) -> str | None:
    """An unfolded field with its encoded words read."""
    if value is None:
        return None
    unfolded = value.replace("\r\n", "").replace("\n", "")
    return _WORDS.sub(lambda found: str(make_header(decode_header(found[0]))), unfolded)


def _addresses(value: str | None) -> list[tuple[str, str]]:
    if value is None:
        return []
    unfolded = value.replace("\r\n", "").replace("\n", "")
    return [(_WORDS.sub(lambda found: str(make_header(decode_header(found[0]))), name), box) for name, box in getaddresses([unfolded])]


def _mailbox(given: str) -> str:
    local, _, domain = given.rpartition("@")
    return f"{local}@{idna.encode(domain, uts46=True).decode() if not domain.isascii() else domain.lower()}"


def _leaves(mail: Message, draft: OddDraft) -> tuple[dict[str, str], list[Message]]:
    """The texts by their types, and the files in order; a file has a disposition."""
    texts: dict[str, str] = {}
    files: list[Message] = []
    waiting = [mail]
    while waiting:
        part = waiting.pop(0)
        if part["Content-Disposition"] is not None:
            files.append(part)
        elif part.is_multipart():
            waiting = [*part.get_payload(), *waiting]  # type: ignore[misc]
        else:
            payload: Any = part.get_payload(decode=True)
            if part.get_content_type() in texts:
                raise ValueError("a text too many")
            texts[part.get_content_type()] = payload.decode(part.get_content_charset())
    return texts, files


def _faults_of_text(found: str | None, draft: OddDraft) -> list[str]:
    text = draft.body.get("text")
    if found is None or text is None:
        return [] if found is text else ["text is there" if text is None else "no text"]
    return [] if _same(found, text) else [f"text {found[:200]!r} for {text[:200]!r}"]


def _same(found: str, sent: str) -> bool:
    """A text whose last line was open may have got its line end."""
    found, sent = _lines(found), _lines(sent)
    return found in (sent, sent + "\n")


def _lines(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _faults_of_html(found: str | None, draft: OddDraft, recipient_ids: set[UUID], reading: Reading) -> list[str]:
    if found is None or draft.html is None:
        return [] if found is draft.html else ["html is there" if draft.html is None else "no html"]
    faults: list[str] = []
    base, owners = re.escape(reading.base_url), set()
    track = draft.body["track"]

    def read(text: str, kind: TokenKind) -> Token | None:
        token = read_token(text, reading.key_of)
        if token is None or token.kind is not kind or token.account_id != reading.account_id or token.recipient_id not in recipient_ids:
            faults.append(f"a token that is not right: {text}")
        else:
            owners.add(token.recipient_id)
        return token

    pixels = re.compile(rf'<img src="{base}/o/{_TOKEN}\.gif" width="1" height="1" alt="" style="display:block;border:0">')
    for pixel in pixels.findall(found):
        read(pixel, TokenKind.OPEN)
    without, count = pixels.subn("", found)
    if count != track["opens"]:
        faults.append(f"{count} pixels")
    faults += _faults_of_pieces(_lines(without), draft.html, re.compile(rf"{base}/c/{_TOKEN}") if track["clicks"] else None, read)
    if len(owners) > 1:
        faults.append("tokens of several recipients")
    return faults


def _faults_of_pieces(
    found: str, pieces: Pieces, tracked: re.Pattern[str] | None, read: Callable[[str, TokenKind], Token | None]
) -> list[str]:
    place = 0
    for piece in pieces:
        expected = _lines(piece.written if isinstance(piece, Link) else piece)
        if isinstance(piece, Link) and tracked is not None:
            link = tracked.match(found, place)
            if link is None:
                return [f"not tracked: {piece.written!r}, but {found[place : place + 100]!r}"]
            token = read(link[1], TokenKind.CLICK)
            if token is None or token.payload.decode() != piece.url:
                return [f"leads to {token and token.payload!r}, not {piece.url!r}"]
            place = link.end()
        elif found.startswith(expected, place):
            place += len(expected)
        else:
            return [f"html {found[max(0, place - 50) : place + 200]!r} for {expected[:200]!r}"]
    # The last line gets its end, and once more if the pixel stands behind it.
    return [] if found[place:] in ("", "\n", "\n\n") else [f"html goes on with {found[place : place + 200]!r}"]


def _faults_of_files(found: list[Message], raw: bytes, draft: OddDraft) -> list[str]:
    # Files that are shown inside the HTML stand with it, before the others.
    sent = sorted(draft.files, key=lambda file: file.content_id is None or draft.html is None)
    if len(found) != len(sent):
        return [f"{len(found)} files for {len(sent)}"]
    faults = []
    for part, file in zip(found, sent, strict=True):
        if part.get_filename() != file.filename:
            faults.append(f"file name {part.get_filename()!r} for {file.filename!r}")
        if (part["Content-ID"] or "").strip("<>") != (file.content_id or ""):
            faults.append(f"content id {part['Content-ID']!r}")
        if part.get_content_type() == "message/rfc822":
            if file.content not in raw:  # the library has taken it apart
                faults.append("an attached message")
        elif part.get_payload(decode=True) != file.content:
            faults.append(f"content of {file.filename!r}")
    return faults
