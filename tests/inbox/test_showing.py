"""The API and the page: their forms, and that nothing a sender writes is ever more than text."""

from __future__ import annotations

import base64
from email.message import EmailMessage
from urllib.parse import quote

import pytest

from app.inbox import Inbox
from tests.inbox.client import Client

PIXEL = base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==")
SCRIPT = "\"'><script>alert(1)</script><img src=x onerror=alert(2)>"
VIEWS = ("", "/html", "/text", "/headers", "/source", "/attachments", "/frame")


def rich_message() -> bytes:
    message = EmailMessage()
    message["From"] = "Bottega Vérde <orders@shop.example.test>"
    message["Subject"] = "Il tuo ordine è partito 📦"
    message.set_content("Ciao Jane,\n\n€ 42\n")
    message.add_alternative('<p>Ciao</p><img src="cid:logo@x"><a href="https://shop.example.test/?a=1&amp;b=2">Segui</a>', subtype="html")
    message.get_payload()[1].add_related(PIXEL, "image", "png", cid="<logo@x>")
    message.add_attachment(b"%PDF-1.4", maintype="application", subtype="pdf", filename="Fattura nº 7.pdf")
    message.add_attachment("<svg onload=alert(1)>", subtype="html", filename="../../evil.html")
    return message.as_bytes(policy=message.policy.clone(linesep="\r\n"))


async def test_an_opened_message_has_its_parts(inbox: Client) -> None:
    await inbox.send(rich_message())
    opened = await inbox.newest()
    assert opened["from"] == "Bottega Vérde <orders@shop.example.test>"
    assert opened["subject"] == "Il tuo ordine è partito 📦"
    assert opened["text"].replace("\r\n", "\n") == "Ciao Jane,\n\n€ 42\n"
    assert opened["html"].startswith("<p>Ciao</p>")
    assert {"name": "Subject", "value": "Il tuo ordine è partito 📦"} in opened["headers"]
    shown = [(found["filename"], found["content_type"], found["content_id"]) for found in opened["attachments"]]
    assert shown == [
        ("part-1.png", "image/png", "logo@x"),
        ("Fattura nº 7.pdf", "application/pdf", None),
        ("evil.html", "text/html", None),
    ]
    assert opened["problem"] is None


async def test_attachments_are_downloads_of_no_type_of_their_own(inbox: Client) -> None:
    await inbox.send(rich_message())
    _, invoice, page = (await inbox.newest())["attachments"]
    answer = await inbox.get(invoice["url"])
    assert answer.content == b"%PDF-1.4"
    assert answer.headers["content-disposition"] == "attachment; filename*=UTF-8''Fattura%20n%C2%BA%207.pdf"
    answer = await inbox.get(page["url"])
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert (await inbox.get(page["url"][:-1] + "9")).status == 404


async def test_html_is_a_sandboxed_document_with_its_own_images_only(inbox: Client) -> None:
    await inbox.send(rich_message())
    opened = await inbox.newest()
    page = await inbox.get(f"/messages/{opened['id']}")
    assert 'sandbox=""' in page.text
    assert 'href="https://shop.example.test/?a=1&amp;b=2"' in page.text
    frame = await inbox.get(f"/messages/{opened['id']}/frame")
    policy = frame.headers["content-security-policy"]
    assert policy.startswith("sandbox; default-src 'none';")
    assert "img-src 'self' data:;" in policy
    assert f'<img src="/messages/{opened["id"]}/inline/1">' in frame.text
    assert (await inbox.get(f"/messages/{opened['id']}/inline/1")).content == PIXEL
    assert (await inbox.get(f"/messages/{opened['id']}/inline/3")).status == 404  # HTML is no image
    asked = await inbox.get(f"/messages/{opened['id']}/frame?images")
    assert "img-src * data:;" in asked.headers["content-security-policy"]


async def test_a_frame_has_nothing_that_opens_a_connection(inbox: Client) -> None:
    await inbox.send(b"Content-Type: text/html\r\n\r\n<LINK rel=preconnect href=https://x.test><link/rel=icon><IFRAME\nsrc=x><linked>")
    opened = await inbox.newest()
    assert "<link" in opened["html"]
    frame = await inbox.get(f"/messages/{opened['id']}/frame")
    assert frame.text.strip() == "<no-LINK rel=preconnect href=https://x.test><no-link/rel=icon><no-IFRAME\nsrc=x><linked>"
    assert frame.headers["x-dns-prefetch-control"] == "off"


async def test_a_list_is_newest_first_bounded_and_filtered(inbox: Client) -> None:
    for number in range(6):
        await inbox.send(f"Subject: {number}\r\n\r\n".encode(), to=["Jane@example.net"] if number % 2 else ["bob@example.net"])

    async def subjects(query: str) -> list[str]:
        return [kept["subject"] for kept in (await inbox.get(f"/api/messages{query}")).json["messages"]]

    assert await subjects("") == ["5", "4", "3", "2", "1", "0"]
    assert await subjects("?limit=2") == ["5", "4"]
    assert await subjects("?to=jane@EXAMPLE.net") == ["5", "3", "1"]
    assert await subjects("?to=ane@example.net") == []
    last = (await inbox.get("/api/messages?limit=2")).json["messages"][-1]["id"]
    assert await subjects(f"?before={last}&limit=2") == ["3", "2"]
    found = (await inbox.get("/?q=BOB")).text
    assert found.count("<li>") == 3
    assert "before=" in (await inbox.get("/?limit=2")).text


@pytest.mark.parametrize("limit", ["0", "501", "-1", "1e3", "x", "", "9" * 50, "٣"])
async def test_a_limit_out_of_range_is_refused(inbox: Client, limit: str) -> None:
    answer = await inbox.get(f"/api/messages?limit={quote(limit)}")
    assert answer.status == 422
    assert answer.headers["content-type"] == "application/problem+json"


async def test_emptying_leaves_nothing(running: Inbox, inbox: Client) -> None:
    await inbox.send(rich_message())
    opened = await inbox.newest()
    assert (await inbox.get("/api/messages", method="DELETE")).json == {"deleted": 1}
    assert (await inbox.get("/api/messages")).json == {"messages": []}
    assert (await inbox.get(f"/api/messages/{opened['id']}/raw")).status == 404
    assert list(running.keep.directory.iterdir()) == []
    assert "Nothing here yet" in (await inbox.get("/")).text


@pytest.mark.parametrize(
    "path", ["/api/messages/..%2f..%2fetc%2fpasswd", "/messages/0", "/messages/%00/source", "/static/../pages.py", "/x"]
)
async def test_what_is_not_there_is_404(inbox: Client, path: str) -> None:
    assert (await inbox.get(path)).status == 404


async def test_rows_are_sent_once_and_then_only_when_they_change(inbox: Client) -> None:
    first = await inbox.get("/rows")
    assert (await inbox.get("/rows", If_None_Match=first.headers["etag"])).status == 304
    await inbox.send(rich_message())
    assert (await inbox.get("/rows", If_None_Match=first.headers["etag"])).status == 200


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost:8026", 200), ("127.0.0.1", 200), ("[::1]:8026", 200), ("inbox.localhost", 200),
        ("evil.example", 421), ("localhost.evil.example", 421), ("127.0.0.1.evil.example", 421), ("", 421),
    ],
)  # fmt: skip
async def test_only_local_names_are_answered(inbox: Client, host: str, status: int) -> None:
    assert (await inbox.get("/api/messages", Host=host)).status == status


def hostile_messages() -> list[bytes]:
    """The same script in every place that is shown."""
    words = base64.b64encode(SCRIPT.encode()).decode()
    return [
        f"Subject: {SCRIPT}\r\nFrom: {SCRIPT} <a@b>\r\nMessage-ID: {SCRIPT}\r\nX-{SCRIPT}: {SCRIPT}\r\n\r\n{SCRIPT}\r\n".encode(),
        f"Subject: =?utf-8?b?{words}?=\r\nFrom: =?utf-8?b?{words}?= <a@b>\r\nContent-Type: text/html\r\n\r\n"
        f'<a href="javascript:alert(1)">a</a><a href="https://x.test/{SCRIPT}">b</a></textarea></iframe>{SCRIPT}\r\n'.encode(),
        f"Content-Type: text/x-{SCRIPT}\r\nContent-Id: <{SCRIPT}>\r\n"
        f"Content-Disposition: attachment; filename*=utf-8''%3Cscript%3Ealert(1)%3C%2Fscript%3E\r\n\r\nx\r\n".encode(),
        f'Content-Type: application/x; name="=?utf-8?b?{words}?="\r\nContent-Disposition: inline\r\n\r\n</pre>{SCRIPT}\r\n'.encode(),
        f"DKIM-Signature: v=1; a={SCRIPT}; d={SCRIPT}; s={SCRIPT}; h=from; bh=x; b=x\r\n\r\n".encode(),
    ]


@pytest.mark.parametrize("raw", hostile_messages(), ids=["headers", "html", "file name", "encoded name", "signature"])
async def test_hostile_text_stays_text(inbox: Client, raw: bytes) -> None:
    await inbox.send(raw, to=['"<script>alert(1)</script>"@example.net'], mail_from='"<script>alert(1)</script>"@x.test')
    opened = await inbox.newest()
    for path in ["/", "/rows", "/?q=%3Cscript%3Ealert(1)", *(f"/messages/{opened['id']}{view}" for view in VIEWS if view != "/frame")]:
        page = await inbox.get(path)
        assert page.status == 200
        assert "<script>alert" not in page.text
        assert "<img src=x" not in page.text
        assert 'href="javascript' not in page.text
        policy = page.headers["content-security-policy"]
        assert "script-src 'self';" in policy
        assert "unsafe" not in policy
    for attachment in opened["attachments"]:
        answer = await inbox.get(attachment["url"])
        assert "<" not in answer.headers["content-disposition"]


def nested(depth: int) -> bytes:
    """Multiparts in each other, a text in the innermost."""
    opening = b"".join(b'Content-Type: multipart/mixed; boundary="b%d"\r\n\r\n--b%d\r\n' % (level, level) for level in range(depth))
    closing = b"".join(b"--b%d--\r\n" % level for level in reversed(range(depth)))
    return b"Subject: deep\r\nMIME-Version: 1.0\r\n" + opening + b"\r\ndeep text\r\n" + closing


ODD = {
    "empty": b"",
    "one line end": b"\r\n",
    "header only": b"Subject: alone\r\n",
    "body only": b"\r\nbody\r\n",
    "no header at all": b"just some words\r\nand more\r\n",
    "eight-bit junk": bytes(range(256)) * 20,
    "eight-bit headers": b"Subject: caf\xe9\r\nFrom: \xff\xfe <a@b>\r\n\r\n\xc3\xa9\r\n",
    "no charset": b"Content-Type: text/plain\r\nContent-Transfer-Encoding: 8bit\r\n\r\nper\xc3\xb2\r\n",
    "unknown charset": b"Content-Type: text/html; charset=klingon\r\n\r\n<p>per\xc3\xb2</p>\r\n",
    "wrong charset": b"Content-Type: text/plain; charset=us-ascii\r\n\r\nper\xf2\r\n",
    "charset with NUL": b'Content-Type: text/plain; charset="a\x00b"\r\n\r\nx\r\n',
    "charset that computes": b"Content-Type: text/plain; charset=punycode\r\n\r\n" + b"a" * 50_000 + b"\r\n",
    "charset that is none": b"Content-Type: text/plain; charset=zlib\r\n\r\nx\r\n",
    "lone surrogates": b"Content-Type: text/plain; charset=utf-7\r\nSubject: =?utf-7?q?+2AA-?=\r\n\r\n+2AA-\r\n",
    "broken encoded words": b"Subject: =?utf-8?b?!!!?= =?x?q?=GG?= =?utf-8?b?YQ=?=\r\n\r\n",
    "broken base64": b"Content-Type: text/plain\r\nContent-Transfer-Encoding: base64\r\n\r\n!!!!\r\nYQ\r\n",
    "unknown encoding": b"Content-Type: text/plain\r\nContent-Transfer-Encoding: rot13\r\n\r\nuryyb\r\n",
    "broken parameters": b"Content-Type: text/plain; charset*=x'y\r\n"
    b"Content-Disposition: attachment; filename*1*=''%ZZ; filename*0=\r\n\r\nx",
    "no end boundary": b'Content-Type: multipart/mixed; boundary="b"\r\n\r\n--b\r\n\r\nfirst\r\n--b\r\nContent-Type: text/html\r\n\r\n<p>',
    "no boundary": b"Content-Type: multipart/mixed\r\n\r\n--b\r\n\r\nx\r\n",
    "same boundary nested": b'Content-Type: multipart/mixed; boundary="b"\r\n\r\n'
    + b'--b\r\nContent-Type: multipart/mixed; boundary="b"\r\n\r\n' * 50,
    "multipart that says base64": b'Content-Type: multipart/mixed; boundary="b"\r\n'
    b'Content-Transfer-Encoding: base64\r\n\r\n--b\r\n\r\nx\r\n--b--\r\n',
    "message in a message": b"Content-Type: message/rfc822\r\n\r\nSubject: inner\r\nContent-Type: text/plain; charset=x\r\n\r\n\xff\r\n",
    "delivery status": b"Content-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; x\r\n\r\nFinal-Recipient: rfc822; a@b\r\n\r\n",
    "many parts": b'Content-Type: multipart/mixed; boundary="b"\r\n\r\n'
    + b"--b\r\nContent-Type: image/png\r\n\r\nx\r\n" * 5000 + b"--b--\r\n",
    "many headers": b"X: y\r\n" * 20_000 + b"\r\n",
    "huge header": b"Subject: " + b"=?utf-8?q?=C3?= " * 50_000 + b"\r\n\r\n",
    "depth 100": nested(100),
    "depth 1000": nested(1000),
    "depth 5000": nested(5000),
}  # fmt: skip


@pytest.mark.parametrize("raw", ODD.values(), ids=ODD.keys())
async def test_odd_mail_is_shown_as_far_as_it_can_be(inbox: Client, raw: bytes) -> None:
    await inbox.send(raw)
    opened = await inbox.newest()
    assert (await inbox.get("/")).status == 200
    assert (await inbox.get(f"/api/messages/{opened['id']}/raw")).content == (raw if raw.endswith(b"\r\n") else raw + b"\r\n")
    for view in VIEWS:
        assert (await inbox.get(f"/messages/{opened['id']}{view}")).status == 200
    for attachment in opened["attachments"][:3]:
        assert (await inbox.get(attachment["url"])).status == 200


@pytest.mark.parametrize(
    ("name", "field", "shown"),
    [
        ("no charset", "text", "però"),
        ("unknown charset", "html", "<p>però</p>"),
        ("wrong charset", "text", "però"),
        ("eight-bit headers", "subject", "café"),
        ("lone surrogates", "text", "\ufffd"),
        ("no end boundary", "text", "first"),
        ("depth 100", "text", "deep text"),
    ],
)
async def test_odd_text_is_read_as_it_was_meant(inbox: Client, name: str, field: str, shown: str) -> None:
    await inbox.send(ODD[name])
    assert (await inbox.newest())[field].strip() == shown


async def test_a_message_too_deep_says_so(inbox: Client) -> None:
    await inbox.send(ODD["depth 1000"])
    opened = await inbox.newest()
    assert "too deeply" in opened["problem"]
    assert opened["subject"] == "deep"
    assert "too deeply" in (await inbox.get(f"/messages/{opened['id']}")).text
