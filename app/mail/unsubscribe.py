"""The header fields by which bulk mail is known, left and reported on.

    List-Unsubscribe, List-Unsubscribe-Post   how its reader leaves it, in one click (RFC 2369 §3.2, RFC 8058 §3.1)
    List-Id                                   which stream it is of (RFC 2919)
    Feedback-ID                               under which names a receiver counts complaints: campaign:stream:account:sender

The last two are the same for all recipients and become part of the content when it is composed (`standing_fields`); the first two carry
the recipient's token and are added when the mail is finished (`unsubscribe_fields`). What a client sets itself is never set again.
All of them are signed, the first two sealed (`dkim`): RFC 8058 §4 asks a receiver to look.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from functools import lru_cache

from app.mail.address import Address, format_header
from app.mail.header import format_field
from app.mail.tokens import TokenKind, TokenWriter, encode_payload

UNSUBSCRIBE_PATH = "/u/"
PREFERENCES_PATH = "/p/"
_NOT_IN_FEEDBACK = re.compile(r"[^A-Za-z0-9_.\-]+")
_LONGEST_CAMPAIGN = 64
_ONE_CLICK = b">\r\nList-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n"
_LIST_ID = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~\-]+(?:\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~\-]+)+")


def is_list_id(text: str) -> bool:
    """Whether this can be a list's identifier (RFC 2919 §3), without its angle brackets: words with dots between, at most 255 letters."""
    return len(text) <= 255 and _LIST_ID.fullmatch(text) is not None


def has_field(headers: Iterable[tuple[str, str]], name: str) -> bool:
    """Whether a client's own fields have one of this (lower-case) name."""
    return any(given.lower() == name for given, _ in headers)


def standing_fields(
    *,
    stream: str,
    title: str,
    list_id: str | None,
    is_bulk: bool,
    domain: str,
    account_id: int,
    campaign: str,
    own: Iterable[tuple[str, str]],
) -> bytes:
    """Feedback-ID, and List-Id if the mail is bulk: the same for all recipients. `own` are the client's fields: they stay the only ones."""
    own = tuple(own)
    fields = b""
    if is_bulk and not (own and has_field(own, "list-id")):
        fields = _list_id_field(title, list_id or f"{stream}.{domain}")
    if own and has_field(own, "feedback-id"):
        return fields
    # Parts are separated by colons; a part may be empty, the last one may not.
    campaign = _NOT_IN_FEEDBACK.sub("-", campaign[:_LONGEST_CAMPAIGN]) if campaign else ""
    return fields + f"Feedback-ID: {campaign}:{stream}:{account_id}:{_sender_id(domain)}\r\n".encode()


@lru_cache(maxsize=1024)
def _list_id_field(title: str, list_id: str) -> bytes:
    # A phrase and an identifier in angle brackets have the form of a name and a mailbox.
    return format_field("List-Id", format_header(Address(list_id, title)) if title else f"<{list_id}>")


@lru_cache(maxsize=1024)
def _sender_id(domain: str) -> str:
    """5 to 15 characters that are the same for all mail of a domain, and of no other."""
    return hashlib.blake2b(domain.encode(), digest_size=6, person=b"feedback").hexdigest()


def unsubscribe_url(base: str, writer: TokenWriter, stream: str) -> str:
    """Where the writer's recipient leaves a stream; `base` is scheme and host, without a slash at the end."""
    (token,) = writer.write(TokenKind.UNSUBSCRIBE, [_payload(stream)])
    return base + UNSUBSCRIBE_PATH + token.decode()


def unsubscribe_fields(url: str) -> bytes:
    """List-Unsubscribe and List-Unsubscribe-Post. On one line however long: some readers of mail lose a URL that was folded."""
    return b"List-Unsubscribe: <" + url.encode() + _ONE_CLICK


@lru_cache(maxsize=4096)
def _payload(stream: str) -> bytes:
    return encode_payload(stream.encode())
