from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.mail.address import parse_mailbox
from app.mail.envelope import Returned, decode_return_path, encode_return_path, find_return_path

KEY, OLD_KEY = b"k" * 32, b"o" * 32
ID = UUID("0198a000-0000-7000-8000-000000000001")


@given(st.integers(1, 2**31 - 1), st.uuids(), st.sampled_from(["bounces.example.com", "xn--mller-kva.example"]))
def test_a_return_path_gives_back_its_recipient(account_id: int, recipient_id: UUID, domain: str) -> None:
    path = encode_return_path(account_id, recipient_id, domain, KEY)
    assert len(path.partition("@")[0]) <= 64
    assert parse_mailbox(path) == path
    for seen in (path, path.upper(), path.swapcase(), path.title()):
        assert decode_return_path(seen, [KEY]) == (account_id, recipient_id)


def test_former_keys_still_read_and_others_do_not() -> None:
    path = encode_return_path(7, ID, "b.example.com", OLD_KEY)
    assert decode_return_path(path, [KEY, OLD_KEY]) == Returned(7, ID)
    assert decode_return_path(path, [KEY]) is None
    assert decode_return_path(path, []) is None


def test_no_changed_character_goes_unnoticed() -> None:
    path = encode_return_path(7, ID, "b.example.com", KEY)
    for place in range(len(path)):
        for letter in "ab27.x":
            changed = path[:place] + letter + path[place + 1 :]
            assert changed == path or decode_return_path(changed, [KEY]) is None


@pytest.mark.parametrize(
    "text",
    ["", "@", "b-@x.org", "a@b.co", "b-" + "é" * 48 + "@x.org", "b-" + "=" * 48 + "@x.org", "b-" + "0" * 48 + "@x", "b-b-" + "a" * 48],
)
def test_what_is_no_return_path_is_none(text: str) -> None:
    assert decode_return_path(text, [KEY]) is None


def test_a_return_path_is_found_where_it_is_quoted() -> None:
    ours = encode_return_path(7, ID, "b.example.com", KEY)
    forged = "b-" + "a" * 48 + "@b.example.com"
    report = f"Original-Mail-From: <{forged}>\r\nReturn-Path: <{ours.upper()}>\r\n".encode()
    assert find_return_path(report, [OLD_KEY, KEY]) == Returned(7, ID)
    assert find_return_path(report, [OLD_KEY]) is None
    assert find_return_path(forged.encode() * 50_000 + ours.encode(), [KEY]) is None
