"""Talking to a scripted sink: what the tests of conversations and of openings share."""

from __future__ import annotations

import ssl
from typing import Any

from app.delivery.transport import Connection, Conversation, Hop, Timeouts, opportunistic_context
from app.mail.envelope import Envelope
from tests.doubles.sink import DEFAULT_OFFER, Sink
from tests.doubles.sink_script import Script

WIRE = b"From: <a@sender.test>\r\nMessage-ID: <1@sender.test>\r\n\r\nHello.\r\n"
ENVELOPE = Envelope("bounce+1@sender.test", "user@receiver.test", False)
PATIENT = Timeouts()
QUICK = Timeouts(greeting_seconds=0.4, command_seconds=0.4, data_seconds=0.4, block_seconds=0.4, dot_seconds=0.4, quit_seconds=0.2)
SILENT = ("_never", "_skipped", "_stall", "banner_slow", "banner_drip")
PLAIN_OFFER = tuple(word for word in DEFAULT_OFFER if word != "PIPELINING")
CONTEXT = opportunistic_context()


def scripted(*rules: dict[str, Any], **options: Any) -> Sink:
    return Sink(Script.parse({"rules": rules}), **options)


def times_for(sink: Sink) -> Timeouts:
    """Short ones only where the server keeps silent: a busy machine must not look like one."""
    return QUICK if any(name.endswith(SILENT) for name in sink.script.fault_names) else PATIENT


async def opened(sink: Sink, *, tls: str = "opportunistic", context: ssl.SSLContext = CONTEXT) -> Connection | Conversation:
    hop = Hop("sink.test", "127.0.0.1", sink.port)
    return await Connection.open(hop, helo_name="relay.test", tls_context=context, timeouts=times_for(sink), tls=tls)


async def connected(sink: Sink, **options: Any) -> Connection:
    connection = await opened(sink, **options)
    assert isinstance(connection, Connection), connection
    return connection


async def conversed(
    sink: Sink, *, envelope: Envelope = ENVELOPE, wire: bytes = WIRE, may_send: bool = True
) -> tuple[Conversation, Connection]:
    connection = await connected(sink)
    conversation = await connection.converse(envelope, wire, may_send_dot=lambda: may_send)
    return conversation, connection
