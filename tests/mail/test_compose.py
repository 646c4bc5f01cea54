import binascii
import re
from datetime import UTC, datetime
from email import message_from_bytes, message_from_string, policy
from email.message import EmailMessage

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.mail.address import Address, parse_address
from app.mail.compose import Attachment, Content, Draft, check_header, compose
from app.mail.transfer import quote_piece

DATE = datetime(2026, 3, 29, 1, 59, 59, tzinfo=UTC)
ORACLE = policy.SMTP.clone(max_line_length=998, raise_on_defect=True)

SCRIPTS = [
    "Ordine n° 12: è pronto, perché no?",
    "Ваш заказ отправлен сегодня утром и скоро будет у вас дома",
    "您的订单已经发货，请在三天之内查收，如有问题请与我们联系，谢谢您的支持与信任",
    "ご注文ありがとうございます。またのご利用をお待ちしております。今後ともよろしくお願いいたします。",
    "주문이 발송되었습니다",
    "تم شحن طلبك وسيصل إليك قريبا إن شاء الله",
    "ההזמנה שלך נשלחה",
    "आपका ऑर्डर भेज दिया गया है",
    "คำสั่งซื้อของคุณถูกจัดส่งแล้ว",
    "Η παραγγελία σας στάλθηκε",
    "🎉🎊 50 % off 👩‍👩‍👧‍👦 until midnight 🇮🇹 🏳️‍🌈 " * 4,
    "e\u0301 combining a\u0308\u0323 marks " * 9,
    "plain words that go on and on, well over the length of one line, and then some more of them " * 3,
    "x" * 2000,
    "é" * 5000,
    "looks like =?utf-8?q?a_word?= but is text",
    " leading and trailing ",
    "two  spaces\tand a tab",
    "far" + " " * 2000 + "apart",
    "",
    "a: b; c, <d> \"e\" 'f' (g) \\h",
]


def a_draft(**changes: object) -> Draft:
    parts: dict[str, object] = {
        "sender": Address("shop@example.com", "The Shop"),
        "to": (Address("mario@example.org", "Mario"),),
        "cc": (),
        "bcc": (),
        "reply_to": (),
        "subject": "Hello",
        "html": "<p>Hello</p>",
        "text": "Hello",
    }
    return Draft(**(parts | changes))  # type: ignore[arg-type]


def wire(content: Content) -> bytes:
    return content.head + b"\r\n" + content.body


def composed(draft: Draft, **options: bool) -> Content:
    content = compose(draft, message_id="0198.abc@example.com", date=DATE, boundary_seed=b"seed", **options)
    assert_sane(content)
    return content


def parsed(content: Content) -> EmailMessage:
    if not content.head.isascii():
        message = message_from_string(wire(content).decode(), policy=policy.SMTPUTF8)
    else:
        message = message_from_bytes(wire(content), policy=ORACLE)
    assert isinstance(message, EmailMessage)
    for part in message.walk():
        assert part.defects == []
        for name, value in part.items():
            assert [one for one in value.defects if "non-ASCII" not in str(one)] == [], name
    return message


def assert_sane(content: Content) -> None:
    octets = wire(content)
    assert content.head.endswith(b"\r\n")
    assert b"\r\n\r\n" not in content.head
    assert b"\0" not in octets
    assert not re.search(rb"\r(?!\n)|(?<!\r)\n", octets)
    assert max(map(len, octets.split(b"\r\n"))) <= 998
    assert content.body.isascii()
    assert octets.endswith(b"\r\n")
    for word in re.findall(rb"=\?utf-8\?[bq]\?[^?\s]*\?=", content.head):
        assert len(word) <= 75
    message = message_from_bytes(octets)
    leaves = [part for part in message.walk() if not part.is_multipart() or part.get_content_type() == "message/rfc822"]
    leaves = leaves[: len(content.parts)]
    for part, leaf in zip(content.parts, leaves, strict=True):
        encoded = content.body[part.start : part.end]
        assert part.content_type == leaf.get_content_type()
        if part.content_type != "message/rfc822":
            assert decoded(encoded, part.encoding) == leaf.get_payload(decode=True)
            assert max(map(len, encoded.split(b"\r\n"))) <= 76


def decoded(octets: bytes, encoding: str) -> bytes:
    if encoding == "quoted-printable":
        return binascii.a2b_qp(octets)
    return binascii.a2b_base64(octets) if encoding == "base64" else octets


def body_of(message: EmailMessage, subtype: str) -> str:
    part = message.get_body((subtype,))
    assert part is not None
    octets = part.get_payload(decode=True)
    assert isinstance(octets, bytes)
    return octets.decode().replace("\r\n", "\n")


def as_lines(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")


@pytest.mark.parametrize("text", SCRIPTS)
def test_every_script_survives_in_subject_name_and_bodies(text: str) -> None:
    name = text.strip()[:300]
    message = parsed(composed(a_draft(subject=text, html=f"<p>{text}</p>\n" * 3, text=text, to=(Address("a@b.co", name),))))
    assert message["subject"] == text
    (address,) = message["to"].addresses
    assert "".join(address.display_name.split()) == "".join(name.split())  # cpython#128110, see test_address
    assert body_of(message, "plain") == as_lines(text)
    assert body_of(message, "html") == f"<p>{text}</p>\n" * 3


@given(subject=st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), max_size=300))
def test_any_subject_is_read_back(subject: str) -> None:
    message = parsed(composed(a_draft(subject=subject)))
    assert message["subject"] == subject
    assert message.keys() == ["From", "To", "Subject", "Date", "Message-ID", "MIME-Version", "Content-Type"]


@given(
    html=st.none() | st.text(st.characters(exclude_categories=["Cs"])),
    text=st.none() | st.text(st.characters(exclude_categories=["Cs"])),
    files=st.lists(
        st.tuples(st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), max_size=80), st.binary(max_size=300), st.booleans()),
        max_size=3,
    ),
)
def test_bodies_and_files_are_read_back(html: str | None, text: str | None, files: list[tuple[str, bytes, bool]]) -> None:
    attachments = tuple(
        Attachment(name, "image/png", content, f"i{number}@x" if inline else None) for number, (name, content, inline) in enumerate(files)
    )
    message = parsed(composed(a_draft(html=html, text=text, attachments=attachments)))
    for given_text, subtype in ((html, "html"), (text, "plain")):
        if given_text is not None:
            assert body_of(message, subtype).removesuffix("\n") == as_lines(given_text).removesuffix("\n")
    images = [part for part in message.walk() if part.get_content_type() == "image/png"]
    assert sorted(part.get_payload(decode=True) for part in images) == sorted(one.content for one in attachments)
    by_order = sorted(attachments, key=lambda one: one.content_id is None or html is None)
    assert [part.get_filename("") for part in images] == [one.filename.strip() for one in by_order]
    assert [part["content-id"] for part in images] == [one.content_id and f"<{one.content_id}>" for one in by_order]


IMAGE = Attachment("logo.png", "image/png", b"\x89PNG", "logo@x")
INVOICE = Attachment("fattura.pdf", "application/pdf", b"%PDF" * 100)


@pytest.mark.parametrize(
    ("changes", "types", "paths"),
    [
        ({"html": None}, ["text/plain"], ["1"]),
        ({"text": None}, ["text/html"], ["1"]),
        ({"text": None, "html": None}, ["text/plain"], ["1"]),
        ({}, ["multipart/alternative", "text/plain", "text/html"], ["1", "2"]),
        ({"text": None, "attachments": (IMAGE,)}, ["multipart/related", "text/html", "image/png"], ["1", "2"]),
        ({"html": None, "attachments": (IMAGE,)}, ["multipart/mixed", "text/plain", "image/png"], ["1", "2"]),
        ({"html": None, "attachments": (INVOICE,)}, ["multipart/mixed", "text/plain", "application/pdf"], ["1", "2"]),
        (
            {"attachments": (INVOICE, IMAGE)},
            ["multipart/mixed", "multipart/alternative", "text/plain", "multipart/related", "text/html", "image/png", "application/pdf"],
            ["1.1", "1.2.1", "1.2.2", "2"],
        ),
    ],
)
def test_the_tree_is_what_the_draft_needs(changes: dict[str, object], types: list[str], paths: list[str]) -> None:
    content = composed(a_draft(**changes))
    assert [part.get_content_type() for part in parsed(content).walk()] == types
    assert [part.path for part in content.parts] == paths


@pytest.mark.parametrize(
    "name",
    [
        *["a.pdf", "with space.pdf", 'quo"te.pdf', "back\\slash.pdf", "semi;colon=.pdf", "100%.pdf", "été.pdf", "文件.pdf", "🎉.pdf"],
        *["a'b''c.pdf", "x" * 200 + ".pdf", "длинное имя файла " * 12 + ".pdf", ".hidden", "é" * 255, "(paren).txt", "tab\there.txt"],
    ],
)
def test_odd_file_names_are_read_back(name: str) -> None:
    content = composed(a_draft(attachments=(Attachment(name, "application/octet-stream", b"x"),)))
    (file,) = parsed(content).iter_attachments()
    assert file.get_filename() == name
    octets = wire(content)
    assert max(map(len, octets.split(b"\r\n"))) <= 78


@pytest.mark.parametrize(
    ("content_type", "content", "expected"),
    [
        ("text/calendar; method=REQUEST; charset=UTF-8", b"BEGIN:VCALENDAR\nEND:VCALENDAR\n", "text/calendar"),
        ("message/rfc822", b"Subject: inner\r\n\r\nhello\r\n", "message/rfc822"),
        ("message/rfc822", b"Subject: inner\n\nh\xe9llo\n", "application/octet-stream"),
        ("multipart/mixed; boundary=x", b"--x\r\n\r\n--x--\r\n", "application/octet-stream"),
        ('application/x-odd+json; profile="a; b"', b"{}", "application/x-odd+json"),
        ("application/vnd.ms-word.document.macroEnabled.12", b"PK", "application/vnd.ms-word.document.macroenabled.12"),
        ("image/svg+xml", b"", "image/svg+xml"),
    ],
)
def test_odd_attachment_types(content_type: str, content: bytes, expected: str) -> None:
    (file,) = parsed(composed(a_draft(attachments=(Attachment("f.x", content_type, content),)))).iter_attachments()
    assert file.get_content_type() == expected
    if expected == "message/rfc822":
        assert file.get_payload(0)["subject"] == "inner"  # type: ignore[index]
    else:
        assert file.get_payload(decode=True) == content


@pytest.mark.parametrize(
    "attachment",
    [
        Attachment("a\r\nb", "text/plain", b""),
        Attachment("a\x00b", "text/plain", b""),
        Attachment("a\ud800", "text/plain", b""),
        Attachment("x" * 256, "text/plain", b""),
        Attachment("a", "text", b""),
        Attachment("a", "text/plain\r\nX: y", b""),
        Attachment("a", "téxt/plain", b""),
        Attachment("a", "image/png", b"", "a b"),
        Attachment("a", "image/png", b"", "a>\r\nX: y"),
        Attachment("a", "image/png", b"", ""),
    ],
)
def test_attachments_that_cannot_be_mailed_are_refused(attachment: Attachment) -> None:
    with pytest.raises(ValueError, match=r"^The .*\.$"):
        composed(a_draft(attachments=(attachment,)))


@pytest.mark.parametrize("bad", ["a\r\nBcc: x@y.zz", "a\nb", "a\rb", "a\x00", "a\x0b", "a\u2028b", "a\u0085b", "a\udc80", "a\x7f"])
def test_nothing_is_injected_by_subject_name_or_header(bad: str) -> None:
    with pytest.raises(ValueError, match=r"does not allow"):
        composed(a_draft(subject=bad))
    with pytest.raises(ValueError, match=r"does not allow"):
        composed(a_draft(headers=(("X-A", bad),)))


@pytest.mark.parametrize("text", ["a\ud800b", "\udfff"])
def test_half_a_surrogate_in_a_body_is_a_value_error(text: str) -> None:
    for changes in ({"html": text}, {"text": text}):
        with pytest.raises(ValueError, match="surrogate"):
            composed(a_draft(**changes))


def test_line_ends_of_bodies_are_one_kind() -> None:
    message = parsed(composed(a_draft(text="a\rb\nc\r\nd\n\re", html=None)))
    assert body_of(message, "plain") == "a\nb\nc\nd\n\ne\n"


def test_awkward_bodies_stay_within_lines() -> None:
    for text in (".", "\n.\n..\n", "From here\n", "x" * 100_000, "a\0b", "é" * 2000, " \n \n", "=\n", "ends with space ", "\t"):
        message = parsed(composed(a_draft(text=text, html=None)))
        assert body_of(message, "plain").removesuffix("\n") == text.removesuffix("\n")


def test_utf8_mailboxes_stay_raw_and_are_told() -> None:
    content = composed(a_draft(sender=parse_address("Δοκιμή <δοκιμή@παράδειγμα.δοκιμή>"), to=(parse_address("用户@例子.广告"),)))
    assert not content.head.isascii()
    message = parsed(content)
    assert message["from"].addresses[0].addr_spec == "δοκιμή@xn--hxajbheg2az3al.xn--jxalpdlp"
    assert message["to"].addresses[0].username == "用户"
    assert composed(a_draft()).head.isascii()


def test_many_recipients_fold_and_bcc_never_shows() -> None:
    to = tuple(Address(f"user{number}@example.org", f"User, {number} é" if number % 2 else "") for number in range(200))
    content = composed(a_draft(to=to, bcc=(Address("secret@example.org"),), reply_to=(Address("a@b.co", 'Q "x" \\'),)))
    message = parsed(content)
    assert [one.addr_spec for one in message["to"].addresses] == [one.mailbox for one in to]
    assert [one.display_name for one in message["to"].addresses] == [one.name for one in to]
    assert message["reply-to"].addresses[0].display_name == 'Q "x" \\'
    assert b"secret" not in wire(content)
    assert b"To: undisclosed-recipients:;\r\n" in composed(a_draft(to=())).head


def test_machine_read_headers_are_never_encoded() -> None:
    url = f"<https://example.com/u/{'x' * 300}>, <mailto:{'y' * 200}@example.com>"
    content = composed(a_draft(headers=(("List-Unsubscribe", url), ("X-Note", "perché " * 30), ("X-Raw", "=?utf-8?q?a?="))))
    assert b"=?" not in content.head[: content.head.index(b"X-Note")]
    message = parsed(content)
    assert message["list-unsubscribe"] == url
    assert message["x-note"] == ("perché " * 30).strip()


@pytest.mark.parametrize(
    "name",
    [
        *["Bcc", "bcc", "DKIM-Signature", "Received", "Return-Path", "Authentication-Results", "ARC-Seal", "Content-Type", "Content-Foo"],
        *["MIME-Version", "Message-ID", "Date", "From", "To", "Cc", "Sender", "Reply-To", "Subject", "Resent-To", "X-Staffetta-Id"],
        *["", "A B", "A:B", "Ä", "A\r\nB", "x" * 77],
    ],
)
def test_headers_that_are_not_the_clients_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"^The header .*\.$"):
        check_header(name, "value")


def test_header_values_that_cannot_be_mailed_are_refused() -> None:
    for name, value in (
        ("X-A", ""),
        ("X-A", " \t"),
        ("List-Id", "é"),
        ("References", "é"),
        ("X-A", "x" * 901),
        ("X-A", "far" + "\t" * 990 + "apart"),
        ("List-Unsubscribe", "<x" * 999),
    ):
        with pytest.raises(ValueError, match=r"^The header .*\.$"):
            check_header(name, value)
    check_header("List-Unsubscribe", "<https://example.com/u>")
    check_header("X-Campaign", "été")


def test_the_boundary_is_in_no_part_and_the_bytes_are_the_same_each_time() -> None:
    first = composed(a_draft())
    boundary = re.search(rb'boundary="([^"]+)"', first.head)
    assert boundary is not None
    assert first == composed(a_draft())
    second = composed(a_draft(text=f"--{boundary[1].decode()}\n--{boundary[1].decode()}--\n"))
    assert boundary[1] not in second.head
    assert body_of(parsed(second), "plain") == f"--{boundary[1].decode()}\n--{boundary[1].decode()}--\n"


LONG_LINK = '<a href="https://e.it/?a=1&amp;b=' + "y" * 90 + '">'
HTML_PIECE = st.sampled_from(
    ["<p>é=</p>", " ", "\n", ".", "x" * 73, "x" * 75, "x" * 76, "🎉", "= =\t", LONG_LINK, '<a href="http://a.it">'],
)


@given(st.lists(HTML_PIECE, max_size=30).map("".join), st.text("abcXYZ019/:?=._-~%&", max_size=200))
def test_a_link_is_exchanged_without_touching_the_rest(html: str, tail: str) -> None:
    content = composed(a_draft(html=html), link_spans=True)
    assert len(content.links) == html.count("<a ")
    url = "https://t.example.com/c/" + tail
    pieces, done = [], 0
    for link in content.links:
        assert link.url in ("http://a.it", "https://e.it/?a=1&b=" + "y" * 90)
        pieces += [content.body[done : link.start], quote_piece(url.replace("&", "&amp;").encode())]
        done = link.end
    body = b"".join([*pieces, content.body[done:]])
    assert max(map(len, body.split(b"\r\n"))) <= 76
    expected = re.sub(r'href="[^"]*"', lambda _: 'href="' + url.replace("&", "&amp;") + '"', html)
    message = message_from_bytes(content.head + b"\r\n" + body, policy=ORACLE)
    assert isinstance(message, EmailMessage)
    assert body_of(message, "html") == expected
    assert body_of(parsed(content), "html") == html


def test_links_among_control_characters_are_set_apart_or_left() -> None:
    link = '<a href="http://a.it">'
    for controls, spans in (("\x01\n\x02\n", 1), ("".join(f"{chr(control)}\n" for control in range(1, 9)), 0)):
        content = composed(a_draft(html=controls + link + "\x01"), link_spans=True)
        assert len(content.links) == spans
        assert body_of(parsed(content), "html") == controls + link + "\x01"
