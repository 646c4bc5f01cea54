"""The target of a link as a redirect may name it: an absolute http or https URL of printable ASCII, or nothing.

A browser reads what stands in a mail by the rules of WHATWG URL; a Location field (RFC 9110 §10.2.2) is read by browsers, scanners and
libraries, which do not agree about odd URLs. What leaves here is written so that they do: one host, no backslash, no control character,
IDNA done, everything else that is not plain percent-encoded.
"""

from __future__ import annotations

import re

import idna

from app.mail.charset import codec_of

_PLAIN = re.compile(r"https?://[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?(?::[0-9]{1,4})?(?:[/?#](?:[!#-;=?-Z\[\]_-z{|}~])*)?")
_PARTS = re.compile(
    r"(https?)://[/\\]*+(?:([^/?#\\]*)@)?(\[[0-9A-Fa-f:.]+\]|[^/?#\\@:\[\]]+)(?::([0-9]{0,5}))?(?=[/?#\\]|\Z)([^?#]*)(.*)",
    re.IGNORECASE | re.DOTALL,
)
_AROUND = "".join(map(chr, range(0x21)))
_WITHIN = str.maketrans("", "", "\t\n\r")
_NO_HOST = re.compile(r"[\x00-\x20\x7f\"<>^`|]|%(?![0-9A-Fa-f]{2})")
_TO_ESCAPE = re.compile(r"[^!#-;=?-~]+")
# ASCII that is part of a letter's octets; "&", "#" and ";" come of references alone.
_PLAIN_IN_QUERY = frozenset(map(chr, range(0x21, 0x7F))).difference("\"#&';<>")
_NOT_ASCII = re.compile(r"[^\x00-\x7f]+")


def location_of(url: str | bytes) -> str | None:
    """`url` (as a mail's reader understands it; octets are UTF-8) for a Location field; None unless it is absolute, http or https."""
    if isinstance(url, bytes):
        try:
            url = url.decode()
        except UnicodeDecodeError:
            return None
    if _PLAIN.fullmatch(url) is not None:
        return url
    parts = _PARTS.fullmatch(url.strip(_AROUND).translate(_WITHIN))
    if parts is None:
        return None
    scheme, user, host, port, path, rest = parts.groups()
    ascii_host = _ascii_host(host)
    if ascii_host is None or (port and int(port) > 0xFFFF):
        return None
    authority = f"{_escape(user).replace('@', '%40')}@{ascii_host}" if user else ascii_host
    if port:
        authority += f":{port}"
    return f"{scheme.lower()}://{authority}{_escape(path.replace(chr(0x5C), '/'))}{_escape(rest)}"


def with_query_as_sent(url: str, charset: str) -> str:
    """`url` with its query percent-encoded in the page's charset, as browsers send it (WHATWG URL §4.4, query state)."""
    codec = None if url.isascii() else codec_of(charset)
    if codec in (None, "utf-8", "ascii"):
        return url
    before, mark, query = url.partition("?")
    query, hash_mark, fragment = query.partition("#")
    if not mark or "#" in before:
        return url
    try:
        query = _NOT_ASCII.sub(lambda found: _in_query(found[0], codec), query)
    except (LookupError, UnicodeError):
        return url
    return f"{before}?{query}{hash_mark}{fragment}"


def _in_query(text: str, codec: str) -> str:
    """What the charset has not becomes a character reference, encoded (WHATWG URL §1.3, percent-encode after encoding)."""
    octets = text.encode(codec, "xmlcharrefreplace")
    return "".join([chr(octet) if chr(octet) in _PLAIN_IN_QUERY else f"%{octet:02X}" for octet in octets])


def _ascii_host(host: str) -> str | None:
    if _NO_HOST.search(host) is not None:
        return None
    if host.isascii():
        return host
    try:
        return idna.encode(host, uts46=True).decode("ascii")
    except idna.IDNAError:
        # Browsers are more tolerant: to them percent-encoded UTF-8 is the same host.
        return None if any(character.isspace() for character in host) else _escape(host)


def _escape(text: str) -> str:
    return _TO_ESCAPE.sub(lambda found: _percent(found[0].encode("utf-8", "replace")), text)


def _percent(octets: bytes) -> str:
    return "".join([f"%{octet:02X}" for octet in octets])
