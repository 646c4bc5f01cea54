"""To and Cc as mail programs write them, and the one address of From."""

from __future__ import annotations

import pytest

from app.mail.address import Address
from app.mail.address_list import domains_in_name, find_mailboxes, read_author, read_mailboxes


@pytest.mark.parametrize(
    ("value", "mailboxes"),
    [
        ("", []),
        ("a@b.example", ["a@b.example"]),
        ("a@b.example, <c@d.example>,Ada <e@F.example>", ["a@b.example", "c@d.example", "e@f.example"]),
        ('"Doe, Jane" <j@b.example>, "x@y.example" <k@b.example>', ["j@b.example", "k@b.example"]),
        ('"a \\" b, c" <j@b.example>', ["j@b.example"]),
        ("a@b.example (Ada, the first (and last)), c@d.example", ["a@b.example", "c@d.example"]),
        ("(x@y.example) a@b.example", ["a@b.example"]),
        ('(it is 5" long) a@b.example', ["a@b.example"]),
        ("Friends: a@b.example, Bob <c@d.example>;, e@f.example", ["a@b.example", "c@d.example", "e@f.example"]),
        ("undisclosed-recipients:;", []),
        ("=?utf-8?q?A=2Cb?= <a@b.example>", ["a@b.example"]),
        ("a@b.example,, c@d.example,", ["a@b.example", "c@d.example"]),
        ("a@b.example; c@d.example", ["a@b.example", "c@d.example"]),
        ("Zoë <zoë@bücher.example>", ["zoë@xn--bcher-kva.example"]),
        ('"a b"@c.example', ['"a b"@c.example']),
        ('"a,b;c:d"@c.example, e@f.example', ['"a,b;c:d"@c.example', "e@f.example"]),
    ],
)
def test_lists(value: str, mailboxes: list[str]) -> None:
    assert read_mailboxes(value) == find_mailboxes(value) == mailboxes


@pytest.mark.parametrize(
    "value",
    [
        "Ada",
        "a@b.example, Ada",
        "a@b.example <",
        '"open <a@b.example>',
        "a@b.example (open",
        "<a@b.example",
        "a b@c.example",
        "a@b.example)",
    ],
)
def test_what_is_no_list_is_an_error_where_it_decides(value: str) -> None:
    with pytest.raises(ValueError):
        read_mailboxes(value)
    assert set(find_mailboxes(value)) <= {"a@b.example"}


@pytest.mark.parametrize(
    ("value", "address"),
    [
        ("a@b.example", Address("a@b.example")),
        ("<a@b.example>", Address("a@b.example")),
        ('"Ada \\"L\\"" <a@b.example>', Address("a@b.example", 'Ada "L"')),
        ("=?utf-8?q?L=C3=A4den?= <a@b.example>", Address("a@b.example", "Läden")),
        ("a@b.example (Ada)", Address("a@b.example", "Ada")),
        ("Bücher <a@bücher.example>", Address("a@xn--bcher-kva.example", "Bücher")),
        ("<a@xn--bcher-kva.example>", Address("a@xn--bcher-kva.example")),
    ],
)
def test_authors(value: str, address: Address) -> None:
    assert read_author(value) == address


@pytest.mark.parametrize("value", ["a@BÜCHER．example", "a@bücher。example", "a@bu\u0308cher.example", "a@BÜCHER.example"])
def test_a_domain_is_written_as_it_is_registered(value: str) -> None:
    with pytest.raises(ValueError, match="registered"):
        read_author(value)


@pytest.mark.parametrize(
    ("name", "domains"),
    [
        ("Ada", set()),
        ("Ada @ the office", set()),
        ("At 10 @ 10.30", set()),
        ("a@b.example", {"b.example"}),
        ("=?utf-8?q?a=40b=2Eexample?=", {"b.example"}),
        ("a＠B．example and c@d.example", {"b.example", "d.example"}),
        ("a@b\u200b.example", {"b.example"}),
        ("a@bücher.example", {"xn--bcher-kva.example"}),
    ],
)
def test_addresses_in_names(name: str, domains: set[str]) -> None:
    assert domains_in_name(Address("x@y.example", name)) == domains
