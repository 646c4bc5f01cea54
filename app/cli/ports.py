"""The ports of `up`: one number gives all of them, and whoever holds one is told of before anything starts."""

from __future__ import annotations

import random
import socket
from dataclasses import dataclass

from app.embedded import StartError

_TRIES = 200


@dataclass(frozen=True, slots=True)
class Ports:
    """Where `up` listens."""

    api: int
    inbox_http: int
    inbox_smtp: int

    @property
    def named(self) -> dict[str, int]:
        return {"api": self.api, "inbox_http": self.inbox_http, "inbox_smtp": self.inbox_smtp}


def choose_ports(wanted: int, host: str) -> Ports:
    """The ports from `wanted` on, free ones when that is 0; StartError names the one that is taken."""
    if wanted == 0:
        for _ in range(_TRIES):
            ports = _ports_from(random.randrange(20_000, 32_000))  # noqa: S311 (below the range that the kernel gives away)
            if _first_taken(ports, host) is None:
                return ports
        raise StartError(f"no three free ports in a row found on {host}")
    ports = _ports_from(wanted)
    taken = _first_taken(ports, host)
    if taken is not None:
        name, port, reason = taken
        raise StartError(f"port {port} ({name}) cannot be used: {reason}; choose others with --port N (N, N+1 and N+2 are used)")
    return ports


def _ports_from(first: int) -> Ports:
    return Ports(api=first, inbox_http=first + 1, inbox_smtp=first + 2)


def _first_taken(ports: Ports, host: str) -> tuple[str, int, str] | None:
    for name, port in ports.named.items():
        # The inbox shows mail without a log-in: it listens on this machine only.
        address = host if name == "api" else "127.0.0.1"
        try:
            family, kind, protocol, _canonical, place = socket.getaddrinfo(address, port, type=socket.SOCK_STREAM)[0]
            with socket.socket(family, kind, protocol) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(place)
                probe.listen(1)
        except OSError as error:
            return name.replace("_", " "), port, error.strerror or str(error)
    return None
