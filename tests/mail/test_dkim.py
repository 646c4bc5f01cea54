import base64
import hashlib
from datetime import UTC, datetime

import dkim
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.mail.address import Address
from app.mail.compose import Draft, compose
from app.mail.dkim import Signatures, SigningKey, canonical_body, generate_signing_key, load_signing_key
from app.mail.finish import finish
from app.mail.unsubscribe import unsubscribe_fields

RSA_PEM, RSA_RECORD = generate_signing_key("rsa-sha256")
ED_PEM, ED_RECORD = generate_signing_key("ed25519-sha256")
RSA = load_signing_key("example.com", "r1", RSA_PEM)
ED = load_signing_key("example.com", "e1", ED_PEM)
ZONE = {b"r1._domainkey.example.com.": RSA_RECORD.encode(), b"e1._domainkey.example.com.": ED_RECORD.encode()}

HEAD = (
    b"From: Shop <shop@example.com>\r\nTo: mario@example.org\r\nSubject: a long subject that is\r\n\t folded   twice\r\n  over\r\n"
    b"Date: Sun, 29 Mar 2026 01:59:59 +0000\r\nMessage-ID: <1@example.com>\r\nMIME-Version: 1.0\r\nContent-Type: text/plain\r\n"
    b"X-Other: not signed\r\nReferences: <a@b> \t <c@d>\r\nSender:  odd@example.com \r\n"
)


def verified(wire: bytes, number: int = 0) -> bool:
    try:
        return bool(dkim.DKIM(wire, timeout=1).verify(number, dnsfunc=lambda name, timeout=5: ZONE.get(name)))
    except dkim.DKIMException:
        return False


def signed(body: bytes, *keys: SigningKey, head: bytes = HEAD) -> bytes:
    finished = finish(head, body, added_fields=b"", keys=keys, timestamp=1_790_000_000)
    assert len(finished) == len(bytes(finished))  # which is told before it is signed (RFC 1870)
    return bytes(finished)


@pytest.mark.parametrize("key", [RSA, ED], ids=["rsa", "ed25519"])
@pytest.mark.parametrize(
    "body",
    [
        *[b"", b"\r\n", b"\r\n\r\n", b" \r\n", b"a", b"a ", b"a\r\n\r\n\r\n", b"\r\n\r\na\r\n", b"\t", b" ", b"a\r\n "],
        *[b"a  b\t\tc \t\r\n\td\r\n", b"a\r\n \t\r\n", b"=20 \r\n", b"  lead\r\n" * 9, b"a\x0b \x0cb\r\n"],
        *[b"x" * 100_000 + b"\r\n", b"a \r\n \r\n\r\n \r\n"],
    ],
)
def test_a_second_implementation_verifies(key: SigningKey, body: bytes) -> None:
    assert verified(signed(body, key))


@given(st.lists(st.sampled_from([b"a", b" ", b"\t", b"\r\n", b"=", b"bb", b"\xc3\xa9", b"\x0b"])).map(b"".join))
def test_canonical_bodies_are_those_of_a_second_implementation(body: bytes) -> None:
    assert canonical_body(body + b"\r\n") == dkim.canonicalization.Relaxed.canonicalize_body(body + b"\r\n")
    assert canonical_body(body) == canonical_body(body + b"\r\n")  # the line end that the transport would add


@given(
    subject=st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), max_size=200),
    html=st.text(st.characters(exclude_categories=["Cs"])),
    text=st.text(st.characters(exclude_categories=["Cs"])),
)
def test_whatever_is_composed_verifies_with_both_keys(subject: str, html: str, text: str) -> None:
    sender, to = Address("shop@example.com", "Négozio"), (Address("mario@example.org"),)
    draft = Draft(sender, to, (), (), (), subject, html, text)
    content = compose(draft, message_id="1@example.com", date=datetime(2026, 1, 1, tzinfo=UTC), boundary_seed=b"s")
    added = unsubscribe_fields(f"https://example.com/{'u' * 90}")
    wire = bytes(finish(content.head, content.body, added_fields=added, keys=(RSA, ED), timestamp=1_790_000_000))
    assert wire.count(b"DKIM-Signature:") == 2
    assert verified(wire, 0)
    assert verified(wire, 1)
    assert max(map(len, wire[: wire.index(b"Message-ID")].split(b"\r\n"))) <= 78


@pytest.mark.parametrize("key", [RSA, ED], ids=["rsa", "ed25519"])
@pytest.mark.parametrize(
    "name",
    [
        *["From", "To", "Cc", "Reply-To", "Subject", "Date", "Message-ID", "MIME-Version", "Content-Type", "Content-Transfer-Encoding"],
        *["List-Unsubscribe", "List-Unsubscribe-Post"],
    ],
)
def test_a_field_that_is_put_before_or_after_breaks_the_signature(key: SigningKey, name: str) -> None:
    wire = signed(b"hello\r\n", key)
    added = f"{name}: evil@example.net\r\n".encode()
    head, _, body = wire.partition(b"\r\n\r\n")
    assert verified(wire)
    assert not verified(added + wire)
    assert not verified(head + b"\r\n" + added + b"\r\n" + body)


@pytest.mark.parametrize("key", [RSA, ED], ids=["rsa", "ed25519"])
def test_changes_break_the_signature_and_harmless_ones_do_not(key: SigningKey) -> None:
    wire = signed(b"hello  world\r\n", key)
    for old, new in (
        (b"world", b"w0rld"),
        (b"Shop", b"Sh0p"),
        (b"<a@b>", b"<x@y>"),
        (b"hello", b"hello\r\n"),
        (b"t=1790000000", b"t=1790000001"),
    ):
        assert not verified(wire.replace(old, new))
    for old, new in (
        (b"hello  world", b"hello world  "),
        (b"Subject: a", b"SUBJECT:\r\n  a"),
        (b"not signed", b"changed"),
        (b"world\r\n", b"world\r\n\r\n"),
    ):
        assert verified(wire.replace(old, new))


def test_several_of_one_name_are_signed_from_the_bottom_up() -> None:
    head = HEAD + b"To: second@example.org\r\nList-Id: <one>\r\nList-Id: <two>\r\nX-Odd: \x0c\r\nFeedback-ID: a \x0b b\r\n"
    assert verified(signed(b"hello\r\n", RSA, head=head))


def test_no_length_no_expiry_no_key_no_signature() -> None:
    signature = Signatures(HEAD, (RSA,), timestamp=1).write(b"hello\r\n").decode()
    tags = [tag.strip().partition("=")[0] for tag in signature.partition(":")[2].split(";")]
    assert tags == ["v", "a", "c", "d", "s", "t", "h", "bh", "b"]
    assert Signatures(HEAD, (), timestamp=1).write(b"hello\r\n") == b""


def test_keys_of_other_kinds_are_refused() -> None:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    pem = ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    with pytest.raises(ValueError, match="neither RSA"):
        load_signing_key("example.com", "x", pem)
    with pytest.raises(ValueError):
        load_signing_key("example.com", "x", b"nonsense")


def test_the_keys_of_rfc_8463_give_its_public_record() -> None:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from app.mail.dkim import public_record

    private_key = Ed25519PrivateKey.from_private_bytes(base64.b64decode("nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A="))
    assert public_record(private_key) == "v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="  # RFC 8463 §A.2


def test_the_body_of_rfc_8463_has_its_hash() -> None:
    body = b"Hi.\r\n\r\nWe lost the game.  Are you hungry yet?\r\n\r\nJoe.\r\n"  # RFC 8463 §A.3
    assert base64.b64encode(hashlib.sha256(canonical_body(body)).digest()) == b"2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8="
