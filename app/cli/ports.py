"""The ports of `up`: one number gives all of them, and whoever holds one is told of before anything starts.

Without a number SMTP gets the ports that mail programs try by themselves, 587, 465 and 2525, as root and where they are free; else 2587
and 2465; else whatever is free. Mail comes back to 2625: 25 is the Internet's. With a number they get those that follow. An operator who
names ports by settings gets these or an error.
"""

from __future__ import annotations

import os
import random
import socket
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from app.config import Settings
from app.embedded import StartError

_TRIES = 200
_LEAST_OF_ALL_USERS = 1024
_IN_A_ROW = 7
# What SMTP would like, in order: with STARTTLS twice, and with TLS from the first octet.
_STARTTLS_WISHES = ((587, 2587), (2525,))
_TLS_WISHES = ((465, 2465),)
_RETURN_WISHES = ((2625,),)


@dataclass(frozen=True, slots=True)
class Ports:
    """Where `up` listens. Those of SMTP may be none."""

    api: int
    inbox_http: int
    inbox_smtp: int
    smtp_starttls: tuple[int, ...] = ()
    smtp_tls: tuple[int, ...] = ()
    returns: tuple[int, ...] = ()

    @property
    def named(self) -> dict[str, int]:
        named = {"api": self.api, "inbox_http": self.inbox_http, "inbox_smtp": self.inbox_smtp}
        for name, ports in (("smtp_starttls", self.smtp_starttls), ("smtp_tls", self.smtp_tls), ("returns", self.returns)):
            named |= {name if place == 0 else f"{name}_{place + 1}": port for place, port in enumerate(ports)}
        return named


def choose_ports(wanted: int | None, settings: Settings) -> Ports:
    """The ports from `wanted` on, free ones when that is 0, the usual ones when it is None; StartError names the one that is taken."""
    first = wanted if wanted is not None else settings.api_port
    if first == 0:
        first = _find_row(settings)
    _require_free(first, settings.api_host, "api", "with --port N (N to N+6 are used)")
    # The inbox shows mail without a log-in: it listens on this machine only.
    for name, port in (("inbox http", first + 1), ("inbox smtp", first + 2)):
        _require_free(port, "127.0.0.1", name, "with --port N (N to N+6 are used)")
    following: tuple[tuple[int, ...], ...] = (first + 3, first + 4), (first + 5,), (first + 6,)
    if wanted is None:
        taken = {first, first + 1, first + 2}
        wishes = (_STARTTLS_WISHES, _TLS_WISHES, _RETURN_WISHES)
        following = tuple(tuple(_choose(wish, settings, taken) for wish in kind) for kind in wishes)
    starttls = _named_or("submission_ports", settings.submission_ports, following[0], settings)
    tls = _named_or("submission_tls_ports", settings.submission_tls_ports, following[1], settings)
    returns = _named_or("return_ports", settings.return_ports, following[2], settings)
    return Ports(first, first + 1, first + 2, starttls, tls, returns)


def _find_row(settings: Settings) -> int:
    for _ in range(_TRIES):
        first = random.randrange(20_000, 32_000)  # noqa: S311 (below the range that the kernel gives away)
        hosts = (settings.api_host, "127.0.0.1", "127.0.0.1", *[settings.submission_host] * (_IN_A_ROW - 3))
        if all(_why_taken(host, first + place) is None for place, host in enumerate(hosts)):
            return first
    raise StartError(f"no {_IN_A_ROW} free ports in a row found on {settings.api_host}")


def _named_or(setting: str, named: Sequence[int], chosen: tuple[int, ...], settings: Settings) -> tuple[int, ...]:
    """The ports of a setting, when the operator set it; else those chosen. All of them are free."""
    variable = f"STAFFETTA_{setting.upper()}"
    ports = tuple(named) if setting in settings.model_fields_set else chosen
    for port in ports:
        _require_free(port, settings.submission_host, "smtp", f"with {variable} or --port N (N to N+6 are used)")
    return ports


def _choose(wish: Sequence[int], settings: Settings, taken: set[int]) -> int:
    """The first port of a wish that can be had, or a free one; noted in `taken`."""
    for port in _candidates(wish):
        if port not in taken and _why_taken(settings.submission_host, port) is None:
            taken.add(port)
            return port
    raise StartError(f"no free port for SMTP found on {settings.submission_host}")


def _candidates(wish: Sequence[int]) -> Iterator[int]:
    yield from (port for port in wish if port >= _LEAST_OF_ALL_USERS or os.geteuid() == 0)
    for _ in range(_TRIES):
        yield random.randrange(20_000, 32_000)  # noqa: S311


def _require_free(port: int, host: str, name: str, how: str) -> None:
    reason = _why_taken(host, port)
    if reason is not None:
        raise StartError(f"port {port} ({name}) cannot be used: {reason}; choose others {how}")


def _why_taken(host: str, port: int) -> str | None:
    try:
        family, kind, protocol, _canonical, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(place)
            probe.listen(1)
    except OSError as error:
        return error.strerror or str(error)
    return None
