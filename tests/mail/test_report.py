"""Bounces and delay notices, by the standard and otherwise; and mail that is neither."""

from __future__ import annotations

import base64

import pytest

from app.mail.report import ReportKind, read_report
from tests.mail.reports import DAEMON, ORIGINAL, PLAIN, Plain, letter, status_report

_FAILED = "Final-Recipient: rfc822; ada@example.com\nAction: failed\nStatus: 5.1.1\nDiagnostic-Code: smtp; 550 5.1.1 unknown user\n"


def test_a_standard_bounce_says_everything() -> None:
    report = read_report(status_report(_FAILED))
    assert report.kind is ReportKind.BOUNCE
    assert report.message_id == "0001@shop.example"
    (recipient,) = report.recipients
    assert (recipient.address, recipient.action, recipient.status) == ("ada@example.com", "failed", "5.1.1")
    assert recipient.diagnostic == "550 5.1.1 unknown user"
    assert recipient.reply_class == "invalid_mailbox"
    assert recipient.suppresses


@pytest.mark.parametrize("case", PLAIN, ids=lambda case: case.system)
def test_a_bounce_in_words_names_its_recipients(case: Plain) -> None:
    report = read_report(letter(case.subject, case.body, author=case.author, fields=case.fields))
    assert report.kind is ReportKind.BOUNCE
    assert tuple(recipient.address for recipient in report.recipients) == case.recipients
    assert report.recipients[0].reply_class == case.reply_class


@pytest.mark.parametrize(
    ("status", "addresses"),
    [
        ("Final-Recipient: rfc822;<Ada@Example.COM>\nAction: failure\nStatus: 553 too big\n", ["Ada@example.com"]),
        ("Final-Recipient: ada@example.com\nAction: failed (bad address)\n", ["ada@example.com"]),
        ("Final-Recipient: system;<>\nOriginal-Recipient: rfc822; ada@example.com\nAction: failed\n", ["ada@example.com"]),
        ("Final-Recipient: rfc822; ada@store\nOriginal-Recipient: rfc822;ada@example.com\nAction: failed\n", ["ada@example.com"]),
        (
            "Final-Recipient: rfc822; a@example.com\nAction: failed\nFinal-Recipient: rfc822; b@example.com\nAction: failed\n",
            ["a@example.com", "b@example.com"],
        ),
        (
            "Final-Recipient: rfc822; a@example.com\nAction: failed\n\nFinal-Recipient: rfc822; A@EXAMPLE.com\nAction: failed\n",
            ["a@example.com"],
        ),
        ("Final-Recipient: rfc822; a@example.com\n\nAction: failed\nStatus: 5.0.0\n", ["a@example.com"]),
        ("Final-Recipient: utf-8; jürgen@example.com\nStatus: 5.0.0\n", ["jürgen@example.com"]),
        (
            "Final-Recipient: rfc822; a@example.com\nAction: failed\n\nFinal-Recipient: rfc822; b@example.com\nAction: delayed\n",
            ["a@example.com"],
        ),
        (
            "Final-Recipient: rfc822; a@example.com\nAction: delivered\n\nFinal-Recipient: rfc822; b@example.com\nAction: failed\n",
            ["b@example.com"],
        ),
    ],
)
def test_odd_status_fields(status: str, addresses: list[str]) -> None:
    report = read_report(status_report(status))
    assert report.kind is ReportKind.BOUNCE
    assert [recipient.address for recipient in report.recipients] == addresses


@pytest.mark.parametrize(
    ("action", "kind"), [("delayed", "delay"), ("delivered", "delivered"), ("relayed", "delivered"), ("expanded", "delivered")]
)
def test_a_report_of_no_failure_is_no_bounce(action: str, kind: str) -> None:
    report = read_report(status_report(f"Final-Recipient: rfc822; ada@example.com\nAction: {action}\nStatus: 4.0.0\n"))
    assert report.kind == kind
    assert not any(recipient.suppresses for recipient in report.recipients)


def test_status_fields_within_a_text_are_read() -> None:
    body = f"An error occurred.\n\nTechnical report:\n\n> {_FAILED.replace(chr(10), chr(10) + '> ')}\n{ORIGINAL}"
    report = read_report(letter("Delivery Status Notification (Failure)", body))
    assert [recipient.address for recipient in report.recipients] == ["ada@example.com"]
    assert report.recipients[0].status == "5.1.1"


def test_a_report_whose_boundary_is_wrong_is_read() -> None:
    raw = status_report(_FAILED).replace(b'boundary="x"', b'boundary="y"')
    assert [recipient.address for recipient in read_report(raw).recipients] == ["ada@example.com"]


def test_encoded_notices_are_read() -> None:
    text = base64.encodebytes(b"Ihre Nachricht an\n<ada@example.com>\nkonnte nicht zugestellt werden: Postfach ist voll").decode()
    fields = "Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: base64\n"
    report = read_report(letter("=?utf-8?q?Unzustellbar=3A_Gr=C3=BC=C3=9Fe?=", text, fields=fields))
    assert report.kind is ReportKind.BOUNCE
    assert [(recipient.address, recipient.reply_class) for recipient in report.recipients] == [("ada@example.com", "mailbox_full")]


def test_a_notice_in_html_alone_is_read() -> None:
    html = (
        "<html><head><style>p {x: 'y@z.example'}</style></head>"
        "<body><p>Delivery to <b>ada@example.com</b> failed.</p><p>No such user</p></body></html>"
    )
    report = read_report(letter("Delivery failure", html, content_type="text/html"))
    assert [recipient.address for recipient in report.recipients] == ["ada@example.com"]


def test_a_notification_in_json_is_read() -> None:
    recipient = '{"emailAddress":"ada@example.com","action":"failed","status":"5.1.1","diagnosticCode":"smtp; 550 no such user"}'
    body = f'{{"bounce":{{"bouncedRecipients":[{recipient}]}}}}'
    report = read_report(letter("Notification", body, author="From: no-reply@cloud.example"))
    assert report.kind is ReportKind.BOUNCE
    assert report.recipients[0].diagnostic == "550 no such user"


@pytest.mark.parametrize(
    ("subject", "body"),
    [
        (
            "Warning: message delayed 24 hours",
            "Your message has not yet been delivered to:\n\n  ada@example.com\n\nNo action is required. In the end we will give up.\n",
        ),
        (
            "Delivery Status Notification (Delay)",
            "THIS IS A WARNING MESSAGE ONLY.\n\nDelivery to the following recipient has been delayed:\n\n  ada@example.com\n",
        ),
        ("Zustellung verzögert", "Die Zustellung an folgende Adresse ist verzögert:\n\nada@example.com\n"),
    ],
)
def test_a_delay_notice_in_words_is_no_bounce(subject: str, body: str) -> None:
    report = read_report(letter(subject, body))
    assert report.kind is ReportKind.DELAY
    assert [(recipient.address, recipient.suppresses) for recipient in report.recipients] == [("ada@example.com", False)]


def test_what_is_given_up_is_a_bounce_though_it_was_delayed() -> None:
    body = "Your message was delayed and could not be delivered for 5 days, we gave up:\n\nada@example.com\n"
    report = read_report(letter("Returned mail", body))
    assert (report.kind, report.recipients[0].reply_class) == (ReportKind.BOUNCE, "transient")


@pytest.mark.parametrize(
    ("diagnostic", "status", "suppresses"),
    [
        ("550 5.1.1 unknown user", "5.1.1", True),
        ("550 unknown user", "5.1.1", True),
        ("550 unknown user (in reply to RCPT TO command)", "5.0.0", True),
        ("550 unknown user (in reply to end of DATA command)", "5.0.0", False),  # it took the recipient before
        ("550 unknown user", "5.0.0", False),  # nothing else says so
        ("550 5.7.1 unknown user", "5.0.0", False),  # the code says something else
        ("450 4.1.1 unknown user", "4.1.1", False),
        ("550 5.1.351 unknown user", "5.1.351", False),  # a number of the vendor's own
        ("550 5.1.2 host unknown", "5.1.2", True),
        ("552 5.2.2 mailbox full", "5.2.2", False),
        ("550 5.1.1 user unknown: this account has been disabled", "5.1.1", False),
        ("550 5.7.1 blocked by policy", "5.7.1", False),
    ],
)
def test_only_what_two_statements_say_suppresses(diagnostic: str, status: str, suppresses: bool) -> None:
    fields = f"Final-Recipient: rfc822; ada@example.com\nAction: failed\nStatus: {status}\nDiagnostic-Code: smtp; {diagnostic}\n"
    (recipient,) = read_report(status_report(fields)).recipients
    assert recipient.suppresses is suppresses


PERSON = "From: Bob <bob@example.com>"
_ABOUT_A_BOUNCE = letter(
    "Re: Undelivered Mail", "It came back: not delivered to ada@example.com\n", author=PERSON, fields="In-Reply-To: <1@shop.example>\n"
).replace(b"<>", b"<bob@example.com>")


@pytest.mark.parametrize(
    "raw",
    [
        letter("Lunch?", "Shall we meet at noon?\n", author=PERSON),
        letter("Re: Order 1001", "Thank you. My other address, ada@example.com, does not work.\n", author=PERSON),
        _ABOUT_A_BOUNCE,
        letter("Weekly report", "Delivered 12 parcels. ada@example.com was not reached by phone.\n", author=PERSON),
        letter("Failed delivery? Track it", "Delivery failed? Call ada@example.com, problem solved.\n", author=PERSON).replace(
            b"<>", b"<b@x.example>"
        ),
        letter("Re: Order [are you a person?]", "Your message to bob@example.com was not delivered yet. Please reply.\n", author=PERSON),
        letter(
            "Weekly figures", "10 mails delivered, 3 messages rejected, write to ada@example.com.\n", author="From: postmaster@x.example"
        ),
        letter("Awaits moderation", "Your mail to 'list' is held until a moderator can review it.\n", author="From: list-owner@x.example"),
        letter("Your subscription", "Welcome to the list.\n", author="From: postmaster@provider.example"),
        letter("", ""),
    ],
)
def test_other_mail_is_no_bounce(raw: bytes) -> None:
    assert read_report(raw).kind is ReportKind.OTHER


def test_who_is_merely_mentioned_is_no_recipient() -> None:
    body = (
        "Your message could not be delivered.\nPlease contact helpdesk@provider.example for help.\n\n"
        "<ada@example.com>: host mx.example.com said: 550 5.1.1 <alias@inner.example>:\n    user unknown (in reply to RCPT TO command)\n"
        f"\n--- Below this line is a copy of the message.\n\n{ORIGINAL}Write to eve@example.com\n"
    )
    assert [recipient.address for recipient in read_report(letter("Returned mail", body, author=DAEMON)).recipients] == ["ada@example.com"]
