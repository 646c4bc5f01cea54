"""Mail for hosts that offer less: seven bits, the same mail to whoever reads it."""

from __future__ import annotations

from email import message_from_bytes, policy
from email.message import EmailMessage

import pytest

from app.mail.downgrade import downgrade

SENDER = "From: Shop <shop@example.com>\r\nMIME-Version: 1.0\r\n"


def split(text: str) -> tuple[bytes, bytes]:
    head, _, body = text.encode().partition(b"\r\n\r\n")
    return head + b"\r\n", body


def lessened(text: str) -> EmailMessage:
    head, body = downgrade(*split(text))
    whole = head + b"\r\n" + body
    assert whole.isascii()
    assert max(map(len, whole.split(b"\r\n"))) <= 998
    parsed = message_from_bytes(whole, policy=policy.SMTP)
    assert isinstance(parsed, EmailMessage)
    assert not parsed.defects
    return parsed


def plain(body: str, fields: str = "") -> str:
    return f"{SENDER}{fields}Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n{body}"


@pytest.mark.parametrize("body", ["Grüße\r\n", "Привет, мир\r\n" * 20, "ü" * 3000 + "\r\n", "a = b\r\n.\r\nü \r\n"])
def test_a_text_reads_the_same(body: str) -> None:
    parsed = lessened(plain(body))
    assert parsed.get_content().splitlines() == body.splitlines()
    assert parsed.get_all("Content-Transfer-Encoding") in (["quoted-printable"], ["base64"])


def test_seven_bits_are_left_as_they_are() -> None:
    head, body = split(plain("Hello\r\n"))
    assert downgrade(head, body) == (head, body)


def test_each_part_is_changed_on_its_own() -> None:
    text = (
        f"{SENDER}Subject: x\r\nContent-Type: multipart/mixed; boundary=b\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
        "préambule\r\n--b\r\nContent-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n<p>ü</p>\r\n"
        "--b\r\nContent-Type: text/plain\r\n\r\nplain\r\n"
        '--b\r\nContent-Type: application/pdf; name="Rechnung für Zoë.pdf"\r\nContent-Disposition: attachment;\r\n'
        ' filename="Rechnung für Zoë.pdf"\r\nContent-Transfer-Encoding: base64\r\n\r\naGVsbG8=\r\n'
        "--b\r\nContent-Type: application/octet-stream\r\nContent-Transfer-Encoding: binary\r\n\r\nÄÖ\r\n--b\r\n\r\nnaked ü\r\n"
        "--b--\r\népilogue\r\n"
    )
    parts = list(lessened(text).iter_parts())
    assert [part.get_content_type() for part in parts] == [
        "text/html", "text/plain", "application/pdf", "application/octet-stream", "text/plain",
    ]  # fmt: skip
    assert parts[0].get_content().strip() == "<p>ü</p>"
    assert parts[1].get_payload() == "plain"
    assert parts[2].get_filename() == "Rechnung für Zoë.pdf"
    assert parts[2].get_content() == b"hello"
    assert parts[3].get_content() == "ÄÖ".encode()
    assert parts[4].get_payload(decode=True).decode() == "naked ü"


def test_a_message_within_is_changed_within() -> None:
    inner = plain("innen ü\r\n", fields="Subject: für dich\r\n")
    text = f"{SENDER}Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: message/rfc822\r\n\r\n{inner}\r\n--b--\r\n"
    (part,) = lessened(text).iter_parts()
    within = part.get_content()
    assert within["Subject"] == "für dich"
    assert within.get_content().strip() == "innen ü"


def test_fields_say_the_same() -> None:
    fields = (
        'Subject: Grüße aus\r\n Zürich\r\nTo: "Müller, Jörg" <jm@example.com>, Zoë <z@example.com>, plain@example.com,\r\n'
        ' "A, B" <ab@example.com>\r\nX-Note: déjà vu\r\n'
    )
    parsed = lessened(plain("x\r\n", fields))
    assert parsed["Subject"] == "Grüße aus Zürich"
    assert [(one.display_name, one.addr_spec) for one in parsed["To"].addresses] == [
        ("Müller, Jörg", "jm@example.com"), ("Zoë", "z@example.com"), ("", "plain@example.com"), ("A, B", "ab@example.com"),
    ]  # fmt: skip
    assert parsed["X-Note"] == "déjà vu"


def test_encoded_words_are_not_put_into_quotes() -> None:
    """RFC 2047 §5: within quotes they are shown as they are written."""
    literal = '"=?utf-8?q?literal?=" <l@b.example>'
    fields = (
        f"To: =?utf-8?q?M=C3=BCller?= <a@b.example>, =?utf-8?b?VG9t?= Smith <t@b.example>, {literal}, Jürgen <j@b.example>\r\n"
        "Subject: =?iso-8859-1?q?Gr=FC=DFe?= aus Zürich\r\n"
    )
    head, _ = downgrade(*split(plain("x\r\n", fields)))
    assert b'"=?utf-8?q?M=C3' not in head and b'"Tom Smith" <t@b.example>' in head and literal.encode() in head
    parsed = lessened(plain("x\r\n", fields.replace(f"{literal}, ", "")))
    assert [one.display_name for one in parsed["To"].addresses] == ["Müller", "Tom Smith", "Jürgen"]
    assert parsed["Subject"] == "Grüße aus Zürich"


def test_a_utf8_mailbox_is_shown_and_cannot_be_answered() -> None:
    parsed = lessened(plain("x\r\n", "To: Jörg <jörg@example.com>, ada@example.com\r\n"))
    assert [one.addr_spec for one in parsed["To"].addresses] == ["ada@example.com"]
    assert parsed["To"].groups[0].display_name == "Jörg jörg@example.com"
    assert parsed["To"].groups[0].addresses == ()


def test_what_machines_read_is_kept_for_people() -> None:
    parsed = lessened(plain("x\r\n", "References: <ü@example.com>\r\n"))
    assert "References" not in parsed
    assert parsed["Downgraded-References"] == "<ü@example.com>"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (f"{SENDER}Content-Type: multipart/signed; boundary=b\r\n\r\n--b\r\n\r\nü\r\n--b--\r\n", "signed"),
        (plain("ü\r\n").replace("8bit", "base64"), "encoding"),
        (plain("x\r\n").replace("Shop <shop@example.com>", "jörg@example.com"), "From"),
        (plain("x\r\n", "Reply-To: jörg@example.com\r\n"), "Reply-To"),
        (plain("x\r\n", "To: <<ü@x>\r\n"), "To"),
        (f"{SENDER}Content-Type: message/delivery-status\r\n\r\nü\r\n", "may not be encoded"),
    ],
)
def test_what_cannot_be_said_in_seven_bits_is_refused(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        downgrade(*split(text))
