"""HTML by lines gives what HTML as a whole gives, to the octet."""

from __future__ import annotations

import random

import pytest

from app.mail import html_body
from app.mail.html_body import encode_html
from app.mail.links import read_links
from app.mail.transfer import Encoded, encode_text, text_octets
from tests.house.orders import an_order

_PIECES = (
    *(
        '<a href="https://x.test/?a=1&amp;b=2">',
        "</a>",
        "<a name=here>",
        "<area href=http://x.test>",
        "<p>",
        "</p>",
        '<p title="',
        '">',
        "'",
    ),
    *(
        "<style>",
        "</style>",
        "<title>",
        "</title",
        ">",
        "<textarea>",
        "</textarea>",
        "<script>",
        "</script>",
        "<!-- ",
        " -->",
        "<!",
        "<",
        "&",
    ),
    *(
        "</body>",
        "</BODY >",
        "</body",
        "<body>",
        "</html>",
        "grüße €",
        "=",
        ".",
        " ",
        "\t",
        "long " * 20,
        "\n",
        "\n",
        "\n",
        "\n",
        "\n.\n",
        "\x01",
    ),
    *('<a href="http://x.test', '<a clicktracking=off href="http://x.test">', "<svg>", "</svg>", "<plaintext>", "x" * 90),
)


def _whole(octets: bytes) -> Encoded:
    found = read_links(octets)
    return encode_text(octets, links=found.links, pixel=found.pixel)


def _assert_equal(html: str) -> None:
    octets = text_octets(html, "HTML")
    for _ in range(2):  # the second time by what is kept
        assert encode_html(octets) == _whole(octets), html


@pytest.mark.parametrize("seed", range(4))
def test_any_markup(seed: int) -> None:
    dice = random.Random(seed)
    for _ in range(1_500):
        _assert_equal("".join(dice.choices(_PIECES, k=dice.randrange(1, 40))))


@pytest.mark.parametrize(
    "html",
    [
        "",
        "\n",
        "<p>no link",
        '</body>\n<a href="http://x.test">behind</a>\n</body>\n</html>\n',
        '<style>\na{}\n\n</style>\n<a\nhref="http://x.test"\n>x</a>\n</body>',
        '<!--\n<a href="http://x.test">\n',
        "<b" + "\n" * 3_000 + ">",
        'a <\nb <a href="http://x.test">',
    ],
)
def test_what_begins_in_one_line_and_ends_in_another(html: str) -> None:
    _assert_equal(html)


def test_an_order_is_read_by_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(10):  # each teaches some lines
        encode_html(text_octets(an_order(1).html, "HTML"))

    def whole(_octets: bytes) -> Encoded:
        raise AssertionError("read as a whole")

    expected = _whole(text_octets(an_order(1).html, "HTML"))
    monkeypatch.setattr(html_body, "_encode_whole", whole)
    assert encode_html(text_octets(an_order(1).html, "HTML")) == expected
    assert len(expected.links) > 10


def test_what_is_kept_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(html_body, "_KEPT_OCTETS", 1_000)
    kept = html_body._Kept()
    for number in range(500):
        kept.read(b"<p>line %d</p>" % number)
    assert len(kept._young) + len(kept._old) < 200
