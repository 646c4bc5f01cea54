"""Addresses in the fields of a mail that somebody else wrote (RFC 5322 §3.4): who is named in To and Cc, and who says that it is from him.

    read_mailboxes   all mailboxes of a list, with names, groups and comments, as mail programs write them
    read_author      the one mailbox of From or Sender, and nothing that two programs could read differently

Where a mailbox decides who gets a mail, one that cannot be read is an error; where it decides who sent it, so is all that is unusual.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

import idna

from app.mail.address import LONGEST_NAME, Address, domain_of, name_address, normalise_domain, parse_mailbox
from app.mail.header import check_text
from app.mail.words import decode_words

# Text in quotes, which may lack the last; each form takes time in proportion to what it reads, however it breaks off.
_QUOTED = r'"[^"\\]*(?:\\.[^"\\]*)*(?:"|\\?\Z)'
# What separates, a mailbox in brackets, and the rest word by word.
_TOKEN = re.compile(rf'{_QUOTED}|<[^<>]*>|[,;:]|[^\s"<,;:]+|.', re.DOTALL)
_OUTSIDE = re.compile(rf'{_QUOTED}|[^"(]+', re.DOTALL)
_INSIDE = re.compile(r"(?:[^()\\]|\\.)+|\\\Z", re.DOTALL)
_LONGEST_AUTHOR = 2000
# One mailbox: alone, perhaps with a plain comment behind it, or in brackets behind a name without anything odd.
_ALONE = re.compile(r"([^\s<>()\[\],;:]+)(?:[ \t]+\(([^()<>@\\\",;:]*)\))?")
_NAMED = re.compile(r'(?:"((?:[^"\\]|\\[ -~])*)"|([^"<>@()\[\]\\,;:]*?))[ \t]*<([^<>\s]+)>')
_AT_DOMAIN = re.compile(r"@\s*((?:[\w\-]+\.)+[^\W\d][\w\-]*)")


def read_mailboxes(value: str) -> list[str]:
    """The mailboxes of an address list, normalised; ValueError at the first that is none."""
    return [parse_mailbox(text) for text in _split(_without_comments(value))]


def find_mailboxes(value: str) -> list[str]:
    """Those that can be read."""
    found = []
    try:
        texts = _split(_without_comments(value))
    except ValueError:
        return []
    for text in texts:
        try:
            found.append(parse_mailbox(text))
        except ValueError:
            continue
    return found


def read_author(value: str) -> Address:
    """The one mailbox of From or Sender, which every program must read as the same; ValueError says what is wrong."""
    if len(value) > _LONGEST_AUTHOR:
        raise ValueError(f"It is longer than {_LONGEST_AUTHOR} characters.")
    check_text(value, "address")
    alone = _ALONE.fullmatch(value)
    named = _NAMED.fullmatch(value) if alone is None else None
    if alone is not None:
        mailbox, name = alone[1], alone[2] or ""
    elif named is not None:
        mailbox, name = named[3], re.sub(r"\\(.)", r"\1", named[1]) if named[1] is not None else named[2]
    else:
        raise ValueError("It must hold one address, of the form name@example.com or Name <name@example.com>.")
    address = name_address(mailbox, decode_words(name))
    if not mailbox.isascii() and domain_of(mailbox) not in _spellings(address.domain):
        raise ValueError("The domain of the address is not written as it is registered.")
    return address


def domains_in_name(address: Address) -> frozenset[str]:
    """The domains of mail addresses in the name that is shown, as a reader would see them: "ceo@bank.example" <me@shop.example>."""
    name = address.name
    return _domains_in(name) if "@" in name or "=?" in name or not name.isascii() else frozenset()


@lru_cache(maxsize=1000)
def _domains_in(name: str) -> frozenset[str]:
    seen = unicodedata.normalize("NFKC", decode_words(name))
    seen = "".join(character for character in seen if unicodedata.category(character) != "Cf")
    domains = set()
    for found in _AT_DOMAIN.findall(seen):
        try:
            domains.add(normalise_domain(found))
        except ValueError:
            domains.add(found.lower())
    return frozenset(domains)


def _spellings(domain: str) -> tuple[str, ...]:
    """A domain as it may stand in a header: as A-labels, or as the U-labels that they stand for (RFC 6532 §3.1)."""
    try:
        return domain, idna.decode(domain)
    except UnicodeError:
        return (domain,)


def _without_comments(value: str) -> str:
    """A space in place of each comment, and of those within it; ValueError when one does not end."""
    if "(" not in value:
        return value
    pieces: list[str] = []
    place = depth = 0
    while place < len(value):
        found = (_INSIDE if depth else _OUTSIDE).match(value, place)
        if found is not None:
            place = found.end()
            if not depth:
                pieces.append(found[0])
            continue
        depth += 1 if value[place] == "(" else -1
        pieces.append(" ")
        place += 1
    if depth:
        raise ValueError("A comment in the list of addresses does not end.")
    return "".join(pieces)


def find_people(value: str) -> list[Address]:
    """Those that can be read, with their names, whose encoded words are read once it is clear where a name ends (RFC 2047 §6.2)."""
    try:
        pairs = _split_named(_without_comments(value))
    except ValueError:
        return []
    found = []
    for name, text in pairs:
        try:
            mailbox = parse_mailbox(text)
        except ValueError:
            continue
        shown = decode_words(re.sub(r"\\(.)", r"\1", name[1:-1]) if name[:1] == name[-1:] == '"' else name)
        found.append(Address(mailbox, " ".join(shown.split())[:LONGEST_NAME]))
    return found


def _split(value: str) -> list[str]:
    """The texts of the mailboxes in a list; names of people and groups are passed over."""
    return [text for _, text in _split_named(value)]


def _split_named(value: str) -> list[tuple[str, str]]:
    """(name, text of the mailbox) of each in a list; names of groups are passed over."""
    found: list[tuple[str, str]] = []
    words: list[str] = []
    bracketed: str | None = None

    def end() -> None:
        nonlocal bracketed
        said = "".join(words).strip()
        name, text = (said, bracketed) if bracketed is not None else ("", said)
        if text:
            found.append((name, text))
        words.clear()
        bracketed = None

    for piece in _TOKEN.findall(value):
        if piece in (",", ";"):
            end()
        elif piece == ":":  # what stood before it is a group's name, or a route within no brackets
            words.clear()
        elif piece[0] == "<" and len(piece) > 1:
            bracketed = piece[1:-1].strip()
        else:
            words.append(piece)
    end()
    return found
