"""Conversations with a real, misbehaving server: what came of each message, and whether its dot may have arrived."""

from __future__ import annotations

import asyncio

import pytest

from app.delivery.transport import Phase
from app.mail.envelope import Envelope
from tests.delivery.talk import ENVELOPE, PLAIN_OFFER, WIRE, connected, conversed, scripted
from tests.doubles.sink import DEFAULT_OFFER, Sink


@pytest.fixture(params=[DEFAULT_OFFER, PLAIN_OFFER], ids=["pipelined", "one by one"])
def offer(request: pytest.FixtureRequest) -> tuple[str, ...]:
    return request.param


class TestAccepted:
    async def test_a_message_arrives_as_it_was_given(self, offer: tuple[str, ...]) -> None:
        async with Sink(offer=offer) as sink:
            conversation, connection = await conversed(sink)
            await connection.close()
        assert conversation.accepted
        assert conversation.dot_sent
        assert (conversation.phase, conversation.reply and conversation.reply.code) == (Phase.DOT, 250)
        assert sink.messages == [WIRE]
        assert sink.dots[0].recipient == "user@receiver.test"
        assert sink.dots[0].message_id == "1@sender.test"

    async def test_many_messages_share_a_connection_and_only_the_first_reports_its_opening(self, offer: tuple[str, ...]) -> None:
        async with Sink(offer=offer, delay_ms=5) as sink:
            connection = await connected(sink)
            told = [await connection.converse(ENVELOPE, WIRE, may_send_dot=lambda: True) for _ in range(3)]
            assert connection.usable
            assert connection.served == 3
            await connection.close()
            assert not connection.usable
        assert [conversation.accepted for conversation in told] == [True] * 3
        assert told[0].connect_ms > 0
        assert [conversation.connect_ms for conversation in told[1:]] == [0, 0]
        assert sink.connections == 1

    async def test_pipelining_takes_two_round_trips(self) -> None:
        async with Sink(delay_ms=50) as sink:
            connection = await connected(sink)
            conversation = await connection.converse(ENVELOPE, WIRE, may_send_dot=lambda: True)
            await connection.close()
        assert 100 <= conversation.total_ms < 190

    @pytest.mark.parametrize(
        "body",
        [
            b".\r\n",
            b"..\r\n.\r\n.x\r\n",
            b"x\r\n.",
            b"\r\n",
            b"no line end",
            b"x\r\n.\r\nMAIL FROM:<evil@x>\r\n",
            b"." * 300 + b"\r\n" + b".\r\n" * 200_000,
        ],
    )
    async def test_dots_and_line_ends_survive(self, body: bytes) -> None:
        wire = b"Subject: dots\r\n\r\n" + body
        async with Sink() as sink:
            conversation, connection = await conversed(sink, wire=wire)
            again = await connection.converse(ENVELOPE, WIRE, may_send_dot=lambda: True)
            await connection.close()
        assert conversation.accepted
        assert again.accepted
        assert sink.messages == [wire if wire.endswith(b"\r\n") else wire + b"\r\n", WIRE]

    async def test_a_bare_line_feed_and_a_dot_end_nothing(self) -> None:
        async with Sink() as sink:
            conversation, connection = await conversed(sink, wire=b"Subject: x\r\n\r\na\n.\r\nb\n.\nc\r\n")
            await connection.close()
        assert conversation.accepted
        assert len(sink.messages) == 1
        assert b"a\n..\r\nb\n..\nc\r\n" in sink.messages[0]

    async def test_25_megabytes_arrive(self) -> None:
        wire = b"Subject: large\r\n\r\n" + (b"x" * 74 + b"\r\n") * (25 * 1024 * 1024 // 76)
        async with Sink() as sink:
            conversation, connection = await conversed(sink, wire=wire)
            await connection.close()
        assert conversation.accepted
        assert sink.messages == [wire]

    @pytest.mark.parametrize("fault", ["dot_multiline", "dot_drip", "dot_slow", "dot_bare_code", "rcpt_slow", "banner_multiline"])
    async def test_odd_but_positive_replies_count(self, fault: str) -> None:
        rule = {"fault": fault, "seconds": 0.01 if fault == "dot_drip" else 0.2} if "multi" not in fault else {"fault": fault}
        async with scripted(rule) as sink:
            conversation, connection = await conversed(sink)
            await connection.close()
        assert conversation.accepted
        assert len(sink.dots) == 1


class TestEnvelope:
    async def test_what_is_offered_is_used(self) -> None:
        async with Sink() as sink:
            _, connection = await conversed(sink, wire="Subject: ä\r\n\r\n".encode(), envelope=Envelope("", "ü@receiver.test", True))
            await connection.close()
        assert sink.lines[1:4] == [b"MAIL FROM:<> SIZE=15 BODY=8BITMIME SMTPUTF8", "RCPT TO:<ü@receiver.test>".encode(), b"DATA"]

    async def test_what_is_not_offered_is_not_said(self) -> None:
        async with Sink(offer=()) as sink:
            conversation, connection = await conversed(sink)
            await connection.close()
        assert conversation.accepted
        assert sink.lines[1:3] == [b"MAIL FROM:<bounce+1@sender.test>", b"RCPT TO:<user@receiver.test>"]

    @pytest.mark.parametrize(
        ("envelope", "wire", "enhanced"),
        [
            (Envelope("a@sender.test", "ü@receiver.test", True), WIRE, "5.6.7"),
            (ENVELOPE, "Subject: ä\r\n\r\n".encode(), "5.6.3"),
            (ENVELOPE, WIRE + b"x" * 1000, "5.3.4"),
        ],
    )
    async def test_what_the_server_cannot_take_is_not_sent(self, envelope: Envelope, wire: bytes, enhanced: str) -> None:
        async with Sink(offer=("PIPELINING", "SIZE 1000")) as sink:
            conversation, connection = await conversed(sink, envelope=envelope, wire=wire)
            assert connection.usable
            after = await connection.converse(ENVELOPE, WIRE, may_send_dot=lambda: True)
            await connection.close()
        assert conversation.reply is not None
        assert (conversation.reply.code // 100, conversation.reply.enhanced) == (5, enhanced)
        assert not conversation.dot_sent
        assert after.accepted
        assert sink.transactions == 1

    @pytest.mark.parametrize("address", ["a@b\r\nRCPT TO:<c@d>", "a\0@b", "a@b\n"])
    async def test_an_address_with_control_characters_is_a_fault_of_ours(self, address: str) -> None:
        async with Sink() as sink:
            connection = await connected(sink)
            with pytest.raises(ValueError, match="control"):
                await connection.converse(Envelope("a@sender.test", address, False), WIRE, may_send_dot=lambda: True)
            await connection.close()
        assert sink.transactions == 0


class TestRefused:
    @pytest.mark.parametrize(
        ("fault", "phase", "code"),
        [
            ("mail_451", Phase.MAIL, 451),
            ("mail_452", Phase.MAIL, 452),
            ("mail_550", Phase.MAIL, 550),
            ("mail_552", Phase.MAIL, 552),
            ("rcpt_450", Phase.RCPT, 450),
            ("rcpt_451", Phase.RCPT, 451),
            ("rcpt_452", Phase.RCPT, 452),
            ("rcpt_550", Phase.RCPT, 550),
            ("rcpt_551", Phase.RCPT, 551),
            ("rcpt_552", Phase.RCPT, 552),
            ("rcpt_553", Phase.RCPT, 553),
            ("rcpt_multiline", Phase.RCPT, 550),
            ("data_451", Phase.DATA, 451),
            ("data_554", Phase.DATA, 554),
            ("defer", Phase.DOT, 451),
            ("dot_452", Phase.DOT, 452),
            ("dot_550", Phase.DOT, 550),
            ("dot_552", Phase.DOT, 552),
            ("dot_554", Phase.DOT, 554),
        ],
    )
    async def test_a_refusal_leaves_the_connection_usable(self, offer: tuple[str, ...], fault: str, phase: Phase, code: int) -> None:
        async with scripted({"fault": fault, "times": 1}, offer=offer) as sink:
            conversation, connection = await conversed(sink)
            assert connection.usable
            after = await connection.converse(ENVELOPE, WIRE, may_send_dot=lambda: True)
            await connection.close()
        assert conversation.reply is not None
        assert (conversation.phase, conversation.reply.code) == (phase, code)
        assert conversation.error is None
        assert conversation.dot_sent == (phase is Phase.DOT)
        assert after.accepted
        assert sink.connections == 1
        assert [dot.verdict for dot in sink.dots] == [fault, "accepted"][phase is not Phase.DOT :]

    async def test_a_refused_recipient_gets_a_lone_dot_when_data_was_taken(self) -> None:
        async with scripted({"fault": "rcpt_550_then_354", "times": 1}) as sink:
            conversation, connection = await conversed(sink)
            after = await connection.converse(ENVELOPE, WIRE, may_send_dot=lambda: True)
            await connection.close()
        assert (conversation.phase, conversation.reply and conversation.reply.code) == (Phase.RCPT, 550)
        assert not conversation.dot_sent
        assert after.accepted
        assert [(dot.verdict, dot.size) for dot in sink.dots] == [("no_recipient", 0), ("accepted", len(WIRE))]

    @pytest.mark.parametrize(
        ("fault", "phase"),
        [("mail_421", Phase.MAIL), ("rcpt_421", Phase.RCPT), ("data_421", Phase.DATA), ("dot_421", Phase.DOT)],
    )
    async def test_a_421_ends_the_connection(self, offer: tuple[str, ...], fault: str, phase: Phase) -> None:
        async with scripted({"fault": fault}, offer=offer) as sink:
            conversation, connection = await conversed(sink)
            assert not connection.usable
            await connection.close()
        assert (conversation.phase, conversation.reply and conversation.reply.code) == (phase, 421)
        assert conversation.dot_sent == (phase is Phase.DOT)

    async def test_an_oversized_body_is_refused_while_it_is_sent(self) -> None:
        async with scripted({"fault": "body_552"}) as sink:
            conversation, connection = await conversed(sink, wire=WIRE + (b"x" * 70 + b"\r\n") * 200_000)
            assert not connection.usable
        assert conversation.phase is Phase.DATA
        assert not conversation.dot_sent
        assert conversation.reply is None or conversation.reply.code == 552  # a reset may overtake the reply
        assert sink.dots == []


class TestBroken:
    @pytest.mark.parametrize(
        ("fault", "phase", "dot_sent"),
        [
            ("mail_drop", Phase.MAIL, False),
            ("mail_never", Phase.MAIL, False),
            ("mail_skipped", Phase.MAIL, False),
            ("rcpt_skipped", Phase.RCPT, False),
            ("rcpt_drop", Phase.RCPT, False),
            ("rcpt_then_drop", Phase.DATA, False),
            ("rcpt_garbage", Phase.RCPT, False),
            ("data_drop", Phase.DATA, False),
            ("data_never", Phase.DATA, False),
            ("data_250", Phase.DATA, False),
            ("body_drop", Phase.DOT, True),
            ("dot_drop", Phase.DOT, True),
            ("dot_close", Phase.DOT, True),
            ("dot_never", Phase.DOT, True),
            ("dot_garbage", Phase.DOT, True),
            ("dot_codeless", Phase.DOT, True),
            ("dot_354", Phase.DOT, True),
            ("dot_too_long", Phase.DOT, True),
        ],
    )
    async def test_a_break_says_how_far_it_came(self, offer: tuple[str, ...], fault: str, phase: Phase, dot_sent: bool) -> None:
        async with scripted({"fault": fault}, offer=offer) as sink:
            conversation, connection = await conversed(sink)
            assert not connection.usable
            again = await connection.converse(ENVELOPE, WIRE, may_send_dot=lambda: True)
            await connection.close()
        assert conversation.reply is None
        assert conversation.error
        assert (conversation.phase, conversation.dot_sent) == (phase, dot_sent)
        assert (again.reply, again.dot_sent) == (None, False)
        assert sink.transactions == 1

    async def test_a_yes_counts_though_the_connection_is_dropped_with_it(self) -> None:
        async with scripted({"fault": "dot_then_drop"}) as sink:
            conversation, connection = await conversed(sink)
            await asyncio.sleep(0.05)
            assert not connection.usable
        assert conversation.accepted

    async def test_a_large_body_dropped_midway_has_no_dot(self) -> None:
        async with scripted({"fault": "body_drop"}) as sink:
            conversation, _ = await conversed(sink, wire=WIRE + (b"x" * 70 + b"\r\n") * 200_000)
        assert (conversation.reply, conversation.phase, conversation.dot_sent) == (None, Phase.DATA, False)

    async def test_a_receiver_that_stops_reading_is_left(self) -> None:
        async with scripted({"fault": "body_stall"}) as sink:
            conversation, _ = await conversed(sink, wire=WIRE + (b"x" * 70 + b"\r\n") * 400_000)
        assert (conversation.reply, conversation.phase, conversation.dot_sent) == (None, Phase.DATA, False)
        assert conversation.error == "timed out"

    @pytest.mark.parametrize("fault", ["idle_421", "idle_close"])
    async def test_a_server_that_leaves_between_messages_is_noticed(self, fault: str) -> None:
        async with scripted({"fault": fault, "seconds": 0.05}) as sink:
            conversation, connection = await conversed(sink)
            await asyncio.sleep(0.15)
            assert not connection.usable
        assert conversation.accepted

    async def test_a_cancelled_conversation_takes_its_connection_with_it(self) -> None:
        async with scripted({"fault": "dot_never"}) as sink:
            connection = await connected(sink)
            task = asyncio.create_task(connection.converse(ENVELOPE, WIRE, may_send_dot=lambda: True))
            await asyncio.sleep(0.1)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert not connection.usable


class TestRightToSend:
    @pytest.mark.parametrize("wire", [WIRE, WIRE + (b"x" * 70 + b"\r\n") * 20_000], ids=["small", "large"])
    async def test_without_it_no_dot_leaves(self, wire: bytes) -> None:
        async with Sink() as sink:
            conversation, connection = await conversed(sink, wire=wire, may_send=False)
            assert not connection.usable
            await asyncio.sleep(0.05)
        assert (conversation.reply, conversation.phase, conversation.dot_sent) == (None, Phase.DATA, False)
        assert sink.dots == []

    async def test_it_is_asked_once_and_last(self) -> None:
        asked: list[int] = []
        async with Sink() as sink:
            connection = await connected(sink)

            def may_send() -> bool:
                asked.append(len(sink.lines))
                return True

            await connection.converse(ENVELOPE, WIRE, may_send_dot=may_send)
            await connection.close()
        assert asked == [4]  # EHLO, MAIL, RCPT, DATA were heard
