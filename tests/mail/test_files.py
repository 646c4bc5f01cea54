"""What is left of a finished mail when a template gives the texts: its files, as they were."""

from __future__ import annotations

from datetime import UTC, datetime
from email import message_from_bytes, policy
from typing import Any

import pytest

from app.mail.adopt import adopt, read_finished
from app.mail.compose import Attachment, compose_body
from app.mail.files import read_files

HEAD = "From: a@shop.example\nTo: b@x.example\nSubject: s\nMIME-Version: 1.0\n"
ATTACHED = 'Content-Disposition: attachment; filename="{}"\n'
INNER = "From: x@y.example\nSubject: inner\nContent-Type: text/plain; charset=utf-8\n\nhello\nFrom here"


def files_of(*parts: str, head: str = HEAD) -> tuple[Attachment, ...]:
    body = "".join(f"--b\n{part}\n" for part in parts)
    raw = f'{head}Content-Type: multipart/mixed; boundary="b"\n\n--b\n\nold words\n{body}--b--\n'
    return files_in(raw)


def files_in(text: str) -> tuple[Attachment, ...]:
    return read_files(adopt(read_finished(text.encode().replace(b"\n", b"\r\n")), message_id="1@x", date=datetime.now(UTC)))


def composed(files: tuple[Attachment, ...]) -> list[Any]:
    """The parts that are files, as another parser reads them."""
    content = compose_body("<p>new</p>", "new", files, boundary_seed=b"1")
    mail: Any = message_from_bytes(content.head + b"\r\n" + content.body, policy=policy.SMTP)
    return list(mail.iter_attachments())


def test_the_charset_of_a_text_goes_with_its_octets() -> None:
    fields = "Content-Type: text/csv; charset=iso-8859-1; header=present\nContent-Transfer-Encoding: quoted-printable\n"
    files = files_of(fields + ATTACHED.format("a.csv") + "\nM=FCller")
    assert files == (Attachment("a.csv", "text/csv; charset=iso-8859-1; header=present", b"M\xfcller"),)
    (part,) = composed(files)
    assert part.get_content() == "Müller"


@pytest.mark.parametrize("encoding", ["7bit", "base64"])
def test_an_invitation_says_what_it_is_about(encoding: str) -> None:
    octets = "BEGIN:VCALENDAR\nEND:VCALENDAR" if encoding == "7bit" else "QkVHSU46VkNBTEVOREFS"
    fields = f'Content-Type: text/calendar; charset="utf-8"; method=CANCEL; name="invite.ics"\nContent-Transfer-Encoding: {encoding}\n'
    (part,) = composed(files_of(fields + ATTACHED.format("invite.ics") + f"\n{octets}"))
    assert (part["Content-Type"].params["method"], part["Content-Type"].params["charset"]) == ("CANCEL", "utf-8")
    assert part.get_content().startswith("BEGIN:VCALENDAR") and part.get_filename() == "invite.ics"


def test_an_invitation_among_the_texts_is_not_lost() -> None:
    alternative = (
        'Content-Type: multipart/alternative; boundary="a"\n\n--a\nContent-Type: text/html\n\n<p>old</p>\n'
        "--a\nContent-Type: text/calendar; charset=utf-8; method=REQUEST\n\nBEGIN:VCALENDAR\n--a--"
    )
    assert files_of(alternative) == (Attachment("attachment.ics", "text/calendar; charset=utf-8; method=REQUEST", b"BEGIN:VCALENDAR"),)


def test_a_forwarded_mail_stays_one_octet_for_octet() -> None:
    files = files_of("Content-Type: message/rfc822\n" + ATTACHED.format("fwd.eml") + f"\n{INNER}")
    assert files == (Attachment("fwd.eml", "message/rfc822", INNER.replace("\n", "\r\n").encode()),)
    content = compose_body("<p>new</p>", "new", files, boundary_seed=b"1")
    assert b"Content-Type: message/rfc822\r\nContent-Transfer-Encoding: 7bit\r\n" in content.body and files[0].content in content.body


@pytest.mark.parametrize(
    ("fields", "content_id"),
    [
        ("Content-ID: <logo@x>\n", "logo@x"),
        ("Content-ID: <logo@x>\nContent-Disposition: inline; filename=logo.png\n", "logo@x"),
        ("Content-ID: <logo@x>\nContent-Disposition: ATTACHMENT; filename=logo.png\n", None),  # as Gmail and Apple write it
        ("Content-ID: <logo 1@x>\n", None),
        ("Content-ID: <>\n", None),
        ("", None),
    ],
)
def test_what_its_author_attached_is_not_hidden_within_the_html(fields: str, content_id: str | None) -> None:
    files = files_of(f"Content-Type: image/png\n{fields}Content-Transfer-Encoding: base64\n\naGk=")
    assert [(one.content_id, one.content) for one in files] == [(content_id, b"hi")]
    assert len(composed(files)) == (content_id is None)


def test_a_mail_that_is_one_file() -> None:
    text = (
        f"{HEAD}Content-Type: application/pdf;\n name*=utf-8''Gr%C3%BC%C3%9Fe.pdf; x-odd='%'\nContent-Transfer-Encoding: base64\n\naGk=\n"
    )
    assert files_in(text) == (Attachment("Grüße.pdf", "application/pdf; x-odd=\"'%'\"", b"hi"),)
    assert files_in(f"{HEAD}\nwords\n") == ()
    assert files_in(f'{HEAD}Content-Type: text/plain; name="notes.txt"\n\nwords\n')[0].filename == "notes.txt"


def test_what_cannot_be_kept_is_refused() -> None:
    with pytest.raises(ValueError, match="encoding"):
        files_of("Content-Type: a/b\nContent-Transfer-Encoding: x-uuencode\n" + ATTACHED.format("a") + "\nbegin 644 a")
