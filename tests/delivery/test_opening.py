"""Opening a connection: greeting, EHLO, TLS, and what is told when one of them fails."""

from __future__ import annotations

import ssl
from typing import Any

import pytest

from app.delivery.transport import Connection, Conversation, Hop, Phase
from tests.delivery.talk import CONTEXT, ENVELOPE, PATIENT, WIRE, connected, conversed, opened, scripted
from tests.doubles.sink import DEFAULT_OFFER, Sink
from tests.doubles.sink_cli import self_signed


async def failed_opening(*rules: dict[str, Any], **options: Any) -> Conversation:
    async with scripted(*rules, **options) as sink:
        conversation = await opened(sink)
        assert isinstance(conversation, Conversation)
        assert not conversation.accepted
        assert not conversation.dot_sent
        return conversation


class TestOpening:
    @pytest.mark.parametrize(
        ("fault", "phase", "code"),
        [
            ("banner_421", Phase.GREETING, 421),
            ("banner_450", Phase.GREETING, 450),
            ("banner_554", Phase.GREETING, 554),
            ("ehlo_421", Phase.EHLO, 421),
            ("ehlo_550", Phase.EHLO, 550),
            ("connect_close", Phase.GREETING, None),
            ("connect_reset", Phase.GREETING, None),
            ("banner_never", Phase.GREETING, None),
            ("banner_slow", Phase.GREETING, None),
            ("banner_drip", Phase.GREETING, None),
            ("banner_garbage", Phase.GREETING, None),
            ("ehlo_drop", Phase.EHLO, None),
        ],
    )
    async def test_a_failed_opening_is_a_conversation(self, fault: str, phase: Phase, code: int | None) -> None:
        conversation = await failed_opening({"fault": fault})
        assert (conversation.phase, conversation.reply and conversation.reply.code) == (phase, code)
        assert (conversation.error is None) == (code is not None)

    async def test_nobody_listens(self) -> None:
        async with Sink() as sink:
            port = sink.port
        conversation = await Connection.open(
            Hop("sink.test", "127.0.0.1", port), helo_name="relay.test", tls_context=CONTEXT, timeouts=PATIENT
        )
        assert isinstance(conversation, Conversation)
        assert (conversation.phase, conversation.reply) == (Phase.CONNECT, None)
        assert conversation.error

    async def test_helo_serves_where_ehlo_is_unknown(self) -> None:
        async with scripted({"fault": "ehlo_502"}) as sink:
            conversation, connection = await conversed(sink)
            await connection.close()
        assert conversation.accepted
        assert sink.lines[:3] == [b"EHLO relay.test", b"HELO relay.test", b"MAIL FROM:<bounce+1@sender.test>"]

    async def test_the_source_address_is_used(self) -> None:
        async with Sink() as sink:
            connection = await Connection.open(
                Hop("sink.test", "127.0.0.1", sink.port, "127.0.0.9"), helo_name="relay.test", tls_context=CONTEXT, timeouts=PATIENT
            )
            assert isinstance(connection, Connection)
            (receiver,) = sink.open
            assert receiver.peer == "127.0.0.9"
            await connection.close()


class TestTls:
    OFFER = (*DEFAULT_OFFER, "STARTTLS")

    async def test_it_is_used_when_offered(self) -> None:
        async with Sink(offer=self.OFFER, tls=self_signed()) as sink:
            conversation, connection = await conversed(sink, wire=WIRE + (b"x" * 70 + b"\r\n") * 20_000)
            again = await connection.converse(ENVELOPE, WIRE, may_send_dot=lambda: True)
            await connection.close()
        assert conversation.accepted
        assert again.accepted
        assert (conversation.tls or "").startswith("TLSv1.3 ")
        assert sink.lines[:3] == [b"EHLO relay.test", b"STARTTLS", b"EHLO relay.test"]

    @pytest.mark.parametrize("fault", ["starttls_broken", "starttls_drop"])
    async def test_a_broken_handshake_asks_for_the_clear(self, fault: str) -> None:
        async with scripted({"fault": fault}, offer=self.OFFER, tls=self_signed()) as sink:
            broken = await opened(sink)
            assert isinstance(broken, Conversation)
            assert broken.tls_broken
            connection = await connected(sink, tls="never")
            conversation = await connection.converse(ENVELOPE, WIRE, may_send_dot=lambda: True)
            await connection.close()
        assert conversation.accepted
        assert conversation.tls is None

    async def test_refused_tls_goes_on_in_the_clear_unless_required(self) -> None:
        async with scripted({"fault": "starttls_454"}, offer=self.OFFER, tls=self_signed()) as sink:
            conversation, connection = await conversed(sink)
            await connection.close()
            required = await opened(sink, tls="required")
        assert conversation.accepted
        assert conversation.tls is None
        assert isinstance(required, Conversation)
        assert (required.phase, required.reply) == (Phase.TLS, None)
        assert required.error == "TLS is required for this domain, and the server refused it: 454 4.7.0 TLS not available now"

    async def test_required_but_not_offered(self) -> None:
        async with Sink() as sink:
            conversation = await opened(sink, tls="required")
        assert isinstance(conversation, Conversation)
        assert (conversation.phase, conversation.reply) == (Phase.TLS, None)
        assert conversation.error == "TLS is required for this domain, and the server does not offer it"

    @pytest.mark.parametrize("fault", ["starttls_broken", "starttls_drop"])
    async def test_required_and_broken(self, fault: str) -> None:
        async with scripted({"fault": fault}, offer=self.OFFER, tls=self_signed()) as sink:
            conversation = await opened(sink, tls="required")
        assert isinstance(conversation, Conversation)
        assert (conversation.phase, conversation.reply) == (Phase.TLS, None)
        assert (conversation.error or "").startswith("TLS is required for this domain, and the handshake failed: ")

    async def test_what_was_said_before_the_handshake_is_forgotten(self) -> None:
        async with scripted({"fault": "starttls_injected"}, offer=self.OFFER, tls=self_signed()) as sink:
            conversation, connection = await conversed(sink)
            await connection.close()
        assert conversation.accepted
        assert conversation.tls
        assert sink.messages == [WIRE]

    async def test_a_certificate_that_the_context_does_not_trust_is_refused(self) -> None:
        async with Sink(offer=self.OFFER, tls=self_signed()) as sink:
            conversation = await opened(sink, tls="required", context=ssl.create_default_context())
        assert isinstance(conversation, Conversation)
        assert conversation.tls_broken
        assert "certificate" in (conversation.error or "")
