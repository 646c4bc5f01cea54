"""The envelope of the next message leaves with the body before it (RFC 2920 §3.1): what comes of both, whatever the server does."""

from __future__ import annotations

import asyncio
from functools import partial

import pytest

from app.delivery.transport import Connection, Conversation, Phase
from app.mail.envelope import Envelope
from tests.delivery.talk import PLAIN_OFFER, WIRE, connected, scripted
from tests.doubles.sink import Sink

Message = tuple[Envelope, bytes]


def messages(count: int) -> list[Message]:
    return [
        (Envelope(f"bounce+{n}@sender.test", f"user{n}@receiver.test"), WIRE.replace(b"<1@", b"<%d@" % n) + b"x" * n + b"\r\n")
        for n in range(count)
    ]


async def flow(connection: Connection, given: list[Message]) -> list[Conversation]:
    """Hand all over, each envelope ahead where the connection takes it."""
    after = [*given[1:], None]
    return [
        await connection.converse(*message, may_send_dot=lambda: True, following=partial(lambda found: found, following))
        for message, following in zip(given, after, strict=True)
    ]


async def test_every_message_after_the_first_takes_one_round_trip() -> None:
    given = messages(5)
    async with Sink(delay_ms=50) as sink:
        connection = await connected(sink)
        told = await flow(connection, given)
        await connection.close()
    assert [one.accepted for one in told] == [True] * 5
    assert sink.messages == [wire for _, wire in given]
    assert [dot.recipient for dot in sink.dots] == [envelope.recipient for envelope, _ in given]
    assert all(one.total_ms < 95 for one in told[1:])
    assert sink.connections == 1


async def test_a_server_without_pipelining_gets_them_one_by_one() -> None:
    asked = []
    async with Sink(offer=PLAIN_OFFER) as sink:
        connection = await connected(sink)

        def following() -> None:
            asked.append(connection)

        told = [await connection.converse(*one, may_send_dot=lambda: True, following=following) for one in messages(2)]
        await connection.close()
    assert [one.accepted for one in told] == [True, True]
    assert asked == []


@pytest.mark.parametrize("fault", ["dot_550", "dot_452", "defer", "dot_multiline"])
async def test_what_is_said_of_a_body_is_not_said_of_the_next_envelope(fault: str) -> None:
    async with scripted({"fault": fault, "times": 1}) as sink:
        connection = await connected(sink)
        told = await flow(connection, messages(3))
        await connection.close()
    assert [one.accepted for one in told] == [fault == "dot_multiline", True, True]
    assert [dot.verdict for dot in sink.dots] == [fault, "accepted", "accepted"]


@pytest.mark.parametrize(
    ("fault", "phase"),
    [("mail_451", Phase.MAIL), ("rcpt_550", Phase.RCPT), ("rcpt_550_then_354", Phase.RCPT), ("data_451", Phase.DATA)],
)
async def test_a_refused_envelope_ahead_is_its_own_message_s(fault: str, phase: Phase) -> None:
    async with scripted({"fault": fault, "after_transactions": 1, "times": 1}) as sink:
        connection = await connected(sink)
        told = await flow(connection, messages(4))
        await connection.close()
    assert [one.accepted for one in told] == [True, False, True, True]
    assert told[1].phase is phase
    assert not told[1].dot_sent
    assert sink.connections == 1


@pytest.mark.parametrize("fault", ["dot_drop", "dot_garbage", "dot_421"])
async def test_a_connection_lost_at_the_dot_says_nothing_of_the_next(fault: str) -> None:
    async with scripted({"fault": fault, "times": 1}) as sink:
        connection = await connected(sink)
        told = await flow(connection, messages(2))
        assert not connection.usable
        await connection.close()
    assert told[0].dot_sent
    assert (told[1].reply, told[1].dot_sent) == (None, False)
    assert len(sink.dots) == 1


async def test_an_envelope_that_was_lost_with_the_dot_times_out_without_a_dot() -> None:
    async with scripted({"fault": "mail_skipped", "after_transactions": 1}) as sink:
        connection = await connected(sink)
        told = await flow(connection, messages(2))
        assert not connection.usable
        await connection.close()
    assert told[0].accepted
    assert (told[1].reply, told[1].error, told[1].dot_sent) == (None, "timed out", False)


async def test_only_the_message_whose_envelope_left_may_follow() -> None:
    first, second, third = messages(3)
    async with Sink() as sink:
        connection = await connected(sink)
        await connection.converse(*first, may_send_dot=lambda: True, following=lambda: second)
        assert connection.begun is second[0]
        with pytest.raises(ValueError, match="Another"):
            await connection.converse(*third, may_send_dot=lambda: True)
        assert not connection.usable
        await connection.close()
        await asyncio.sleep(0.05)
    assert len(sink.dots) == 1


async def test_closing_after_an_envelope_ahead_sends_no_word_that_would_be_taken_for_a_body() -> None:
    first, second = messages(2)
    async with Sink() as sink:
        connection = await connected(sink)
        await connection.converse(*first, may_send_dot=lambda: True, following=lambda: second)
        await connection.close()
        await asyncio.sleep(0.05)
        assert not connection.usable
    assert len(sink.dots) == 1
    assert b"QUIT" not in sink.lines


@pytest.mark.parametrize(
    "unsendable", [Envelope("a@sender.test", "ü@receiver.test", True), Envelope("a@sender.test", "a\r\nb@receiver.test")]
)
async def test_an_envelope_that_cannot_be_said_does_not_go_ahead(unsendable: Envelope) -> None:
    first, _ = messages(2)
    async with Sink(offer=("PIPELINING",)) as sink:
        connection = await connected(sink)
        told = await connection.converse(*first, may_send_dot=lambda: True, following=lambda: (unsendable, WIRE))
        assert told.accepted
        assert connection.begun is None
        await connection.close()
    assert sink.transactions == 1


async def test_a_large_body_goes_alone() -> None:
    (envelope, _), second = messages(2)
    async with Sink() as sink:
        connection = await connected(sink)
        large = WIRE + (b"x" * 70 + b"\r\n") * 20_000
        told = await connection.converse(envelope, large, may_send_dot=lambda: True, following=lambda: second)
        assert told.accepted
        assert connection.begun is None
        await connection.close()


async def test_without_the_right_to_send_no_next_envelope_leaves() -> None:
    first, second = messages(2)
    async with Sink() as sink:
        connection = await connected(sink)
        told = await connection.converse(*first, may_send_dot=lambda: False, following=lambda: second)
        assert (told.reply, told.dot_sent, connection.begun) == (None, False, None)
        await asyncio.sleep(0.05)
    assert sink.dots == []
