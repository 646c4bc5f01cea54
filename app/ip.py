"""IP addresses: which may be connected, which network one is judged by, and from which of ours the kernel would talk to one.

Rules for what may be connected (`refusal_of`):
* IPv4 must lie outside every special-purpose block (RFC 6890 and its registry); IPv6 must be global unicast and no wrapper
  around an IPv4 address (mapped, compatible, NAT64, 6to4, Teredo, ISATAP).
* `allow_private` (development) lifts that, but never for multicast, unspecified or link-local ones:
  169.254.169.254 answers with credentials in every cloud.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Sequence

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

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


def address_of(text: str) -> Address | None:
    """The address in a text, as IPv4 where it is mapped (RFC 4291 §2.5.5.2), without its zone; None when it is none."""
    try:
        ip = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return getattr(ip, "ipv4_mapped", None) or ip


def network_of(text: str, *, v4: int = 24, v6: int = 48) -> str:
    """The network that an address is judged by: what one customer of a provider has, about. What is no address is its own."""
    ip = address_of(text)
    return text if ip is None else str(ipaddress.ip_network((ip, v4 if ip.version == 4 else v6), strict=False))


def source_for(address: str) -> str | None:
    """The address of this machine from which it would talk to another; None when there is no way. Sends nothing."""
    try:
        with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect((address, 25))
            return str(probe.getsockname()[0])
    except OSError:
        return None


def is_this_machine(address: str) -> bool:
    """Whether the kernel would talk to itself."""
    return source_for(address) == address
