"""Sessions: order of commands, log-in, limits, refusals of the house in SMTP's words, and the end."""

from __future__ import annotations

import asyncio
import base64
from typing import Any

import pytest

from app.accounts.smtp_credentials import revoke_smtp_credential
from app.errors import FieldError, Forbidden, InvalidMessage, MessageTooLarge, SenderNotAllowed, Throttled, Unavailable
from app.smtpd.crowd import Crowd, place_of
from app.smtpd.login import FAILURES_PER_NAME, FAILURES_PER_PLACE, Logins
from app.smtpd.rates import Rates
from app.smtpd.replies import Refusal
from tests.smtpd.conftest import OpenDoor
from tests.smtpd.dialogue import Dialogue, encoded, plain

MAIL, RCPT = "MAIL FROM:<orders@shop.example.test>", "RCPT TO:<ada@example.com>"
CONTENT = b"Subject: x\r\n\r\nx\r\n.\r\n"


async def test_pipelined_messages_are_answered_in_order(door: OpenDoor) -> None:
    client = await Dialogue.log_in(door)
    one = f"{MAIL}\r\n{RCPT}\r\nDATA\r\n".encode()
    for number in range(3):
        client.write(one)
        assert [(await client.reply())[:3] for _ in range(3)] == ["250", "250", "354"]
        client.write(b"Subject: %d\r\n\r\nx\r\n.\r\n" % number + b"NOOP\r\n")
        assert [(await client.reply())[:9] for _ in range(2)] == ["250 2.0.0", "250 2.0.0"]
    assert [raw.raw[:10] for _, raw in door.taken] == [b"Subject: 0", b"Subject: 1", b"Subject: 2"]
    await client.close()


async def test_the_order_of_commands(door: OpenDoor) -> None:
    client = await Dialogue.open(door, implicit=True)
    assert (await client.ask(MAIL)).startswith("530 5.7.0")
    assert (await client.ask(f"AUTH PLAIN {plain(door.user, door.password)}")).startswith("503 5.5.1")
    assert (await client.ask("EHLO client")).startswith("250")
    assert (await client.ask(f"AUTH PLAIN {plain(door.user, door.password)}")).startswith("235 2.7.0")
    assert (await client.ask(f"AUTH PLAIN {plain(door.user, door.password)}")).startswith("503 5.5.1")
    assert (await client.ask("STARTTLS")).startswith("503 5.5.1")
    assert (await client.ask(RCPT)).startswith("503 5.5.1")
    assert (await client.ask("DATA")).startswith("503 5.5.1")
    assert (await client.ask(MAIL)).startswith("250 2.1.0")
    assert (await client.ask(MAIL)).startswith("503 5.5.1")
    assert (await client.ask("DATA")).startswith("503 5.5.1")
    assert (await client.ask(RCPT)).startswith("250 2.1.5")
    assert (await client.ask("RSET")).startswith("250 2.0.0")
    assert (await client.ask("DATA")).startswith("503 5.5.1")
    assert (await client.ask("VRFY ada")).startswith("252 2.1.5")
    assert (await client.ask("HELP")).startswith("214 2.0.0")
    assert (await client.ask("EXPN x")).startswith("502 5.5.1")
    assert (await client.ask("BDAT 5 LAST")).startswith("500 5.5.2")
    assert (await client.ask("QUIT")).startswith("221 2.0.0")
    assert await client.reply() == ""
    await client.close()


@pytest.mark.parametrize(
    ("said", "reply"),
    [
        ("AUTH", "504 5.5.4"),
        ("AUTH CRAM-MD5", "504 5.5.4"),
        ("AUTH PLAIN !!!", "501 5.5.2"),
        ("AUTH PLAIN =", "501 5.5.2"),
        (f"AUTH PLAIN {encoded('only one part')}", "501 5.5.2"),
        ("AUTH PLAIN " + base64.b64encode(b"other\0user\0password").decode(), "535 5.7.8"),
        ("AUTH PLAIN " + base64.b64encode(b"\0\xff\xfe\0\xff").decode(), "535 5.7.8"),
        (f"AUTH PLAIN {plain('smtp-000000000000', 'x')}", "535 5.7.8"),
        ("AUTH LOGIN\r\n*", "501 5.7.0"),
        ("AUTH LOGIN\r\nnot base64", "501 5.5.2"),
    ],
)
async def test_log_ins_that_fail(door: OpenDoor, said: str, reply: str) -> None:
    client = await Dialogue.open(door, implicit=True)
    await client.ask("EHLO client")
    answer = await client.ask(said)
    while answer.startswith("334"):
        answer = await client.reply()
    assert answer.startswith(f"{reply} ")
    assert (await client.ask(MAIL)).startswith("530 5.7.0")
    # A first failure is no reason not to be let in.
    assert (await client.ask(f"auth login {encoded(door.user)}")).startswith("334 ")
    assert (await client.ask(encoded(door.password))).startswith("235 ")
    await client.close()


async def test_who_guesses_is_hung_up_on_and_then_not_heard(door: OpenDoor) -> None:
    wrong = f"AUTH PLAIN {plain(door.user, 'wrong')}"
    for guess in range(FAILURES_PER_PLACE):
        if guess % 3 == 0:
            client = await Dialogue.open(door, implicit=True)
            await client.ask("EHLO client")
        assert (await client.ask(wrong)).startswith("535 5.7.8")
        if guess % 3 == 2:
            assert (await client.reply()).startswith("421 4.7.0")
            assert await client.reply() == ""
            await client.close()
    # Even the right password is not looked at now.
    assert (await client.ask(f"AUTH PLAIN {plain(door.user, door.password)}")).startswith("454 4.7.0")
    assert (await client.reply()).startswith("421 4.7.0")
    await client.close()


async def test_guessing_from_elsewhere_does_not_lock_the_owner_out(door: OpenDoor) -> None:
    now = 1000.0
    logins = Logins(door.credentials, door.tally, refusal_seconds=0, clock=lambda: now)
    assert await logins.verify(door.user, door.password, "192.0.2.1", "192.0.2.1")
    for guess in range(FAILURES_PER_NAME):
        with pytest.raises(Refusal, match="535"):
            await logins.verify(door.user, "wrong", f"198.51.100.{guess}", f"198.51.100.{guess}")
    with pytest.raises(Refusal, match=r"454 4\.7\.0 .* this user name"):
        await logins.verify(door.user, door.password, "203.0.113.1", "203.0.113.1")
    assert await logins.verify(door.user, door.password, "192.0.2.1", "192.0.2.1")
    # Nor does a neighbour behind the same address.
    for _ in range(FAILURES_PER_PLACE):
        with pytest.raises(Refusal, match="535"):
            await logins.verify("smtp-neighbour000", "wrong", "192.0.2.1", "192.0.2.1")
    assert await logins.verify(door.user, door.password, "192.0.2.1", "192.0.2.1")
    # But the owner's address has ten guesses at it, too.
    for _ in range(FAILURES_PER_PLACE):
        with pytest.raises(Refusal, match="535"):
            await logins.verify(door.user, "wrong", "192.0.2.1", "192.0.2.1")
    with pytest.raises(Refusal, match="454"):
        await logins.verify(door.user, door.password, "192.0.2.1", "192.0.2.1")
    now += 601
    assert await logins.verify(door.user, door.password, "203.0.113.1", "203.0.113.1")


async def test_where_a_credential_may_be_used_from(door: OpenDoor) -> None:
    user, password = await door.new_credential(networks=("192.0.2.0/24", "2001:db8::/32"))
    client = await Dialogue.open(door, implicit=True)
    await client.ask("EHLO client")
    reply = await client.ask(f"AUTH PLAIN {plain(user, password)}")
    assert reply == "535 5.7.8 This credential may not be used from 127.0.0.1"
    await client.close()
    here, word = await door.new_credential(networks=("127.0.0.1",))
    await (await Dialogue.log_in(door, user=here, password=word)).close()
    for address, allowed in (("192.0.2.9", True), ("::ffff:192.0.2.9", True), ("2001:db8::1", True), ("192.0.3.1", False), ("", False)):
        found = await door.credentials.find(user)
        assert found is not None and found.may_be_used_from(address) is allowed


async def test_a_revoked_credential_ends_its_session(door: OpenDoor) -> None:
    user, password = await door.new_credential()
    client = await Dialogue.log_in(door, user=user, password=password)
    async with door.database.transaction() as connection:
        await revoke_smtp_credential(connection, door.account_id, user)
    door.credentials.forget(user)
    assert (await client.ask(MAIL)).startswith("421 4.7.0")
    assert await client.reply() == ""
    await client.close()


async def test_what_the_intake_is_told(door: OpenDoor) -> None:
    user, password = await door.new_credential(
        allowed_from=("Ada@Shop.Example.Test", "shop.example.test"), stream="bulk", tells_failures=False
    )
    client = await Dialogue.log_in(door, user=user, password=password)
    await client.ask("MAIL FROM:<> RET=FULL ENVID=e1")
    await client.ask("RCPT TO:<Ada@Example.com> NOTIFY=FAILURE ORCPT=rfc822;ada@old.example")
    await client.ask("DATA")
    client.write(CONTENT)
    assert (await client.reply()).startswith("250")
    ((_, raw),) = door.taken
    assert (raw.envelope_from, raw.ret, raw.envelope_id) == ("", "FULL", "e1")
    assert (raw.allowed_from, raw.stream, raw.tells_failures) == (("ada@shop.example.test", "shop.example.test"), "bulk", False)
    (recipient,) = raw.recipients
    assert (recipient.address, recipient.notify, recipient.original) == ("Ada@example.com", {"FAILURE"}, "rfc822;ada@old.example")
    await client.close()


@pytest.mark.parametrize(
    ("error", "reply"),
    [
        (InvalidMessage("No From.", errors=[FieldError("#/from", "missing", "No From.")]), "554 5.6.0 No From."),
        (Forbidden("Not allowed."), "550 5.7.1 Not allowed."),
        (SenderNotAllowed("This account may not send from evil.test."), "550 5.7.1 This account may not send from evil.test."),
        (MessageTooLarge("Too large."), "552 5.3.4 Too large."),
        (Throttled("Too fast.", retry_after_seconds=7), "451 4.7.1 Too fast. Try again in 7 s."),
        (
            Unavailable("The database is not reachable.", retry_after_seconds=2),
            "451 4.3.0 The database is not reachable. Try again in 2 s.",
        ),
        (RuntimeError("a secret"), "421 4.3.0 Something went wrong here: try again later"),
    ],
    ids=lambda value: type(value).__name__,
)
async def test_refusals_of_the_house(door: OpenDoor, error: Exception, reply: str) -> None:
    async def refuse() -> None:
        raise error

    door.answer = refuse
    client = await Dialogue.log_in(door)
    client.write(f"{MAIL}\r\n{RCPT}\r\nDATA\r\n".encode())
    assert [(await client.reply())[:3] for _ in range(3)] == ["250", "250", "354"]
    client.write(CONTENT)
    assert await client.reply() == reply
    door.answer = None
    if not reply.startswith("421"):
        client.write(f"{MAIL}\r\n{RCPT}\r\nDATA\r\n".encode() + CONTENT)
        assert [(await client.reply())[:3] for _ in range(4)] == ["250", "250", "354", "250"]
    await client.close()


async def test_sizes(door: OpenDoor) -> None:
    most, room = door.server.door.most_bytes, door.server.door.room.left
    client = await Dialogue.log_in(door)
    assert (await client.ask(f"{MAIL} SIZE={most + 1}")).startswith("552 5.3.4")
    client.write(f"{MAIL} SIZE=10\r\n{RCPT}\r\nDATA\r\n".encode())
    assert [(await client.reply())[:3] for _ in range(3)] == ["250", "250", "354"]
    line = b"x" * 998 + b"\r\n"
    client.write(b"Subject: x\r\n\r\n" + line * (most // 1000 + 1) + b".\r\n")
    assert (await client.reply()).startswith("552 5.3.4")
    # Of one without line ends nothing is kept either, and one without end is cut off.
    client.write(f"{MAIL}\r\n{RCPT}\r\nDATA\r\n".encode())
    assert [(await client.reply())[:3] for _ in range(3)] == ["250", "250", "354"]
    client.write(b"x" * (2 * most + 200_000))
    assert (await client.reply()).startswith("421 4.3.0 The message is too large")
    assert door.taken == []
    assert door.server.door.room.left == room
    await client.close()


async def test_too_many_recipients_go_in_another_transaction(door: OpenDoor) -> None:
    most = door.server.door.most_recipients
    client = await Dialogue.log_in(door)
    await client.ask(MAIL)
    for number in range(most):
        assert (await client.ask(f"RCPT TO:<r{number}@example.com>")).startswith("250")
    for _ in range(30):
        assert (await client.ask("RCPT TO:<more@example.com>")).startswith("452 4.5.3")
        assert (await client.ask("RCPT TO:<bad>")).startswith("553 5.1.3")
    await client.ask("DATA")
    client.write(CONTENT)
    assert (await client.reply()).startswith("250")
    assert len(door.taken[0][1].recipients) == most
    await client.close()


async def test_a_rate_is_kept(door: OpenDoor) -> None:
    user, password = await door.new_credential(recipients_per_minute=2)
    client = await Dialogue.log_in(door, user=user, password=password)
    await client.ask(MAIL)
    replies = [(await client.ask(RCPT))[:9] for _ in range(3)]
    assert replies == ["250 2.1.5", "250 2.1.5", "451 4.7.1"]
    await client.close()
    now = 0.0
    rates, credential = Rates(door.tally, clock=lambda: now), await door.credentials.find(user)
    assert credential is not None
    taken = 0
    for second in range(600):
        now = float(second)
        for _ in range(5):
            try:
                await rates.take(credential)
                taken += 1
            except Refusal:
                break
    assert taken == 2 + 2 * 599 // 60


async def test_errors_and_idle_commands_have_an_end(door: OpenDoor) -> None:
    client = await Dialogue.open(door)
    client.write(b"NONSENSE\r\n" * 100)
    assert (await client.rest())[-1].startswith(("421 4.7.0", "502 5.5.1"))
    await client.close()
    client = await Dialogue.log_in(door)
    client.write(b"NOOP\r\nRSET\r\n" * 500)
    replies = await client.rest()
    assert replies[-1] == "421 4.7.0 Too many commands without a message"
    assert len(replies) < 250
    await client.close()
    client = await Dialogue.open(door)
    client.write(b"x" * 500_000 + b"\r\n")
    assert (await client.reply()).startswith("500 5.5.2")
    await client.close()


async def test_a_client_that_closes_its_half_still_gets_its_answer(door: OpenDoor) -> None:
    client = await Dialogue.open(door)
    client.write(b"EHLO client\r\nNOOP\r\n")
    client.writer.write_eof()
    replies = await client.rest()
    assert [reply[-9:] for reply in replies][:2] == [" STARTTLS", " 2.0.0 OK"]
    await client.close()


async def test_a_client_that_goes_during_the_commit_leaves_its_message(door: OpenDoor) -> None:
    inside, go_on = asyncio.Event(), asyncio.Event()

    async def wait() -> None:
        inside.set()
        await go_on.wait()

    door.answer = wait
    client = await Dialogue.log_in(door)
    client.write(f"{MAIL}\r\n{RCPT}\r\nDATA\r\n".encode() + CONTENT)
    await asyncio.wait_for(inside.wait(), 5)
    await client.close()
    await asyncio.sleep(0.05)
    go_on.set()
    await asyncio.sleep(0.05)
    assert len(door.taken) == 1
    assert not door.server.door.crowd.guests


class _Guest:
    def __init__(self, place: str) -> None:
        self.place = place
        self.told: list[str] = []

    def leave_for_another(self) -> None:
        self.told.append("leave")

    def close_soon(self) -> None:
        self.told.append("close")

    def abort(self) -> None:
        self.told.append("abort")


def test_strangers_make_room_and_guests_who_logged_in_do_not() -> None:
    crowd = Crowd(4, 2)
    first, second, third = _Guest("a"), _Guest("a"), _Guest("a")
    crowd.enter(first)
    crowd.enter(second)
    crowd.introduce(second, "a")
    crowd.enter(third)
    assert (first.told, second.told) == (["leave"], [])
    crowd.introduce(third, "a")
    with pytest.raises(Refusal, match=r"421 4\.7\.0"):
        crowd.enter(_Guest("a"))
    others: list[Any] = [_Guest("b"), _Guest("c"), _Guest("d")]
    for other in others:
        crowd.enter(other)
    assert [other.told for other in others] == [["leave"], [], []]
    for other in others[1:]:
        crowd.introduce(other, other.place)
    with pytest.raises(Refusal, match=r"421 4\.3\.2"):
        crowd.enter(_Guest("e"))
    crowd.leave(second)
    crowd.leave(second)
    crowd.enter(_Guest("e"))
    assert len(crowd.guests) == 4


def test_an_ipv6_client_has_a_whole_network() -> None:
    assert place_of(("2001:db8:1:2:3::4", 1, 0, 0)) == ("2001:db8:1:2:3::4", "2001:db8:1:2::/64")
    assert place_of(("::ffff:192.0.2.1", 1, 0, 0)) == ("192.0.2.1", "192.0.2.1")
    assert place_of(("192.0.2.1", 1)) == ("192.0.2.1", "192.0.2.1")
    assert place_of(("fe80::1%eth0", 1, 0, 2)) == ("fe80::1", "fe80::/64")
    assert place_of(None) == ("", "")
