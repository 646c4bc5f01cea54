"""The ports of `up`: one number gives those of HTTP and the inbox, and whoever holds one is told of before anything starts.

SMTP has ports that mail programs try by themselves: 587, 465 and 2525. `up` takes them as root where they are free, else 2587 and 2465,
else whatever is free; the banner says which. Mail comes back to 2625: 25 is the Internet's.
An operator who names ports gets those or an error.
"""

from __future__ import annotations

import os
import random
import socket
from collections.abc import Sequence
from dataclasses import dataclass

from app.config import Settings
from app.embedded import StartError

_TRIES = 200
_LEAST_OF_ALL_USERS = 1024


@dataclass(frozen=True, slots=True)
class Ports:
    """Where `up` listens."""

    api: int
    inbox_http: int
    inbox_smtp: int
    # With STARTTLS, and with TLS from the first octet; either may be empty.
    smtp_starttls: tuple[int, ...] = ()
    smtp_tls: tuple[int, ...] = ()
    returns: tuple[int, ...] = ()

    @property
    def named(self) -> dict[str, int]:
        named = {"api": self.api, "inbox_http": self.inbox_http, "inbox_smtp": self.inbox_smtp}
        for name, ports in (("smtp_starttls", self.smtp_starttls), ("smtp_tls", self.smtp_tls), ("returns", self.returns)):
            named |= {name if number == 0 else f"{name}_{number + 1}": port for number, port in enumerate(ports)}
        return named


def choose_ports(wanted: int, settings: Settings) -> Ports:
    """The ports from `wanted` on, free ones when that is 0; StartError names the one that is taken."""
    api, inbox_http, inbox_smtp = _choose_three(wanted, settings.api_host)
    taken = {api, inbox_http, inbox_smtp}
    starttls = _choose_smtp(settings.submission_ports, "submission_ports", ((587, 2587), (2525,)), wanted, settings, taken)
    tls = _choose_smtp(settings.submission_tls_ports, "submission_tls_ports", ((465, 2465),), wanted, settings, taken)
    returns = _choose_smtp(settings.return_ports, "return_ports", ((2625,),), wanted, settings, taken)
    return Ports(api, inbox_http, inbox_smtp, starttls, tls, returns)


def _choose_three(wanted: int, host: str) -> tuple[int, int, int]:
    if wanted == 0:
        for _ in range(_TRIES):
            first = random.randrange(20_000, 32_000)  # noqa: S311 (below the range that the kernel gives away)
            if _first_taken(first, host) is None:
                return first, first + 1, first + 2
        raise StartError(f"no three free ports in a row found on {host}")
    taken = _first_taken(wanted, host)
    if taken is not None:
        name, port, reason = taken
        raise StartError(f"port {port} ({name}) cannot be used: {reason}; choose others with --port N (N, N+1 and N+2 are used)")
    return wanted, wanted + 1, wanted + 2


def _choose_smtp(
    named: Sequence[int], setting: str, wishes: Sequence[Sequence[int]], wanted: int, settings: Settings, taken: set[int]
) -> tuple[int, ...]:
    """The ports that the operator named, or of each wish the first that can be had; noted in `taken`."""
    variable = f"STAFFETTA_{setting.upper()}"
    host = settings.submission_host
    if setting in settings.model_fields_set:
        for port in named:
            reason = _why_taken(host, port)
            if reason is not None:
                raise StartError(f"port {port} (SMTP) cannot be used: {reason}; choose others with {variable}")
        return tuple(named)
    chosen: list[int] = []
    for wish in wishes:
        tries = (*(wish if wanted else ()), *(random.randrange(20_000, 32_000) for _ in range(_TRIES)))  # noqa: S311
        allowed = (port for port in tries if port not in taken and (port >= _LEAST_OF_ALL_USERS or os.geteuid() == 0))
        found = next((port for port in allowed if _why_taken(host, port) is None), None)
        if found is None:
            raise StartError(f"no free port for SMTP found on {host}; choose some with {variable}")
        taken.add(found)
        chosen.append(found)
    return tuple(chosen)


def _first_taken(first: int, host: str) -> tuple[str, int, str] | None:
    # The inbox shows mail without a log-in: it listens on this machine only.
    places = (("api", host, first), ("inbox http", "127.0.0.1", first + 1), ("inbox smtp", "127.0.0.1", first + 2))
    for name, address, port in places:
        reason = _why_taken(address, port)
        if reason is not None:
            return name, port, reason
    return None


def _why_taken(address: str, port: int) -> str | None:
    try:
        family, kind, protocol, _canonical, place = socket.getaddrinfo(address, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(place)
            probe.listen(1)
    except OSError as error:
        return error.strerror or str(error)
    return None
