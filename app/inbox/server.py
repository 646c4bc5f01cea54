"""The inbox's SMTP side (RFC 5321), on aiosmtpd: it takes all mail for all recipients and keeps it as it came.

Two words in a recipient's local part make it refuse instead, so that a bounce and a deferral can be watched:

    bounce@…, jane+bounce@…    550 5.1.1 at RCPT
    defer@…, jane+defer@…      451 4.2.0 at RCPT

PIPELINING (RFC 2920) is advertised here: aiosmtpd reads commands sent ahead in order but does not say so, and the relay
pipelines only where it is offered. Long lines are taken, because this is where people look at what is wrong with their mail.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from aiosmtpd.smtp import SMTP

from app.inbox.keep import Keep
from app.mail.words import scrub

HOSTNAME = "inbox.localhost"
REFUSALS = {
    "bounce": "550 5.1.1 No such mailbox (the word bounce in the address asks for this)",
    "defer": "451 4.2.0 Try again later (the word defer in the address asks for this)",
}

# The library tells each command and each lost connection; none of it is news here.
logging.getLogger("mail.log").setLevel(logging.CRITICAL)


class Receiver:
    """aiosmtpd's handler: its hooks are called by name."""

    def __init__(self, keep: Keep) -> None:
        self._keep = keep

    async def handle_EHLO(self, _server: SMTP, session: Any, _envelope: Any, hostname: str, responses: list[str]) -> list[str]:  # noqa: N802
        session.host_name = hostname
        return [*responses[:-1], "250-PIPELINING", responses[-1]]

    async def handle_RCPT(self, _server: SMTP, _session: Any, envelope: Any, address: str, options: list[str]) -> str:  # noqa: N802
        refusal = refusal_of(address)
        if refusal is not None:
            return refusal
        envelope.rcpt_tos.append(address)
        envelope.rcpt_options.extend(options)
        return "250 2.1.5 OK"

    async def handle_DATA(self, _server: SMTP, session: Any, envelope: Any) -> str:  # noqa: N802
        mail_from = "" if envelope.mail_from == "<>" else _readable(envelope.mail_from)
        try:
            kept = self._keep.add(
                envelope.original_content,
                mail_from=mail_from,
                rcpt_to=[_readable(address) for address in envelope.rcpt_tos],
                peer=_peer_of(session),
                received_at=datetime.now(UTC),
            )
        except OSError as error:
            return f"452 4.3.1 The inbox cannot write: {error.strerror or type(error).__name__}"
        return f"250 2.0.0 Kept as {kept.id}"

    async def handle_exception(self, error: Exception) -> str:
        # The argument stays out of the reply: it may be what could not be written in the first place.
        return f"451 4.3.0 The inbox failed: {type(error).__name__}"


def refusal_of(address: str) -> str | None:
    """The reply to a recipient that asks to be refused by a word of its local part."""
    words = re.split(r"[^a-z]+", address.rpartition("@")[0].lower())
    return next((reply for word, reply in REFUSALS.items() if word in words), None)


def smtp_factory(keep: Keep, *, max_message_bytes: int) -> Callable[[], SMTP]:
    """What `loop.create_server` calls for each connection."""
    receiver = Receiver(keep)

    def connect() -> SMTP:
        return _Smtp(
            receiver,
            data_size_limit=max_message_bytes,
            enable_SMTPUTF8=True,
            hostname=HOSTNAME,  # or the library asks DNS for each connection
            ident="Staffetta local inbox",
            timeout=300,
            loop=asyncio.get_running_loop(),
        )

    return connect


class _Smtp(SMTP):
    line_length_limit = 1024 * 1024


def _readable(address: str) -> str:
    """An address that was not UTF-8 came with its bytes as surrogates: they are kept as U+FFFD."""
    return scrub(address)


def _peer_of(session: Any) -> str:
    host, port = session.peer[:2] if isinstance(session.peer, tuple) else ("", 0)
    return f"{host}:{port}"
