"""Where a webhook may lead: judgements on URLs. Pure; the guard in `egress` judges addresses (app.ip).

Rules:
* Ports 80 and 443, https, a public name or address. `allow_private` (development) lifts them.
* A URL is judged when it is registered only so that its owner is told early. What protects is the judgement of the address that is
  about to be connected.
"""

from __future__ import annotations

import ipaddress
import re
import socket

from yarl import URL

from app.ip import refusal_of

PORTS = frozenset({80, 443})
MOST_URL_LENGTH = 2048

# Names that lead inside wherever they are resolved (RFC 6761, RFC 6762, RFC 8375, RFC 9476 and custom).
_INSIDE_NAMES = (
    *("localhost", "localdomain", "local", "internal", "intranet", "private", "lan", "corp", "home", "home.arpa", "svc", "onion", "alt"),
)
# A public name (RFC 1123 §2.1, and "_"). Its last label is no number: what ends in one is an address to somebody.
_NAME = re.compile(r"(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.)+[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?")
_LONGEST_NAME = 253
_AUTHORITY_END = re.compile("[/?#]")


def check_url(text: str, *, allow_private: bool = False) -> str:
    """The URL in the form it will be used in; ValueError, with a sentence for its owner, when it cannot be a webhook."""
    if len(text) > MOST_URL_LENGTH:
        raise ValueError(f"The URL is longer than {MOST_URL_LENGTH} characters.")
    if not _is_plain(text):
        raise ValueError("The URL contains spaces, backslashes or control characters.")
    try:
        url = URL(text)
        host, port = url.raw_host, url.port
    except ValueError:
        raise ValueError("This is not a URL.") from None
    if url.scheme not in {"https", "http"} or not host:
        raise ValueError("The URL must be an absolute https:// URL.")
    if url.scheme == "http" and not allow_private:
        raise ValueError("The URL must begin with https://.")
    if url.user is not None or url.password is not None:
        raise ValueError("The URL must not contain a user name or password; posts are signed instead.")
    if url.raw_fragment:
        raise ValueError("The URL must not contain a fragment (#…).")
    if not port or (port not in PORTS and not allow_private):
        raise ValueError("The port must be 443 or 80.")
    _check_host(host, allow_private)
    made = str(url)
    # What normalising made of odd letters; and it must be read again as it was (yarl lets the brackets go of what is no IPv6 address).
    if not made.isascii() or not _is_plain(made) or not _is_same(made, host, text):
        raise ValueError("This is not a URL.")
    return made


def _is_plain(text: str) -> bool:
    return text.isprintable() and " " not in text and "\\" not in text


def _is_same(made: str, host: str, text: str) -> bool:
    try:
        return URL(made).raw_host == host and ("[" in _AUTHORITY_END.split(text, 3)[2]) == (":" in host)
    except ValueError:
        return False


def _check_host(host: str, allow_private: bool) -> None:
    literal = _literal(host)
    if literal is not None:
        refusal = refusal_of(literal, allow_private=allow_private)
        if refusal is not None:
            raise ValueError(f"The host cannot be used: {refusal}.")
        if ":" not in host and literal != host and not allow_private:  # others may read another address in it
            raise ValueError(f"The host {host} is not a public name.")
        return
    name = host.rstrip(".").lower()
    if "%" in name:  # a name has no such letters, and what reads them as others would read another name
        raise ValueError(f"The host {host} is not a name.")
    if allow_private:
        return
    if (
        _NAME.fullmatch(name) is None
        or len(name) > _LONGEST_NAME
        or any(name == inside or name.endswith(f".{inside}") for inside in _INSIDE_NAMES)
    ):
        raise ValueError(f"The host {host} is not a public name.")


def _literal(host: str) -> str | None:
    """The address in a host that is one, in any spelling that resolvers take for an IPv4 address (0x7f.1, 2130706433 …)."""
    try:
        return str(ipaddress.ip_address(host.partition("%")[0]))
    except ValueError:
        pass
    try:
        return socket.inet_ntoa(socket.inet_aton(host.rstrip(".")))
    except (OSError, UnicodeEncodeError, ValueError):
        return None
