import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.mail.reply import Reply, ReplyClass, classify, parse_reply, read_reply


@pytest.mark.parametrize(
    ("code", "text", "expected"),
    [
        (250, "2.0.0 Ok: queued as 4BX", Reply(250, "2.0.0", "Ok: queued as 4BX")),
        (250, "Ok", Reply(250, None, "Ok")),
        (550, "5.1.1 first line\n5.1.1 second line", Reply(550, "5.1.1", "first line second line")),
        (550, "5.7.26 see\n5.1.2 other", Reply(550, "5.7.26", "see 5.1.2 other")),
        (550, "5.1.1: gone", Reply(550, "5.1.1", "gone")),
        (550, "5.1.1", Reply(550, "5.1.1", "")),
        (220, "10.1.2.3 ready", Reply(220, None, "10.1.2.3 ready")),
        (550, "a\x00b\r\n\tc\u2028d\ud800", Reply(550, None, "a b c d?")),
        (421, "", Reply(421, None, "")),
    ],
)
def test_a_reply_is_one_line_with_its_enhanced_code_apart(code: int, text: str, expected: Reply) -> None:
    assert parse_reply(code, text) == expected


@given(st.integers(0, 999), st.text(max_size=3000))
def test_any_text_becomes_a_reply_of_bounded_length(code: int, text: str) -> None:
    reply = parse_reply(code, text)
    assert len(reply.text) <= 1000
    assert reply.text.isprintable() or "\n" not in reply.text
    assert classify(reply) in ReplyClass
    assert classify(read_reply(text)) in ReplyClass


@pytest.mark.parametrize(
    ("text", "code", "enhanced"),
    [
        ("host mx.example.com[192.0.2.1] said: 550 5.1.1 No such user (in reply to RCPT TO command)", 550, "5.1.1"),
        ("smtp; 452-4.2.2 over quota", 452, "4.2.2"),
        ("no mailbox here by that name (#5.1.1)", 500, "5.1.1"),
        ("connect to mx.example.com[192.0.2.1]:25: Connection timed out", 0, None),
    ],
)
def test_a_reply_is_found_in_prose(text: str, code: int, enhanced: str | None) -> None:
    reply = read_reply(text)
    assert (reply.code, reply.enhanced) == (code, enhanced)


@pytest.mark.parametrize(
    ("reply", "phase", "expected"),
    [
        ("550 5.1.1 The address you mailed does not exist", "rcpt", "invalid_mailbox"),
        ("550 No such user", "rcpt", "invalid_mailbox"),
        ("550 Mailbox unavailable", "rcpt", "invalid_mailbox"),
        ("554 This user is not known here", "dot", "invalid_mailbox"),
        ("550 5.1.1", "rcpt", "invalid_mailbox"),
        ("550 Utente sconosciuto", "rcpt", "invalid_mailbox"),
        ("550 Empfänger unbekannt", "rcpt", "invalid_mailbox"),
        ("550 5.1.2 Domain not found", "rcpt", "invalid_domain"),
        ("556 5.1.10 Recipient domain has null MX", "rcpt", "invalid_domain"),
        ("552 5.2.2 Sorry", "rcpt", "mailbox_full"),
        ("452 The inbox of this customer is full", "rcpt", "mailbox_full"),
        ("550 5.2.1 Mailbox has been suspended", "rcpt", "mailbox_disabled"),
        ("550 This account was closed by its owner", "rcpt", "mailbox_disabled"),
        ("552 5.3.4 No", "dot", "too_large"),
        ("552 Message exceeds the maximum size", "mail", "policy"),
        ("554 Message too large", "dot", "too_large"),
        ("451 4.7.1 Greylisted, come back in five minutes", "rcpt", "transient"),
        ("421 Too many connections from you", "greeting", "transient"),
        ("450 4.2.0 Busy", "rcpt", "transient"),
        ("451 Local error in processing", "dot", "transient"),
        ("550 5.7.1 Message identified as spam", "dot", "policy"),
        ("554 5.7.1 Sender address rejected: user unknown", "mail", "policy"),
        ("550 Your host is listed at bl.example.net", "rcpt", "policy"),
        ("550 5.7.26 DMARC", "dot", "policy"),
        ("554 Relay access denied", "rcpt", "policy"),
        ("550 no such user", "greeting", "policy"),
        ("450 no such user", "mail", "transient"),
        ("550", "rcpt", "policy"),
        ("450", "rcpt", "transient"),
    ],
)
def test_general_rules(reply: str, phase: str, expected: str) -> None:
    code, _, text = reply.partition(" ")
    assert classify(parse_reply(int(code), text), phase) == expected


def test_only_what_says_the_address_is_dead_suppresses() -> None:
    assert {kind for kind in ReplyClass if kind.suppresses} == {ReplyClass.INVALID_MAILBOX, ReplyClass.INVALID_DOMAIN}


@pytest.mark.parametrize(
    "piece", ["user ", "! ", "!", "user!", "a@", "http://", "no longer ", "mail ", "[1", "user a-b ", "for more information"]
)
def test_no_text_takes_long(piece: str) -> None:
    started = time.perf_counter()
    classify(Reply(550, None, (piece * 1000)[:1000]))
    assert time.perf_counter() - started < 0.2
