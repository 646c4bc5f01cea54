import email.policy
from email import message_from_string
from email.errors import NonASCIILocalPartDefect
from email.header import decode_header, make_header

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.mail.address import Address, domain_of, format_header, name_address, parse_address, parse_mailbox, suppression_key
from app.mail.header import encode_words


@pytest.mark.parametrize(
    ("text", "mailbox", "name"),
    [
        ("a@b.com", "a@b.com", ""),
        ("  a@b.com ", "a@b.com", ""),
        ("<a@b.com>", "a@b.com", ""),
        ("Mario Rossi <M.Rossi@EXAMPLE.com>", "M.Rossi@example.com", "Mario Rossi"),
        ('"Rossi, Mario" <m@example.com>', "m@example.com", "Rossi, Mario"),
        (r'"The \"Boss\"" <m@example.com>', "m@example.com", 'The "Boss"'),
        ("m@example.com <m@example.com>", "m@example.com", "m@example.com"),
        ("Übung <a@müller.example>", "a@xn--mller-kva.example", "Übung"),
        ("δοκιμή@παράδειγμα.δοκιμή", "δοκιμή@xn--hxajbheg2az3al.xn--jxalpdlp", ""),
        ("a@EXAMPLE。com", "a@example.com", ""),
        ('"a b"@x.org', '"a b"@x.org', ""),
        ('"ab"@x.org', "ab@x.org", ""),
        ('"a..b"@docomo.example', '"a..b"@docomo.example', ""),
        ("user+tag=1@sub.example.co.uk", "user+tag=1@sub.example.co.uk", ""),
    ],
)
def test_a_good_address_is_normalised(text: str, mailbox: str, name: str) -> None:
    assert parse_address(text) == Address(mailbox, name)


@pytest.mark.parametrize(
    "text",
    [
        *["", "a", "@b.co", "a@", "a@b", "a@.b.co", "a..b@c.de", ".a@b.co", "a.@b.co", "a b@c.de", "a@b c.de", "a@b.co.", "a@exa mple.com"],
        *["a@[1.2.3.4]", "a@1.2.3.4", "a@-b.co", "a@b-.co", "a@b_c.de", "a@@b.co", "a@b@c.de", "a@xn--0.co", "a(comment)@b.co"],
        *["a@b.co\r\nRCPT TO:<x@y.zz>", "a\r\n@b.co", "a@b.co\n", "a\x00@b.co", "a\x7f@b.co", "a\u2028@b.co", "a\u0085@b.co"],
        *["\u202ea@b.co", "a\u00a0b@c.de", "\ud800@b.co", "a@\ud800.co", "A\r\nBcc: x <a@b.co>", '"a\r\n"@c.de', '"a"b"@c.de'],
        *["a@b.co, c@d.ee", "A, B <a@b.co>", "A <a@b.co> B", "<a@b.co", "a@b.co>", "<a@b.co>, <c@d.ee>", "g: a@b.co;", "<<a@b.co>>"],
        *["x" * 65 + "@b.co", "a@" + "y." * 130 + "com", "é" * 33 + "@b.co"],
    ],
)
def test_a_bad_address_is_refused_with_a_sentence(text: str) -> None:
    with pytest.raises(ValueError, match=r"^The .*\.$|^An .*\.$"):
        parse_address(text)


def test_names_that_came_apart_are_checked_too() -> None:
    assert name_address("a@b.co", " Rossi, <Mario> ") == Address("a@b.co", "Rossi, <Mario>")
    for name in ("a\nb", "a\x00", "a\u2029b", "\udc80", "x" * 321):
        with pytest.raises(ValueError):
            name_address("a@b.co", name)


def test_domain_and_suppression_key() -> None:
    assert domain_of('"a@b"@c.de') == "c.de"
    assert suppression_key("M.Rossi@example.com") == "m.rossi@example.com"
    assert suppression_key("e\u0301A@x.org") == suppression_key("\u00c9a@x.org")


NAMES = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), max_size=120).map(str.strip)


@given(name=NAMES, mailbox=st.sampled_from(["a@b.co", '"a b"@x.org', "δοκιμή@xn--hxajbheg2az3al.xn--jxalpdlp"]))
def test_a_header_gives_back_the_same_address(name: str, mailbox: str) -> None:
    text = format_header(Address(mailbox, name))
    header = message_from_string(f"From: {text}\r\n\r\n", policy=email.policy.SMTPUTF8)["from"]
    (address,) = header.addresses
    # The modern parser of Python 3.11 puts a space between adjacent encoded words (cpython#128110); the old one is right about them.
    assert ("".join(address.display_name.split()), address.addr_spec) == ("".join(name.split()), mailbox)
    assert str(make_header(decode_header(encode_words(name)))) == name
    assert [type(defect) for defect in header.defects if not isinstance(defect, NonASCIILocalPartDefect)] == []


@given(st.text(max_size=80))
def test_any_text_is_an_address_or_a_value_error(text: str) -> None:
    try:
        mailbox = parse_mailbox(text)
    except ValueError:
        return
    assert parse_mailbox(mailbox) == mailbox
    assert not set(mailbox) & set("\r\n\0<>")
