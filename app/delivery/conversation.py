"""What is said about a conversation with a receiving server: values only.

Time limits are RFC 5321 §4.5.3.2's. How a conversation is held is `transport`'s, what it means `retry`'s.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import datetime
from enum import StrEnum

from app.mail.reply import Reply

TIMED_OUT = "timed out"  # the error of a conversation in which a reply did not come in time


class Phase(StrEnum):
    """How far a conversation came: the step whose answer decided it, or during which it broke."""

    CONNECT = "connect"
    TLS = "tls"
    GREETING = "greeting"
    EHLO = "ehlo"
    MAIL = "mail"
    RCPT = "rcpt"
    DATA = "data"
    DOT = "dot"


class Tls(StrEnum):
    """What is asked of a connection."""

    OPPORTUNISTIC = "opportunistic"  # when offered, with any certificate; in the clear after a handshake that failed
    NEVER = "never"  # in the clear
    REQUIRED = "required"  # with any certificate, or no mail
    VERIFY = "verify"  # with a certificate that names the host and comes from somebody this machine trusts, or no mail

    @property
    def is_demanded(self) -> bool:
        return self in (Tls.REQUIRED, Tls.VERIFY)


@dataclass(frozen=True, slots=True)
class Hop:
    """A server to talk to, and how.

    `host` is the MX name (for TLS), `address` what is dialled, `source` the egress IP. `deliveries`: how many on one connection, 0 = as
    the settings say.
    """

    host: str
    address: str
    port: int
    source: str | None = None
    tls: Tls = Tls.OPPORTUNISTIC
    deliveries: int = 0


_OPENING = frozenset((Phase.CONNECT, Phase.GREETING, Phase.EHLO, Phase.TLS))


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long each step may take; the defaults are RFC 5321 §4.5.3.2's, but for connect, TLS and QUIT."""

    connect_seconds: float = 30.0
    greeting_seconds: float = 300.0
    tls_seconds: float = 60.0
    command_seconds: float = 300.0
    data_seconds: float = 120.0
    block_seconds: float = 180.0
    dot_seconds: float = 600.0
    quit_seconds: float = 2.0

    def scaled(self, patience: float) -> Timeouts:
        """All of them times `patience`."""
        return Timeouts(**{field.name: getattr(self, field.name) * patience for field in fields(self)})


@dataclass(frozen=True, slots=True)
class Conversation:
    """What came of one message on one connection, or of opening the connection.

    `reply` is the deciding words of the server, or None when it broke off; then `error` says how. With both, the refusal
    is ours: nothing was sent, because the server does not offer what this message needs.
    """

    reply: Reply | None
    phase: Phase
    error: str | None
    dot_sent: bool
    started_at: datetime
    connect_ms: int
    total_ms: int
    hop: Hop
    tls: str | None

    @property
    def accepted(self) -> bool:
        return self.phase is Phase.DOT and self.reply is not None and self.reply.code // 100 == 2

    @property
    def is_ours(self) -> bool:
        """Nothing was sent: the server does not offer what this message needs, and the reply is our own."""
        return self.reply is not None and self.error is not None

    @property
    def never_opened(self) -> bool:
        """No connection came about, so nothing was said about a message."""
        return self.phase in _OPENING

    @property
    def tls_broken(self) -> bool:
        """The server offers TLS and cannot do it: an opportunistic caller comes again with Tls.NEVER."""
        return self.phase is Phase.TLS and self.reply is None
