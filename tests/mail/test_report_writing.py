"""The delivery reports that we write: right to the stdlib, and read back by our own reader."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any

import pytest

from app.config import Settings
from app.mail.address import parse_mailbox
from app.mail.adopt import adopt, read_finished
from app.mail.report import ReportKind, read_report
from app.mail.report_phrases import PHRASES, Meaning
from app.mail.report_writing import Cover, Fate, Returned, reader_language, write_report

AT = datetime(2026, 11, 30, 9, 30, tzinfo=UTC)
COVER = Cover("shop.example", "ada@shop.example", "0123456789abcdef@shop.example", AT, "relay.example.com")
HEAD = b"From: Ada <ada@shop.example>\r\nTo: bob@example.com\r\nSubject: Your order\r\nMessage-ID: <0001@shop.example>\r\n"
MAIL = Returned("Your order", "<0001@shop.example>", AT, head=HEAD)
DEAD = Fate("bob@example.com", "failed", "5.1.1", Meaning.INVALID_MAILBOX, "550 5.1.1 unknown user", True, "mx.example.com", tried_at=AT)


def parsed(raw: bytes) -> EmailMessage:
    mail: Any = message_from_bytes(raw, policy=policy.default)
    for part in mail.walk():
        assert not part.defects, part.defects
    return mail  # type: ignore[no-any-return]


def test_a_report_has_its_three_parts_and_its_marks() -> None:
    fate = replace(DEAD, original="rfc822;Bob@example.com")
    raw = write_report(COVER, [fate], replace(MAIL, envelope_id="QQ314159"))
    assert raw.isascii() and raw.count(b"\n") == raw.count(b"\r\n")
    mail = parsed(raw)
    assert mail.get_content_type() == "multipart/report"
    assert mail["content-type"].params["report-type"] == "delivery-status"
    assert mail["from"] == "Mail Delivery System <mailer-daemon@shop.example>"
    assert (mail["to"], mail["subject"], mail["auto-submitted"]) == ("ada@shop.example", "Not delivered: Your order", "auto-replied")
    assert mail["in-reply-to"] == mail["references"] == "<0001@shop.example>"
    notice, status, header = mail.iter_parts()
    assert "bob@example.com" in notice.get_content() and "550 5.1.1 unknown user" in notice.get_content()
    of_mail, of_bob = status.get_payload()  # type: ignore[misc]
    assert (of_mail["original-envelope-id"], of_mail["reporting-mta"]) == ("QQ314159", "dns; relay.example.com")
    assert of_mail["arrival-date"] == "Mon, 30 Nov 2026 09:30:00 +0000"
    assert list(of_bob.items()) == [
        ("Original-Recipient", "rfc822; Bob@example.com"),
        ("Final-Recipient", "rfc822; bob@example.com"),
        ("Action", "failed"),
        ("Status", "5.1.1"),
        ("Remote-MTA", "dns; mx.example.com"),
        ("Diagnostic-Code", "smtp; 550 5.1.1 unknown user"),
        ("Last-Attempt-Date", "Mon, 30 Nov 2026 09:30:00 +0000"),
    ]
    assert header.get_content_type() == "text/rfc822-headers"
    assert header.get_content().replace("\r\n", "\n") == HEAD.decode().replace("\r\n", "\n")


def test_the_whole_mail_comes_back_where_it_is_asked_for() -> None:
    body = "Grüße".encode() + b"\r\n"
    head = HEAD + b"MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n"
    mail = parsed(write_report(COVER, [DEAD], replace(MAIL, head=head, body=body)))
    assert mail["content-transfer-encoding"] == "8bit"
    returned = list(mail.iter_parts())[2]
    assert returned.get_content_type() == "message/rfc822"
    inner = returned.get_content()
    assert inner["message-id"] == "<0001@shop.example>"
    assert inner.get_content().strip() == "Grüße"


@pytest.mark.parametrize("language", sorted(PHRASES))
@pytest.mark.parametrize(
    ("meaning", "status", "reply", "read_as"),
    [
        (Meaning.INVALID_MAILBOX, "5.1.1", "550 5.1.1 unknown user", "invalid_mailbox"),
        (Meaning.INVALID_MAILBOX, "5.1.1", "550 no", "invalid_mailbox"),
        (Meaning.INVALID_DOMAIN, "5.1.2", "550 5.1.2 There is no such domain.", "invalid_domain"),
        (Meaning.MAILBOX_FULL, "5.2.2", "552 5.2.2 over quota", "mailbox_full"),
        (Meaning.MAILBOX_DISABLED, "5.2.1", "550 5.2.1 mailbox disabled", "mailbox_disabled"),
        (Meaning.POLICY, "5.7.1", "554 5.7.1 no spam please", "policy"),
        (Meaning.TOO_LARGE, "5.3.4", "552 5.3.4 message too big", "too_large"),
        (Meaning.EXPIRED, "4.4.7", "450 4.2.0 try again later", "transient"),
    ],
)
def test_our_own_reader_reads_it_back(language: str, meaning: Meaning, status: str, reply: str, read_as: str) -> None:
    fate = replace(DEAD, status=status, meaning=meaning, diagnostic=reply)
    report = read_report(write_report(replace(COVER, language=language), [fate], MAIL))
    assert (report.kind, report.message_id) == (ReportKind.BOUNCE, "0001@shop.example")
    (one,) = report.recipients
    assert (one.address, one.action, one.status, one.reply_class) == ("bob@example.com", "failed", status, read_as)
    assert one.diagnostic == reply


@pytest.mark.parametrize("language", sorted(PHRASES))
@pytest.mark.parametrize(
    "meaning", [Meaning.KNOWN_DEAD, Meaning.UNWANTED, Meaning.LISTED, Meaning.UNMADE, Meaning.WITHDRAWN, Meaning.EXPIRED]
)
def test_what_no_server_said_is_read_as_a_bounce_all_the_same(language: str, meaning: Meaning) -> None:
    fate = Fate("bob@example.com", "failed", "5.7.1", meaning, "blocked: words of our own")
    raw = write_report(replace(COVER, language=language), [fate], replace(MAIL, head=b""))
    assert len(list(parsed(raw).iter_parts())) == 2
    report = read_report(raw)
    assert (report.kind, [one.address for one in report.recipients]) == (ReportKind.BOUNCE, ["bob@example.com"])
    assert b"Remote-MTA" not in raw and b"x-staffetta; blocked" in raw


@pytest.mark.parametrize("language", sorted(PHRASES))
def test_a_delay_and_a_success_are_no_bounces(language: str) -> None:
    cover = replace(COVER, language=language)
    until = datetime(2026, 12, 3, tzinfo=UTC)
    late = replace(DEAD, action="delayed", status="4.2.0", meaning=Meaning.DELAYED, diagnostic="450 4.2.0 busy", tried_until=until)
    raw = write_report(cover, [late], MAIL)
    assert read_report(raw).kind is ReportKind.DELAY
    assert b"Will-Retry-Until: Thu, 03 Dec 2026 00:00:00 +0000" in raw
    passed = replace(DEAD, action="relayed", status="2.0.0", meaning=Meaning.RELAYED, diagnostic="250 2.0.0 queued")
    assert read_report(write_report(cover, [passed], MAIL)).kind is ReportKind.DELIVERED


def test_many_recipients_are_all_named() -> None:
    fates = [replace(DEAD, address=f"bob{n}@example.com") for n in range(200)]
    report = read_report(write_report(COVER, fates, MAIL))
    assert [one.address for one in report.recipients] == [fate.address for fate in fates]


def test_a_mailbox_in_utf8_makes_a_global_report() -> None:
    fate = replace(DEAD, address="jürgen@example.com", diagnostic="550 5.1.1 <jürgen@example.com> unknown")
    raw = write_report(COVER, [fate], replace(MAIL, head=HEAD + "X-Name: Jürgen\r\n".encode()))
    types = [part.get_content_type() for part in message_from_bytes(raw, policy=policy.default).iter_parts()]  # type: ignore[attr-defined]
    assert types == ["text/plain", "message/global-delivery-status", "message/global-headers"]
    report = read_report(raw)
    assert [one.address for one in report.recipients] == ["jürgen@example.com"]
    assert report.message_id == "0001@shop.example"


def test_a_sender_in_utf8_is_written_to_as_he_is() -> None:
    finished = read_finished(write_report(replace(COVER, to="jürgen@shop.example"), [DEAD], MAIL))
    assert finished.value_of("to") == "jürgen@shop.example"


def test_an_original_recipient_in_utf8_makes_the_fields_global() -> None:
    raw = write_report(COVER, [replace(DEAD, original="utf-8;jürgen@example.com")], MAIL)
    assert b"Content-Type: message/global-delivery-status" in raw
    assert "Original-Recipient: utf-8; jürgen@example.com".encode() in raw
    assert [one.address for one in read_report(raw).recipients] == ["bob@example.com"]


def test_a_reply_in_utf8_stays_ascii_where_the_fields_are() -> None:
    raw = write_report(COVER, [replace(DEAD, diagnostic="550 5.1.1 Empfänger unbekannt")], MAIL)
    assert b"Diagnostic-Code: smtp; 550 5.1.1 Empf?nger unbekannt" in raw
    notice = next(iter(parsed(raw).iter_parts()))
    assert "Empfänger" in notice.get_content()


@pytest.mark.parametrize("value", ["a\r\nBcc: evil@x.test", "{0}{subject}%s", "=?utf-8?q?x?=", "😀" * 500, "", "\x00\x1b[2J"])
def test_whatever_the_subject_and_the_reply_are_the_report_is_a_mail(value: str) -> None:
    fate = replace(DEAD, diagnostic=f"550 {value}"[:1000])
    raw = write_report(COVER, [fate], replace(MAIL, subject=value, message_id=f"<{value}>"))
    mail = parsed(raw)
    assert mail["bcc"] is None
    assert not set(raw) & {0, 0x1B}
    assert mail["message-id"] == "<0123456789abcdef@shop.example>"
    assert max(map(len, raw.split(b"\r\n"))) <= 998
    assert len(list(mail.iter_parts())) == 3
    assert [one.address for one in read_report(raw).recipients] == ["bob@example.com"]


def test_the_intake_takes_it_as_it_is() -> None:
    raw = write_report(replace(COVER, controls=(("X-Staffetta-Tag", "delivery-report"),)), [DEAD], MAIL)
    finished = read_finished(raw)
    assert finished.author.mailbox == parse_mailbox("mailer-daemon@shop.example")
    assert [field.name for field in finished.controls] == ["x-staffetta-tag"]
    content = adopt(finished, message_id="x@y.test", date=AT).content
    assert content.head + b"\r\n" + content.body == raw.replace(b"X-Staffetta-Tag: delivery-report\r\n", b"")


@pytest.mark.parametrize(
    ("fields", "language"),
    [
        ("Accept-Language: it-IT, en-US\r\nContent-Language: en-US\r\n", "it"),
        ("Content-Language: de-CH\r\n", "de"),
        ("Accept-Language: nl, sv\r\nContent-Language: fr\r\n", "fr"),
        ("Accept-Language: en;q=0.1, es;q=0.9\r\n", "es"),
        ("Accept-Language: nl\r\n", "it"),
        ("Subject: no word of it\r\n", "it"),
    ],
)
def test_the_language_is_the_one_that_the_senders_program_tells(fields: str, language: str) -> None:
    assert reader_language(fields.encode(), "it") == language


@pytest.mark.parametrize("language", sorted(PHRASES))
def test_every_language_says_everything(language: str) -> None:
    phrases = PHRASES[language]
    assert Settings(report_language=language).report_language == language
    assert set(phrases.meanings) == set(Meaning)
    assert all("{subject}" in text for text in (phrases.failure_subject, phrases.delay_subject, phrases.success_subject, phrases.about))
    assert "{until}" in phrases.delay and "{server}" in phrases.answered and "{domain}" in phrases.meanings[Meaning.INVALID_DOMAIN]
