"""Complaints, autoreplies and wishes to be left alone."""

from __future__ import annotations

import pytest

from app.mail.report import ReportKind, read_report
from tests.mail.reports import ORIGINAL, feedback_report, letter

PERSON = "From: Ada <ada@example.com>"


@pytest.mark.parametrize(
    ("fields", "original", "addresses"),
    [
        ("Feedback-Type: abuse\nVersion: 1\nUser-Agent: X/1\nOriginal-Rcpt-To: <ada@example.com>\n", ORIGINAL, ["ada@example.com"]),
        (
            "Feedback-Type: abuse\nOriginal-Rcpt-To: a@example.com\nOriginal-Rcpt-To: b@example.com\n",
            ORIGINAL,
            ["a@example.com", "b@example.com"],
        ),
        ("Content-Type: text/plain\n\nFeedback-Type: Abuse\nRemoval-Recipient: ada@example.com\n", ORIGINAL, ["ada@example.com"]),
        ("Feedback-Type: fraud\nOriginal-Rcpt-To: redacted\n", ORIGINAL, ["ada@example.com"]),
        ("Feedback-Type: opt-out\nRedacted-Address: redacted\n", ORIGINAL.replace("ada@example.com", "undisclosed"), []),
    ],
)
def test_a_feedback_report_is_a_complaint(fields: str, original: str, addresses: list[str]) -> None:
    report = read_report(feedback_report(fields, original=original))
    assert report.kind is ReportKind.COMPLAINT
    assert [(recipient.address, recipient.reply_class) for recipient in report.recipients] == [
        (address, "complaint") for address in addresses
    ]
    assert report.message_id == "0001@shop.example"


@pytest.mark.parametrize("feedback_type", ["auth-failure", "not-spam"])
def test_feedback_that_is_no_complaint_is_told_apart(feedback_type: str) -> None:
    report = read_report(feedback_report(f"Feedback-Type: {feedback_type}\nOriginal-Rcpt-To: ada@example.com\n"))
    assert (report.kind, report.feedback_type, report.recipients[0].reply_class) == (ReportKind.FEEDBACK, feedback_type, None)


def test_a_mail_forwarded_as_a_complaint_is_one() -> None:
    original = "X-HmXmrOriginalRecipient: ada@example.com\n" + ORIGINAL.replace("To: ada@example.com", "To: redacted@example.com")
    body = f"--x\nContent-Type: message/rfc822\n\n{original}\n--x--\n"
    report = read_report(
        letter(
            "complaint about message from 192.0.2.1",
            body,
            author="From: staff@provider.example",
            content_type="multipart/mixed; boundary=x",
        )
    )
    assert (report.kind, report.message_id) == (ReportKind.COMPLAINT, "0001@shop.example")
    assert [recipient.address for recipient in report.recipients] == ["ada@example.com"]


@pytest.mark.parametrize(
    ("subject", "fields"),
    [
        ("Out of office: Order 1001", ""),
        ("Automatische Antwort: Bestellung", ""),
        ("Réponse automatique : Commande", ""),
        ("自動返信: 注文", ""),
        ("Re: Order 1001", "Auto-Submitted: auto-replied\n"),
        ("Re: Order 1001", "X-Autoreply: yes\n"),
        ("Re: Order 1001", "Precedence: auto_reply\n"),
    ],
)
def test_an_autoreply_is_no_bounce(subject: str, fields: str) -> None:
    body = (
        "I am away until Monday. Mail to this address is not delivered to anybody else: write to bob@example.com, who does not exist yet.\n"
    )
    report = read_report(letter(subject, body, author=PERSON, fields=fields + "In-Reply-To: <0001@shop.example>\n"))
    assert (report.kind, report.message_id) == (ReportKind.AUTOREPLY, "0001@shop.example")
    assert [(recipient.address, recipient.reply_class) for recipient in report.recipients] == [("ada@example.com", "autoreply")]


def test_a_receipt_is_an_autoreply() -> None:
    body = (
        "--x\n\nYour mail was displayed.\n--x\nContent-Type: message/disposition-notification\n\n"
        "Final-Recipient: rfc822; ada@example.com\n--x--\n"
    )
    content_type = "multipart/report; report-type=disposition-notification; boundary=x"
    assert read_report(letter("Read: Order", body, author=PERSON, content_type=content_type)).kind is ReportKind.AUTOREPLY


@pytest.mark.parametrize(
    ("subject", "body", "kind"),
    [
        ("unsubscribe", "", "unsubscribe"),
        ("Unsubscribe <list.shop.example>", "sent by a mail program", "unsubscribe"),
        ("Re: Order", "Please unsubscribe me\n\nAda\n", "unsubscribe"),
        ("Abmelden", "", "unsubscribe"),
        ("отписаться", "", "unsubscribe"),
        ("How do I unsubscribe from your terrible list, which I never joined, and why?", "Tell me.", "other"),
        ("Removed items", "See above.", "other"),
    ],
)
def test_a_wish_to_be_left_alone(subject: str, body: str, kind: str) -> None:
    assert read_report(letter(subject, body, author=PERSON)).kind == kind


def test_a_wish_that_a_program_sent_is_a_wish() -> None:
    raw = letter("unsubscribe", "Sent to unsubscribe.\n", author=PERSON, fields="Auto-Submitted: auto-replied\n")
    assert read_report(raw).kind is ReportKind.UNSUBSCRIBE


@pytest.mark.parametrize(
    ("subject", "body", "fields", "kind"),
    [
        ("Re: Unsubscribe confirmation for your account", "I am out of office\n", "Auto-Submitted: auto-replied\n", "autoreply"),
        ("Unsubscribe: your choices", "I am out of office\n", "Auto-Submitted: auto-replied\n", "autoreply"),
        ("Re: Order", "Unsubscribe here if you do not want our answers.\n", "Auto-Submitted: auto-replied\n", "autoreply"),
        ("Re: Unsubscribe confirmation for your account", "Thank you!\n", "", "other"),
        ("AW: Abmelden", "Danke\n", "", "other"),
        ("Re: News", "Please unsubscribe me\n", "", "unsubscribe"),
        ("Unsubscribe.", "Thank you!\n", "", "unsubscribe"),
    ],
)
def test_the_subject_of_an_answer_is_that_of_our_own_mail(subject: str, body: str, fields: str, kind: str) -> None:
    fields += "In-Reply-To: <0001@shop.example>\n"
    assert read_report(letter(subject, body, author=PERSON, fields=fields)).kind == kind


_QUOTED_BOUNCE = "What is this?\n\n<bob@example.com>: host mx said: 550 no such user\n"


@pytest.mark.parametrize(
    ("subject", "author", "fields", "body"),
    [
        ("Fwd: Undelivered mail", PERSON, "", _QUOTED_BOUNCE),
        ("WG: Unzustellbar", PERSON, "", _QUOTED_BOUNCE),
        ("[mail-users] Undelivered mail", PERSON, "List-Id: <mail-users.example.com>\n", _QUOTED_BOUNCE),
        ("Re: Undelivered mail", PERSON, "In-Reply-To: <1@example.com>\n", _QUOTED_BOUNCE),
        ("Quarantine digest", "From: postmaster@example.com", "", "These were not delivered:\n\nbob@example.com: Offer\n"),
    ],
)
def test_what_people_and_digests_say_of_bounces_is_none(subject: str, author: str, fields: str, body: str) -> None:
    raw = letter(subject, body, author=author, fields=fields).replace(b"Return-Path: <>\r\n", b"")
    assert read_report(raw).kind is not ReportKind.BOUNCE


def test_intended_recipients_are_no_legal_footer() -> None:
    report = read_report(
        letter("Undeliverable", "It could not be delivered.\n\nIntended recipient: <bob@example.com>\nReason: 550 no such user\n")
    )
    assert [(one.address, one.reply_class) for one in report.recipients] == [("bob@example.com", "invalid_mailbox")]


def test_what_was_refused_before_rcpt_is_not_of_the_recipient() -> None:
    body = "bob@example.com\n  host mx.example.com [192.0.2.1]\n  SMTP error after MAIL FROM:<a@shop.example>:\n  550 user unknown\n"
    (recipient,) = read_report(letter("Mail delivery failed", f"It could not be delivered.\n\n{body}")).recipients
    assert (recipient.reply_class, recipient.suppresses) == ("policy", False)
