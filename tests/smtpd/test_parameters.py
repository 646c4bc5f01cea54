"""MAIL FROM and RCPT TO: what is read, and what is refused in which words."""

from __future__ import annotations

import pytest

from app.smtpd.parameters import MailFrom, RcptTo, read_mail, read_rcpt
from app.smtpd.replies import Refusal, launder


@pytest.mark.parametrize(
    ("argument", "read"),
    [
        ("FROM:<a@x.test>", MailFrom("a@x.test")),
        ("from: <a@X.Test> SIZE=1000 BODY=8bitmime", MailFrom("a@x.test", 1000)),
        ("FROM:<>", MailFrom("")),
        ("FROM: a@x.test", MailFrom("a@x.test")),
        ("FROM:<@hop.test,@other.test:a@x.test>", MailFrom("a@x.test")),
        ('FROM:<"odd > one"@x.test>', MailFrom('"odd > one"@x.test')),
        ("FROM:<jörg@x.test> SMTPUTF8", MailFrom("jörg@x.test", utf8=True)),
        ("FROM:<a@x.test> RET=hdrs ENVID=Order+2B1001", MailFrom("a@x.test", ret="HDRS", envelope_id="Order+1001")),
        ("FROM:<a@x.test> AUTH=<>", MailFrom("a@x.test")),
    ],
)
def test_mail_from(argument: str, read: MailFrom) -> None:
    assert read_mail(argument) == read


@pytest.mark.parametrize(
    ("argument", "read"),
    [
        ("TO:<a@x.test>", RcptTo("a@x.test")),
        ("TO:<a@x.test> NOTIFY=never", RcptTo("a@x.test", frozenset({"NEVER"}))),
        ("TO:<a@x.test> notify=SUCCESS,Delay", RcptTo("a@x.test", frozenset({"SUCCESS", "DELAY"}))),
        ("TO:<a@x.test> ORCPT=rfc822;Ada+2Bx@Example.com", RcptTo("a@x.test", original="rfc822;Ada+x@Example.com")),
        ("TO:<a@x.test> ORCPT=utf-8;jörg@x.test", RcptTo("a@x.test", original="utf-8;jörg@x.test")),
    ],
)
def test_rcpt_to(argument: str, read: RcptTo) -> None:
    assert read_rcpt(argument, utf8=False) == read


@pytest.mark.parametrize(
    ("argument", "reply"),
    [
        ("", "501 5.5.4"),
        ("<a@x.test>", "501 5.5.4"),
        ("FROM:", "501 5.5.4"),
        ("FROM:<a@x.test", "501 5.5.4"),
        ("FROM:<a@x.test>SIZE=1", "501 5.5.4"),
        ("FROM:<a@x.test> SIZE=x", "501 5.5.4"),
        ("FROM:<a@x.test> SIZE", "501 5.5.4"),
        ("FROM:<a@x.test> SIZE=²", "501 5.5.4"),
        ("FROM:<a@x.test> SIZE=1 SIZE=2", "501 5.5.4"),
        ("FROM:<a@x.test> BODY=BINARYMIME", "501 5.5.4"),
        ("FROM:<a@x.test> SMTPUTF8=1", "501 5.5.4"),
        ("FROM:<a@x.test> RET=ALL", "501 5.5.4"),
        ("FROM:<a@x.test> ENVID", "501 5.5.4"),
        ("FROM:<a@x.test> ENVID=a+0D+0ABcc:x", "501 5.5.4"),
        ("FROM:<a@x.test> ENVID=" + "x" * 101, "501 5.5.4"),
        ("FROM:<a@x.test> ENVID=a+zz", "501 5.5.4"),
        ("FROM:<a@x.test> HOLDFOR=60", "555 5.5.4"),
        ("FROM:<a@localhost>", "553 5.1.3"),
        ("FROM:<a>", "553 5.1.3"),
        ("FROM:<a@x.test\r\nRCPT TO:<b@x.test>>", "501 5.5.4"),
        ("FROM:<a\r@x.test>", "553 5.1.3"),
        ("FROM:<a@[127.0.0.1]>", "553 5.1.3"),
        ("FROM:<jörg@x.test>", "553 5.6.7"),
    ],
)
def test_what_mail_from_refuses(argument: str, reply: str) -> None:
    with pytest.raises(Refusal) as refused:
        read_mail(argument)
    assert refused.value.reply.startswith(f"{reply} ")


@pytest.mark.parametrize(
    ("argument", "reply"),
    [
        ("TO:<>", "501 5.1.3"),
        ("TO:<a@x.test> NOTIFY=NEVER,SUCCESS", "501 5.5.4"),
        ("TO:<a@x.test> NOTIFY=SUCCESS,SUCCESS", "501 5.5.4"),
        ("TO:<a@x.test> NOTIFY=", "501 5.5.4"),
        ("TO:<a@x.test> NOTIFY", "501 5.5.4"),
        ("TO:<a@x.test> ORCPT=a@x.test", "501 5.5.4"),
        ("TO:<a@x.test> ORCPT=rfc822;" + "x" * 501, "501 5.5.4"),
        ("TO:<a@x.test> ORCPT=rfc822;a+0Ab", "501 5.5.4"),
        ("TO:<a@x.test> SIZE=1", "555 5.5.4"),
        ("TO:<postmaster>", "553 5.1.3"),
    ],
)
def test_what_rcpt_to_refuses(argument: str, reply: str) -> None:
    with pytest.raises(Refusal) as refused:
        read_rcpt(argument, utf8=False)
    assert refused.value.reply.startswith(f"{reply} ")


@pytest.mark.parametrize(
    ("said", "leaves"),
    [
        ("250 OK", "250 2.0.0 OK"),
        ("500 Error: bad syntax", "500 5.5.2 Error: bad syntax"),
        ("220 relay.test ESMTP", "220 relay.test ESMTP"),
        ("354 go on", "354 go on"),
        ("550 5.7.1 no: ü\r\n250 ok", "550 5.7.1 no: ?250 ok"),
        ("550 5.7.1 " + "x" * 1000, "550 5.7.1 " + "x" * 490),
    ],
)
def test_replies_are_laundered(said: str, leaves: str) -> None:
    assert launder(said) == leaves
