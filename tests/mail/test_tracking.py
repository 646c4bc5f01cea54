import base64
import quopri
import re
from collections.abc import Callable
from datetime import UTC, datetime
from email import message_from_bytes, policy
from email.message import EmailMessage
from uuid import UUID

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.mail.address import Address
from app.mail.compose import Attachment, Content, Draft, Part, compose
from app.mail.links import MOST_HTML, MOST_LINKS
from app.mail.parts import read_parts
from app.mail.tokens import LONGEST_PAYLOAD, TokenKind, TokenWriter, read_token
from app.mail.tracking import TrackingPlan, cut_body, plan_as_json, plan_composed, plan_of_json, plan_tracking, splice

KEY = b"k" * 32
BASE = "https://t.example.com"
RECIPIENT = UUID(int=1 << 100)
PIXEL = re.compile(r' *<img src="https://t\.example\.com/o/([\w-]+)\.gif" width="1" height="1" alt="" style="display:block;border:0"> *')
CLICK = re.compile(r"\s*https://t\.example\.com/c/([\w-]+)\s*")
NEWSLETTER = (
    "<html><body><p>Ciao è – 日本 = . \n.\n<a href='https://x.it/1?a=1&amp;b=2'>uno</a> <a href=https://x.it/due>due</a> "
    + "long " * 300
    + '<a title=">" href="https://x.it/1?a=1&amp;b=2">again</a><a href="mailto:a@b.co">no</a>'
    + '<a href="https://x.it/off" data-staffetta-track="off">off</a></body></html>'
)
ENCODINGS: dict[str, tuple[Callable[[bytes], bytes], Callable[[bytes], bytes]]] = {
    "quoted-printable": (quopri.encodestring, quopri.decodestring),
    "base64": (base64.encodebytes, base64.b64decode),
    "8bit": (lambda octets: octets, lambda octets: octets),
    "binary": (lambda octets: octets, lambda octets: octets),
}


def writer() -> TokenWriter:
    return TokenWriter(1, KEY, 7, RECIPIENT)


def spliced(body: bytes, plan: TrackingPlan, *, opens: bool = True, clicks: bool = True) -> bytes:
    stored = orjson.loads(orjson.dumps(plan_as_json(plan)))
    assert plan_of_json(stored) == plan
    cut = cut_body(body, plan)
    first, second, third = (splice(cut, writer(), BASE, opens=opens, clicks=clicks) for _ in range(3))
    assert first == second == third, "slot by slot, with a new frame, and with one that was there"
    return first


def payload(kind: TokenKind, text: str) -> str:
    token = read_token(text, {1: KEY}.get)
    assert token is not None and (token.kind, token.account_id, token.recipient_id) == (kind, 7, RECIPIENT)
    return token.payload.decode()


def untracked(html: str) -> str:
    """What tracked HTML was before, if every tracked URL says where it leads; the pixel becomes [pixel]."""
    html = PIXEL.sub(lambda found: "[pixel]" + payload(TokenKind.OPEN, found[1]), html)
    return CLICK.sub(lambda found: f"[{payload(TokenKind.CLICK, found[1])}]", html)


def marked(html: str, pixel: str = "[pixel]") -> str:
    html = re.sub(
        r"""(?<=href=)(["']?)(https://x\.it/(?!off)[^"' >]*)""", lambda found: f"{found[1]}[{found[2].replace('&amp;', '&')}]", html
    )
    return html.replace("</body>", pixel + "</body>")


def composed(html: str, *attachments: Attachment) -> Content:
    draft = Draft(Address("a@b.co"), (Address("c@d.ee"),), (), (), (), "Hi", html, "text https://x.it/", (), attachments)
    return compose(draft, message_id="1@b.co", date=datetime(2026, 1, 1, tzinfo=UTC), boundary_seed=b"s", link_spans=True)


def html_of(head: bytes, body: bytes) -> str:
    message = message_from_bytes(head + b"\r\n" + body, policy=policy.SMTP)
    part = next(part for part in message.walk() if part.get_content_type() == "text/html")
    assert isinstance(part, EmailMessage)
    return str(part.get_content()).replace("\r\n", "\n")


def test_links_and_pixel_of_a_composed_mail_are_tracked_and_nothing_else_changes() -> None:
    content = composed(NEWSLETTER)
    plan = plan_composed(content.body, content.links, content.pixel)
    body = spliced(content.body, plan)
    assert untracked(html_of(content.head, body)) == marked(NEWSLETTER)
    assert max(map(len, body.split(b"\r\n"))) <= 76
    assert b"text https://x.it/" in body


def test_what_is_composed_and_read_again_has_the_same_plan() -> None:
    file = Attachment("x.html", "text/html", NEWSLETTER.encode())
    content = composed(NEWSLETTER, file, Attachment("y.html", "text/html", NEWSLETTER.encode(), "y@x"))
    plan = plan_composed(content.body, content.links, content.pixel)
    found = read_parts(content.head + b"\r\n" + content.body)
    assert plan_tracking(content.body, found.parts) == plan
    assert plan_tracking(content.body, content.parts) == plan
    assert len(plan.slots) == 4


def test_opens_and_clicks_are_switched_apart() -> None:
    content = composed(NEWSLETTER)
    plan = plan_composed(content.body, content.links, content.pixel)
    assert spliced(content.body, plan, opens=False, clicks=False) == content.body
    assert untracked(html_of(content.head, spliced(content.body, plan, opens=False))) == marked(NEWSLETTER, pixel="")
    assert untracked(html_of(content.head, spliced(content.body, plan, clicks=False))) == NEWSLETTER.replace("</body>", "[pixel]</body>")


def test_every_attempt_has_the_same_octets() -> None:
    content = composed(NEWSLETTER)
    plan = plan_composed(content.body, content.links, content.pixel)
    assert spliced(content.body, plan) == spliced(content.body, plan)


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_mail_that_came_in_is_tracked_in_any_encoding(encoding: str, line_end: str) -> None:
    encode, decode = ENCODINGS[encoding]
    html = NEWSLETTER.replace("\n", line_end)
    body = b"before" + encode(html.encode()) + b"after"
    plan = plan_tracking(body, (Part("1", "text/html", "utf-8", encoding, 6, len(body) - 5),))
    new = spliced(body, plan)
    assert new.startswith(b"before") and new.endswith(b"after")
    assert re.sub(r"\s*(\[pixel\])\s*", r"\1", untracked(decode(new[6:-5]).decode())) == marked(html)
    for opens, clicks in ((True, False), (False, True)):
        part = decode(spliced(body, plan, opens=opens, clicks=clicks)[6:-5]).decode()
        assert ("/o/" in part, "/c/" in part) == (opens, clicks)


@given(
    st.lists(
        st.sampled_from(
            ["<a href=https://x.it/1>", "<a href='https://x.it/2'>", "é", "=", "x" * 74, "x" * 76, " ", "\t", "\n", "\r\n", "</body>"]
        ),
        max_size=12,
    ),
    st.sampled_from(sorted(ENCODINGS)),
)
def test_links_are_exchanged_wherever_they_lie_in_the_encoding(pieces: list[str], encoding: str) -> None:
    html = "".join(pieces)
    encode, decode = ENCODINGS[encoding]
    body = encode(html.encode())
    came_in = decode(body).decode()
    plan = plan_tracking(body, (Part("1", "text/html", "utf-8", encoding, 0, len(body)),))
    assert untracked(decode(spliced(body, plan, opens=False)).decode()) == marked(came_in, pixel="")
    without = re.sub("<img[^>]*>", "", decode(spliced(body, plan, clicks=False)).decode())
    if encoding in ("quoted-printable", "binary"):
        assert without == came_in
    else:  # white space around the pixel fills groups of base64, and ends lines that would be too long
        assert "".join(without.split()) == "".join(came_in.split())


@pytest.mark.parametrize(
    "url",
    [
        *(
            f"{BASE}/u/abc",
            "https://x.it/{{ unsubscribe_url }}",
            "https://x.it/?u=*|UNSUB|*",
            "https://x.it/%unsubscribe%",
            "https://[[UNSUB_LINK]]/",
        ),
        *("https://a b/", "https://x.it:99999/", "https://x.it/" + "x" * LONGEST_PAYLOAD),
    ],
)
def test_what_is_ours_or_somebody_s_to_fill_in_or_cannot_be_redirected_is_left(url: str) -> None:
    content = composed(f'<a href="{url}">x</a>')
    plan = plan_composed(content.body, content.links, None, own=(f"{BASE}/",))
    assert plan.slots == ()
    assert spliced(content.body, plan) == content.body


def test_sealed_mail_attachments_and_what_cannot_be_read_are_left() -> None:
    html = b'<a href="https://x.it/">'
    part = Part("1", "text/html", "utf-8", "7bit", 0, len(html))
    assert len(plan_tracking(html, (part,)).slots) == 2
    assert plan_tracking(html, (part,), sealed=True).slots == ()
    for other in (
        Part("1", "text/html", "utf-8", "7bit", 0, len(html), attached=True),
        Part("1", "text/plain", "utf-8", "7bit", 0, len(html)),
        Part("1", "text/html", "utf-16", "7bit", 0, len(html)),
        Part("1", "text/html", "utf-8", "x-uuencode", 0, len(html)),
        Part("1", "text/html", "utf-8", "base64", 0, len(html)),
    ):
        assert plan_tracking(html, (other,)).slots == ()


def test_what_is_too_long_goes_as_it_came() -> None:
    def planned(octets: bytes, encoding: str, times: int = 1) -> TrackingPlan:
        places = range(0, times * len(octets), len(octets))
        parts = [Part("1", "text/html", "utf-8", encoding, place, place + len(octets)) for place in places]
        return plan_tracking(octets * times, parts)

    assert planned(b"=41" * (MOST_HTML // 3 + 1), "quoted-printable").slots == ()
    links = b'<a href="https://x.it/">x</a>'
    few, many = links * MOST_LINKS, links * (MOST_LINKS + 3_000)
    assert len(planned(few, "8bit").slots) == len(planned(many, "8bit").slots) == MOST_LINKS + 1, "and the pixel"
    assert len(planned(links * 1_000, "8bit", times=7).slots) == MOST_LINKS + 7
    assert len(planned(b"x" * (MOST_HTML // 3), "8bit", times=9).slots) == 3
    for html, number in ((few, MOST_LINKS), (many, MOST_LINKS), (b"x" * MOST_HTML + links, 0)):
        content = composed(html.decode())
        assert len(content.links) == number
        assert spliced(content.body, plan_composed(content.body, content.links, content.pixel)).count(b"/c/") <= number


def test_lines_of_7bit_mail_stay_short_enough() -> None:
    html = (b'<a href="https://x.it/">x</a>' * 30 + b"\n") * 3 + b'<a href="https://x.it/%b">' % (b"x" * 900)
    new = spliced(html, plan_tracking(html, (Part("1", "text/html", "utf-8", "7bit", 0, len(html)),)))
    assert max(map(len, new.split(b"\n"))) <= 998
    assert new.count(b"/c/") == 90, "the one that is longer than a line is left"


def test_a_payload_is_sent_in_the_charset_of_its_page() -> None:
    html = '<a href="https://x.it/é?é">'.encode("latin-1")
    new = spliced(html, plan_tracking(html, (Part("1", "text/html", "iso-8859-1", "8bit", 0, len(html)),)), opens=False)
    assert untracked(new.decode()) == '<a href="[https://x.it/é?%E9]">'


@pytest.mark.parametrize(
    "base_url", ["https://t.example.com/", "t.example.com", 'https://t.example.com/"', "https://t.example.com?x=y", "https://t/&"]
)
def test_a_base_url_that_needs_escapes_is_refused(base_url: str) -> None:
    content = composed(NEWSLETTER)
    cut = cut_body(content.body, plan_composed(content.body, content.links, content.pixel))
    with pytest.raises(ValueError):
        splice(cut, writer(), base_url, opens=True, clicks=True)
