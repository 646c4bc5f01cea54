"""SPF records (RFC 7208): read, and their macros filled in. What they say of an address is asked by feedback.spf, which has the DNS."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final
from urllib.parse import quote

Ip = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_VERSION: Final = "v=spf1"
_LONGEST_RECORD: Final = 8192
_LONGEST_NAME: Final = 253
_TERM = re.compile(r"([+\-?~]?)(all|include|a|mx|ptr|ip4|ip6|exists)(?:(:)([^/]*))?((?:/.*)?)", re.IGNORECASE | re.DOTALL)
_MODIFIER = re.compile(r"([a-z][a-z0-9\-_.]*)=(.*)", re.IGNORECASE | re.DOTALL)
_CIDR = re.compile(r"(?:/(0|[1-9]\d?))?(?://(0|[1-9]\d{0,2}))?")
_MACRO = re.compile(r"%(?:\{([slodiphcrtv])(\d{0,3})(r?)([.\-+,/_=]*)\}|([%_\-])|(.?))", re.IGNORECASE | re.DOTALL)
_DOMAIN_END = re.compile(r".*\.[a-z0-9](?:[a-z0-9\-]*[a-z0-9])?\.?|.*%\{[^{}]*\}", re.IGNORECASE | re.DOTALL)


class Result(StrEnum):
    """RFC 7208 §2.6."""

    NONE = "none"
    NEUTRAL = "neutral"
    PASS = "pass"  # noqa: S105
    FAIL = "fail"
    SOFTFAIL = "softfail"
    TEMPERROR = "temperror"
    PERMERROR = "permerror"


QUALIFIERS: Final = {"": Result.PASS, "+": Result.PASS, "-": Result.FAIL, "~": Result.SOFTFAIL, "?": Result.NEUTRAL}


class BadRecord(ValueError):
    """A record that is none: permerror."""


@dataclass(frozen=True, slots=True)
class Term:
    """One mechanism. `domain` is a domain-spec with its macros, empty for the domain itself; `network` of ip4 and ip6."""

    result: Result
    name: str
    domain: str = ""
    cidr4: int = 32
    cidr6: int = 128
    network: Network | None = None


@dataclass(frozen=True, slots=True)
class Record:
    terms: tuple[Term, ...]
    redirect: str = ""


@dataclass(frozen=True, slots=True)
class Asker:
    """Whom the question is about (RFC 7208 §7.2)."""

    ip: Ip
    sender: str
    helo: str


def is_record(text: str) -> bool:
    """RFC 7208 §4.5: the version, then a space or the end."""
    return text[:7].lower().rstrip(" ") == _VERSION


def read_record(text: str) -> Record:
    """The whole record, or BadRecord at whatever is wrong in it (RFC 7208 §4.6)."""
    if len(text) > _LONGEST_RECORD or not text.isascii():
        raise BadRecord("too long, or not ASCII")
    terms: list[Term] = []
    modifiers: dict[str, str] = {}
    for word in text[len(_VERSION) :].split(" "):
        if not word:
            continue
        modifier = _MODIFIER.fullmatch(word)
        if modifier is not None:
            name = modifier[1].lower()
            if name in ("redirect", "exp"):
                if name in modifiers:
                    raise BadRecord(f"{name} twice")
                _check_domain(modifier[2])
                modifiers[name] = modifier[2]
            continue
        terms.append(_read_term(word))
    return Record(tuple(terms), modifiers.get("redirect", ""))


def _read_term(word: str) -> Term:
    found = _TERM.fullmatch(word)
    if found is None:
        raise BadRecord("no such mechanism")
    result, name = QUALIFIERS[found[1]], found[2].lower()
    colon, value, cidr = found[3] is not None, found[4] or "", found[5]
    if name == "all":
        if colon or cidr:
            raise BadRecord("all takes nothing")
        return Term(result, name)
    if name in ("ip4", "ip6"):
        return Term(result, name, network=_read_network(name, word))
    if name in ("include", "exists", "ptr") and cidr:
        # A slash can stand in a domain-spec's macro alone.
        value, cidr = value + cidr, ""
    if value or colon or name in ("include", "exists"):
        if "%" in value + cidr and "/" in cidr and not _CIDR.fullmatch(cidr):
            value, cidr = _split_cidr(value + cidr)
        _check_domain(value)
    lengths = _CIDR.fullmatch(cidr)
    if lengths is None:
        raise BadRecord("no prefix length")
    cidr4, cidr6 = int(lengths[1] or 32), int(lengths[2] or 128)
    if cidr4 > 32 or cidr6 > 128:
        raise BadRecord("no prefix length")
    return Term(result, name, value, cidr4, cidr6)


def _split_cidr(text: str) -> tuple[str, str]:
    end = text.rfind("}") + 1
    slash = text.find("/", end)
    return (text[:slash], text[slash:]) if slash >= 0 else (text, "")


def _read_network(name: str, word: str) -> Network:
    value = word.partition(":")[2]
    kind: type[ipaddress.IPv4Network | ipaddress.IPv6Network] = ipaddress.IPv4Network if name == "ip4" else ipaddress.IPv6Network
    length = value.partition("/")[2] if "/" in value else None
    if length is not None and re.fullmatch(r"0|[1-9]\d{0,2}", length) is None:
        raise BadRecord("no prefix length")
    try:
        return kind(value, strict=False)
    except ValueError as error:
        raise BadRecord("no address") from error


def _check_domain(text: str) -> None:
    """A domain-spec (RFC 7208 §7.1)."""
    if not text or _DOMAIN_END.fullmatch(text) is None or not text.isprintable() or " " in text:
        raise BadRecord("no domain")
    for found in _MACRO.finditer(text):
        if found[6] is not None or (found[1] and found[1].lower() in "crt") or found[2] in ("0", "00", "000"):
            raise BadRecord("no macro")


def expand(text: str, asker: Asker, domain: str) -> str:
    """A domain-spec with its macros filled in (RFC 7208 §7.3); longer names lose labels on the left."""

    def fill(found: re.Match[str]) -> str:
        if found[5]:
            return {"%": "%", "_": " ", "-": "%20"}[found[5]]
        letter = found[1]
        value = _macro_value(letter.lower(), asker, domain)
        parts = re.split(f"[{re.escape(found[4] or '.')}]", value)
        if found[3]:
            parts.reverse()
        if found[2]:
            parts = parts[-int(found[2]) :]
        joined = ".".join(parts)
        return quote(joined, safe="-._~") if letter.isupper() else joined

    name = _MACRO.sub(fill, text).rstrip(".")
    while len(name) > _LONGEST_NAME and "." in name:
        name = name.partition(".")[2]
    return name.lower()


def _macro_value(letter: str, asker: Asker, domain: str) -> str:
    local, _, of_sender = asker.sender.rpartition("@")
    match letter:
        case "s":
            return asker.sender
        case "l":
            return local
        case "o":
            return of_sender
        case "d":
            return domain
        case "i":
            return str(asker.ip) if asker.ip.version == 4 else ".".join(asker.ip.exploded.replace(":", ""))
        case "v":
            return "in-addr" if asker.ip.version == 4 else "ip6"
        case "h":
            return asker.helo
        case _:  # p: RFC 7208 §7.3 tells not to use it, and lets it be unknown
            return "unknown"
