"""Where a webhook may lead: judgements on addresses and URLs. Pure; the guard in `egress` applies them.

Rules:
* IPv4 must lie outside every special-purpose block (RFC 6890 and its registry); IPv6 must be global unicast and no wrapper
  around an IPv4 address (mapped, compatible, NAT64, 6to4, Teredo, ISATAP).
* Ports 80 and 443, https.
* `allow_private` (development) lifts scheme, port and private addresses, but never multicast, unspecified or link-local ones:
  169.254.169.254 answers with credentials in every cloud.
* A URL is judged when it is registered only so that its owner is told early (`check_url`). What protects is the judgement of
  the address that is about to be connected.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Sequence

from yarl import URL

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

PORTS = frozenset({80, 443})
MOST_URL_LENGTH = 2048

# IANA special-purpose registry (RFC 6890), and addresses that look public but answer inside a cloud.
_REFUSED_V4 = tuple(
    ipaddress.IPv4Network(text)
    for text in (
        "0.0.0.0/8",  # this network (RFC 1122 §3.2.1.3)
        "10.0.0.0/8",  # private (RFC 1918)
        "100.64.0.0/10",  # carrier-grade NAT (RFC 6598); Alibaba's metadata server
        "127.0.0.0/8",  # loopback
        "168.63.129.16/32",  # Azure's wire server
        "169.254.0.0/16",  # link-local (RFC 3927); metadata servers
        "172.16.0.0/12",  # private
        "192.0.0.0/24",  # IETF protocol assignments (RFC 6890); Oracle's metadata server
        "192.0.2.0/24",  # documentation (RFC 5737)
        "192.31.196.0/24",  # AS112 (RFC 7535)
        "192.52.193.0/24",  # AMT (RFC 7450)
        "192.88.99.0/24",  # 6to4 relays (RFC 7526)
        "192.168.0.0/16",  # private
        "192.175.48.0/24",  # AS112 (RFC 7534)
        "198.18.0.0/15",  # benchmarks (RFC 2544)
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, and broadcast
    )
)
# IPv6 the other way round: global unicast (RFC 4291 §2.4), less what is special within it.
_GLOBAL_V6 = ipaddress.IPv6Network("2000::/3")
_REFUSED_V6 = tuple(
    ipaddress.IPv6Network(text)
    for text in (
        "2001::/23",  # IETF protocol assignments: Teredo (RFC 4380), ORCHID, benchmarks …
        "2001:db8::/32",  # documentation (RFC 3849)
        "2002::/16",  # 6to4 (RFC 3056)
        "2620:4f:8000::/48",  # AS112
        "3fff::/20",  # documentation (RFC 9637)
    )
)
# Refused even in development.
_NEVER = tuple(
    ipaddress.ip_network(text)
    for text in (
        "0.0.0.0/8",
        "169.254.0.0/16",
        "168.63.129.16/32",
        "100.100.100.200/32",
        "192.0.0.0/24",
        "224.0.0.0/3",
        "::/128",
        "fe80::/10",
        "fd00:ec2::/32",  # metadata servers: Amazon's, Google's
        "fd20:ce::/32",
        "ff00::/8",
    )
)
# IPv6 addresses that carry an IPv4 address in their last 32 bits: judged by that one in development.
_WRAPPERS = tuple(ipaddress.IPv6Network(text) for text in ("::ffff:0:0/96", "::ffff:0:0:0/96", "::/96", "64:ff9b::/96", "64:ff9b:1::/48"))
# Names that lead inside wherever they are resolved (RFC 6761, RFC 6762, RFC 8375, RFC 9476 and custom).
_INSIDE_NAMES = (
    *("localhost", "localdomain", "local", "internal", "intranet", "private", "lan", "corp", "home", "home.arpa", "svc", "onion", "alt"),
)
# A public name (RFC 1123 §2.1, and "_"). Its last label is no number: what ends in one is an address to somebody.
_NAME = re.compile(r"(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.)+[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?")
_LONGEST_NAME = 253
_AUTHORITY_END = re.compile("[/?#]")


def refusal_of(address: str, *, allow_private: bool = False, own_networks: Sequence[Network] = ()) -> str | None:
    """Why an IP address must not be connected, or None. `address` is numeric, as in a socket address."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    return _refusal_in_development(ip) if allow_private else _refusal(ip, own_networks)


def _refusal(ip: Address, own_networks: Sequence[Network]) -> str | None:
    if isinstance(ip, ipaddress.IPv4Address):
        public = not any(ip in network for network in _REFUSED_V4)
    else:
        public = ip in _GLOBAL_V6 and not any(ip in network for network in _REFUSED_V6) and not _is_isatap(ip)
    if not public:
        return f"{ip} is not a public address"
    if any(ip in network for network in own_networks):
        return f"{ip} is on this server's own network"
    return None


def _refusal_in_development(ip: Address) -> str | None:
    if isinstance(ip, ipaddress.IPv6Address) and ip != ipaddress.IPv6Address("::1"):
        last = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        wrapped = last if _is_isatap(ip) or any(ip in wrapper for wrapper in _WRAPPERS) else None
        ip = wrapped or ip.sixtofour or (ip.teredo[1] if ip.teredo is not None else ip)
    return f"{ip} is never connected" if any(ip in network for network in _NEVER) else None


def _is_isatap(ip: ipaddress.IPv6Address) -> bool:
    """Whether its last half says that its last 32 bits are an IPv4 address (RFC 5214 §6.1)."""
    return (int(ip) >> 32) & 0xFCFFFFFF == 0x00005EFE


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
