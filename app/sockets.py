"""What a process needs to be connected with many: a socket that listens, and leave to open so many files."""

from __future__ import annotations

import resource
import socket


def listen(host: str, port: int, backlog: int) -> socket.socket:
    """A socket that listens; OSError, with the port in its words, when it cannot be had."""
    listening = None
    try:
        family, kind, protocol, _name, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        # With its protocol named: asyncio sets TCP_NODELAY only on sockets that say they are TCP, and answers are small.
        listening = socket.socket(family, kind, protocol)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(backlog)
    except OSError as error:
        if listening is not None:
            listening.close()
        raise OSError(error.errno, f"cannot listen on {host} port {port}: {error.strerror}") from error
    listening.setblocking(False)
    return listening


def allow_files(wanted: int) -> None:
    """Let this process open so many, or as many as the system lets it: 1,024 is what it may unless it asks."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
