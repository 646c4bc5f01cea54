"""Signatures of mail that anybody may write, under keys that anybody may publish: judged as dkimpy does, in little time."""

from __future__ import annotations

import base64
import time
import tracemalloc

import dkim
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from app.mail.dkim import generate_signing_key
from app.mail.dkim_verify import Signature, _parted, canonical_form, find_signatures, read_tags, verify_signature

HEAD = b"From: Shop <shop@shop.example>\r\nTo: jane@example.net\r\nSubject: Order\r\n"
BODY = b"Total:  42.00 \r\n\r\nThank\tyou \t \r\n\r\n"
PEM, RECORD = generate_signing_key("rsa-sha256")
FAKE = b"DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed; d=shop.example; s=k1; h=from; bh=AAAA; b=AAAA\r\n"
SECONDS = 2.0


def signed(raw: bytes = HEAD + b"\r\n" + BODY, *, body: bytes = b"relaxed", length: bool = False) -> bytes:
    field = dkim.sign(raw, b"k1", b"shop.example", PEM, canonicalize=(b"relaxed", body), include_headers=[b"from", b"to"], length=length)
    return bytes(field) + raw


def judge(raw: bytes, record: str | None = RECORD) -> Signature:
    """The verdict on the topmost signature, which takes no longer than anybody may make it take."""
    (field, *_) = find_signatures(raw.partition(b"\r\n\r\n")[0])
    began = time.process_time()
    seen = verify_signature(raw, 0, field, lambda _selector, _domain: record)
    assert time.process_time() - began < SECONDS
    return seen


@pytest.mark.parametrize("body", [b"relaxed", b"simple"])
def test_what_was_not_changed_passes(body: bytes) -> None:
    raw = signed(body=body)
    assert judge(raw) == Signature(True, "shop.example", "k1", "rsa-sha256", "")
    assert judge(raw.replace(b"42.00", b"43.00")).reason.startswith("body hash mismatch")
    assert judge(raw.replace(b"To: jane", b"To: john")).reason == "the signature does not match the signed headers"
    more_blanks = raw.replace(b"Total:  42", b"Total: \t  42").replace(b"you \t \r\n", b"you\r\n")
    assert judge(more_blanks).passed == (body == b"relaxed")


def test_line_ends_of_unix_are_line_ends() -> None:
    assert judge(signed().replace(b"\r\n", b"\n")).passed


_LINES = st.lists(st.sampled_from([b"a: b", b"A:", b" c", b"\t", b"", b"no field", b"d : e", b"f\r", b"\r", b":", b"\xff: x"]), max_size=8)
_ENDS = st.sampled_from([b"\r\n", b"\n"])


@given(st.tuples(_LINES, _ENDS, st.booleans()))
@example(([b"a: b", b"", b"x", b" y"], b"\n", True))
def test_a_mail_is_parted_as_dkimpy_parts_it(drawn: tuple[list[bytes], bytes, bool]) -> None:
    lines, line_end, is_ended = drawn
    raw = line_end.join(lines) + (line_end if is_ended else b"")
    try:
        expected = dkim.rfc822_parse(raw)
    except (dkim.MessageFormatError, IndexError):
        with pytest.raises(dkim.MessageFormatError):
            _parted(raw)
    else:
        fields, body = _parted(raw)
        assert (fields, b"\r\n".join(body.replace(b"\r\n", b"\n").split(b"\n"))) == tuple(expected)


_PIECES = st.sampled_from([b"a", b" ", b"\t", b"  \t", b"\r\n", b" \r\n", b"\r", b".", b"\xff"])


@given(st.lists(_PIECES, max_size=12).map(b"".join), st.booleans())
@example(b"x\r\r\n\r\n", False)
@example(b"\r\n\r", True)
def test_a_body_is_hashed_in_the_form_of_dkimpy(body: bytes, is_relaxed: bool) -> None:
    policy = dkim.CanonicalizationPolicy.from_c_value(b"relaxed/relaxed" if is_relaxed else b"simple/simple")
    assert canonical_form(body, is_relaxed=is_relaxed) == policy.canonicalize_body(body)


def test_large_bodies_take_little_memory() -> None:
    """Of dkimpy's own form of it, a hundred times its size."""
    body = b"a " * 500_000
    tracemalloc.start()
    canonical_form(body, is_relaxed=True)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 4 * len(body)


MANY = 200_000
LONG_KEY = f"v=DKIM1; p={base64.b64encode(b'0' * 9000).decode()}"


@pytest.mark.parametrize(
    "raw",
    [
        signed() + b" " * 1_000_000 + b"x\r\n",
        signed() + b" \t" * 500_000 + b"x",
        signed() + b"\n" * 1_000_000 + b"x",
        signed(body=b"simple") + b"\r\n" * 500_000 + b"\r",
        FAKE.replace(b"b=AAAA", b"b=AAAA" + b" " * MANY + b"!") + HEAD + b"\r\nx\r\n",
        FAKE.replace(b"b=AAAA", b"b=AAAA" + b"\r\n " * (MANY // 3) + b"!") + HEAD + b"\r\nx\r\n",
        FAKE.replace(b"h=from", b"h=from" + b" " * MANY + b"x") + HEAD + b"\r\nx\r\n",
        FAKE.replace(b"h=from", b"h=" + b":".join(b"%d" % n for n in range(3000))) + b"x:\r\n" * 50_000 + b"\r\nx\r\n",
        FAKE.replace(b"h=from", b"h=" + b":".join(b"%d" % n for n in range(499))) + b"x:\r\n" * 900 + b"\r\nx\r\n",
        FAKE + b"x: y\r\n" * 40_000 + b"\r\nx\r\n",
        FAKE + b"X: y" + b"\r\n " * 80_000 + b"\r\n\r\nx\r\n",
        FAKE + b"X: y" + b"\r\n " * 2_000_000 + b"\r\n\r\nx\r\n",
    ],
    ids=range(12),
)
def test_what_is_meant_to_hurt_takes_little_time(raw: bytes) -> None:
    seen = judge(raw)
    assert not seen.passed and seen.reason and seen.final


def test_a_key_of_any_length_is_not_reckoned_with() -> None:
    """Of 72,000 bits, with as long an exponent: hours."""
    seen = judge(FAKE + HEAD + b"\r\nx\r\n", LONG_KEY)
    assert (seen.passed, seen.reason, seen.final) == (False, "the key is too long to be used", True)


def test_an_algorithm_that_proves_nothing_any_more() -> None:
    raw = HEAD + b"\r\n" + BODY
    field = dkim.sign(raw, b"k1", b"shop.example", PEM, signature_algorithm=b"rsa-sha1", include_headers=[b"from"])
    assert judge(bytes(field) + raw).reason == "unknown signature algorithm: rsa-sha1"


@pytest.mark.parametrize("body", [b"relaxed", b"simple"])
def test_a_signature_over_the_beginning_of_the_body_is_none(body: bytes) -> None:
    raw = signed(body=body, length=True)
    assert b" l=" in raw and judge(raw).passed
    seen = judge(raw + b"<h1>send money</h1>\r\n")
    assert (seen.passed, seen.reason) == (False, "the signature covers only the beginning of the body")


def test_nothing_that_is_told_holds_a_control_character() -> None:
    field = b"DKIM-Signature: v=1; a=rsa-sha256; d=ex\0a.example; s=k\r\n\x0b1; h=from; bh=AAAA; b=AAAA\r\n"
    for record in (None, RECORD):
        seen = judge(field + HEAD + b"\r\nx\r\n", record)
        told = f"{seen.domain}{seen.selector}{seen.algorithm}{seen.reason}"
        assert told.isprintable() and not seen.passed
    assert read_tags(b"d=ex\0a.example; s=k1") == {"d": "ex a.example", "s": "k1"}
