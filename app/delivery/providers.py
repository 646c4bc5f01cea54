"""Limits and TLS rules of receiving sites, from a file that comes with the release and one of the operator's over it.

The form is told at the top of `providers.toml`. An entry is found by the MX hosts of a site, or by the recipient's domain; the first one
that fits holds, the operator's before ours. For TLS the domain's word goes before the site's. A file that says what cannot be is refused
when a worker starts: a limit that is silently not there would be found out by a block.

Asked when a route is looked up, never per message. What the limits do is `restraint`'s.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from app.delivery.conversation import Tls

SHIPPED = Path(__file__).with_name("providers.toml")
_COUNTS = ("connections", "deliveries_per_connection")
_KEYS = {"mx", "domains", "messages_per_second", "tls", *_COUNTS}


@dataclass(frozen=True, slots=True)
class Provider:
    """One entry. A limit of 0 is none of its own."""

    name: str
    mx: tuple[str, ...] = ()
    domains: tuple[str, ...] = ()
    connections: int = 0
    deliveries_per_connection: int = 0
    messages_per_second: float = 0.0
    tls: Tls = Tls.OPPORTUNISTIC

    @property
    def words(self) -> str:
        """Its limits for people: "5 connections, 10 messages a second"."""
        limits = [f"{self.connections} connections"] if self.connections else []
        limits += [f"{self.messages_per_second:g} messages a second"] if self.messages_per_second else []
        return ", ".join(limits)


class Providers:
    """The entries, in the order in which they are asked."""

    def __init__(self, entries: Sequence[Provider] = ()) -> None:
        self._by_mx = [entry for entry in entries if entry.mx]
        self._by_domain = [entry for entry in entries if entry.domains]

    @classmethod
    def load(cls, path: Path | None = None) -> Self:
        """The shipped entries with those at `path` over them; ValueError names the file, the entry and the key that is wrong."""
        shipped = _read(SHIPPED)
        own = _read(path) if path is not None else {}
        merged = {name: shipped.get(name, {}) | keys for name, keys in own.items()}
        merged |= {name: keys for name, keys in shipped.items() if name not in own}
        return cls([_entry(name, keys, path if path is not None and name in own else SHIPPED) for name, keys in merged.items()])

    def of_site(self, hosts: Iterable[str]) -> Provider | None:
        """The entry of a set of MX hosts (lower case): all of them must fit it."""
        names = [host for host in hosts if host]
        return next((entry for entry in self._by_mx if names and all(fits(name, entry.mx) for name in names)), None)

    def tls_of(self, domain: str, site: Provider | None) -> Tls:
        """What is asked of connections for mail to a domain at a site."""
        entry = next((entry for entry in self._by_domain if fits(domain, entry.domains)), site)
        return entry.tls if entry is not None else Tls.OPPORTUNISTIC


def fits(name: str, ends: Sequence[str]) -> bool:
    """Whether a name is one of these; one with a dot in front is the end of many."""
    return any(name.endswith(end) if end.startswith(".") else name == end for end in ends)


def _read(path: Path) -> dict[str, dict[str, Any]]:
    try:
        entries = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from error
    loose = [name for name, entry in entries.items() if not isinstance(entry, dict)]
    if loose:
        raise ValueError(f"{path}: {loose[0]} stands outside of any [entry]")
    return entries


def _entry(name: str, keys: Mapping[str, Any], path: Path) -> Provider:
    def refuse(key: str, why: str) -> ValueError:
        return ValueError(f"{path}: [{name}] {key} {why}")

    for key in keys.keys() - _KEYS:
        raise refuse(key, f"is unknown; there are {', '.join(sorted(_KEYS))}")
    for key in ("mx", "domains"):
        listed = keys.get(key, [])
        if not isinstance(listed, list) or not all(isinstance(one, str) and one.strip(".") for one in listed):
            raise refuse(key, "must be a list of names")
    if bool(keys.get("mx")) == bool(keys.get("domains")):
        raise refuse("mx", "or domains must say for whom it is, and not both")
    for key in _COUNTS:
        if type(keys.get(key, 0)) is not int or keys.get(key, 0) < 0:
            raise refuse(key, "must be a whole number")
    rate = keys.get("messages_per_second", 0)
    if type(rate) not in (int, float) or not 0 <= rate < float("inf"):
        raise refuse("messages_per_second", "must be a number")
    if keys.get("tls", Tls.OPPORTUNISTIC) not in list(Tls):
        raise refuse("tls", f"must be one of {', '.join(Tls)}")
    limits = [key for key in (*_COUNTS, "messages_per_second") if keys.get("domains") and keys.get(key)]
    if limits:
        # A site has one line for all the domains behind it: a limit of some of them would hold up the others.
        raise refuse(limits[0], "cannot be said of domains, only of mx")
    return Provider(
        name,
        mx=tuple(one.lower() for one in keys.get("mx", ())),
        domains=tuple(one.lower() for one in keys.get("domains", ())),
        connections=keys.get("connections", 0),
        deliveries_per_connection=keys.get("deliveries_per_connection", 0),
        messages_per_second=float(rate),
        tls=Tls(keys.get("tls", Tls.OPPORTUNISTIC)),
    )
