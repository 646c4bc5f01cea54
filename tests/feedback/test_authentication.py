"""SPF, DKIM and DMARC over real DNS messages: what each says, within its limits and its time."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Any

import dkim
import orjson
import pytest

from app.feedback.authentication import authenticate
from app.feedback.spf import check_host
from app.mail.dkim import generate_signing_key
from app.mail.inbound_trace import Origin
from app.resolver import Resolver
from tests.doubles.dns import DnsServer

OPEN = ["v=spf1 +all"]
PEM, RECORD = generate_signing_key("rsa-sha256")
ZONES: dict[str, Any] = {
    "k._domainkey.org.test": {"TXT": [RECORD]},
    "a.test": {"TXT": ["v=spf1 a mx/24 -all"], "A": ["192.0.2.1"], "MX": [[10, "mx.a.test"]]},
    "mx.a.test": {"A": ["198.51.100.7"], "AAAA": ["2001:db8::1"]},
    "include.test": {"TXT": ["other text", "v=spf1 include:a.test ~all"]},
    "redirect.test": {"TXT": ["v=spf1 redirect=a.test"]},
    "lost.test": {"TXT": ["v=spf1 include:none.test -all"]},
    "none.test": {"TXT": ["hello"]},
    "two.test": {"TXT": ["v=spf1 -all", "v=spf1 +all"]},
    "loop.test": {"TXT": ["v=spf1 include:loop.test -all"]},
    "self.test": {"TXT": ["v=spf1 redirect=self.test"]},
    "void.test": {"TXT": ["v=spf1 a:x1.none.test a:x2.none.test a:x3.none.test +all"]},
    "away.test": {"TXT": ["v=spf1 include:broken.test +all"]},
    "broken.test": "SERVFAIL",
    "exists.test": {"TXT": ["v=spf1 exists:%{ir}.list.test -all"]},
    "1.2.0.192.list.test": {"A": ["127.0.0.2"]},
    "ptr.test": {"TXT": ["v=spf1 ptr -all"]},
    "1.2.0.192.in-addr.arpa": {"PTR": ["out.ptr.test"]},
    "out.ptr.test": {"A": ["192.0.2.1"]},
    "six.test": {"TXT": ["v=spf1 ip6:2001:db8::/32 -all"]},
    "neutral.test": {"TXT": ["v=spf1 ip4:203.0.113.1"]},
    "mute.test": "TIMEOUT",
    "_dmarc.org.test": {"TXT": ["v=DMARC1; p=reject; sp=quarantine"]},
    "_dmarc.strict.test": {"TXT": ["v=DMARC1; p=reject; aspf=s"]},
    "_dmarc.psd.test": {"TXT": ["v=DMARC1; p=none; psd=y"]},
    "_dmarc.shop.psd.test": {"TXT": ["v=DMARC1; p=reject"]},
    "_dmarc.own.org.test": {"TXT": ["v=DMARC1; p=none; psd=n"]},
    "_dmarc.double.test": {"TXT": ["v=DMARC1; p=none", "v=DMARC1; p=reject"]},
    "mail.org.test": {"TXT": OPEN},
    "org.test": {"TXT": OPEN},
    "own.org.test": {"TXT": OPEN},
    "strict.test": {"TXT": OPEN},
    "mail.strict.test": {"TXT": OPEN},
    "a.psd.test": {"TXT": OPEN},
    "shop.psd.test": {"TXT": OPEN},
    "double.test": {"TXT": OPEN},
    "_dmarc.mute.test": "TIMEOUT",
    "k._domainkey.mute.test": "TIMEOUT",
}


@pytest.fixture
async def resolver() -> AsyncIterator[Resolver]:
    async with DnsServer(ZONES) as dns:
        yield Resolver([dns.address], longest_query_seconds=1.0)


@pytest.mark.parametrize(
    ("domain", "ip", "result"),
    [
        ("a.test", "192.0.2.1", "pass"),
        ("a.test", "192.0.2.2", "fail"),
        ("a.test", "198.51.100.99", "pass"),
        ("a.test", "2001:db8::1", "pass"),
        ("A.TEST.", "192.0.2.1", "pass"),
        ("include.test", "192.0.2.1", "pass"),
        ("include.test", "203.0.113.5", "softfail"),
        ("redirect.test", "203.0.113.5", "fail"),
        ("lost.test", "203.0.113.5", "permerror"),
        ("none.test", "203.0.113.5", "none"),
        ("nowhere.test", "203.0.113.5", "none"),
        ("localhost", "203.0.113.5", "none"),
        ("", "203.0.113.5", "none"),
        ("two.test", "203.0.113.5", "permerror"),
        ("loop.test", "203.0.113.5", "permerror"),
        ("self.test", "203.0.113.5", "permerror"),
        ("void.test", "203.0.113.5", "permerror"),
        ("away.test", "203.0.113.5", "temperror"),
        ("broken.test", "203.0.113.5", "temperror"),
        ("exists.test", "192.0.2.1", "pass"),
        ("exists.test", "192.0.2.9", "fail"),
        ("ptr.test", "192.0.2.1", "pass"),
        ("ptr.test", "192.0.2.9", "fail"),
        ("six.test", "2001:db8::9", "pass"),
        ("six.test", "192.0.2.1", "fail"),
        ("neutral.test", "192.0.2.1", "neutral"),
    ],
)
async def test_spf(resolver: Resolver, domain: str, ip: str, result: str) -> None:
    assert await check_host(resolver, ip, domain, f"ada@{domain}", "mx.sender.test") == result


@pytest.mark.parametrize(
    ("author", "sender", "expected"),
    [
        ("ada@org.test", "ada@mail.org.test", ("pass", "reject")),  # relaxed: of one organisation
        ("ada@news.org.test", "ada@mail.org.test", ("pass", "quarantine")),  # the subdomains' policy
        ("ada@org.test", "eve@mail.strict.test", ("fail", "reject")),
        ("ada@strict.test", "ada@mail.strict.test", ("fail", "reject")),
        ("ada@strict.test", "ada@strict.test", ("pass", "reject")),
        ("ada@shop.psd.test", "ada@shop.psd.test", ("pass", "reject")),
        ("ada@shop.psd.test", "eve@a.psd.test", ("fail", "reject")),  # below one public suffix, and not of one organisation
        ("ada@own.org.test", "ada@mail.org.test", ("fail", "none")),  # an organisation of its own
        ("ada@double.test", "ada@double.test", ("none", None)),
        ("ada@nothing.test", "ada@mail.org.test", ("none", None)),
    ],
)
async def test_dmarc_by_spf(resolver: Resolver, author: str, sender: str, expected: Any) -> None:
    seen = await authenticate(resolver, Origin(sender, "192.0.2.1", "mx.sender.test"), [author], b"Subject: x\r\n\r\nx\r\n")
    assert (seen.dmarc, seen.policy) == expected


@pytest.mark.parametrize("authors", [[], ["a@org.test", "b@strict.test"]])
async def test_without_one_author_there_is_no_policy(resolver: Resolver, authors: list[str]) -> None:
    seen = await authenticate(resolver, Origin("", "192.0.2.1", "mail.org.test"), authors, b"\r\nx")
    assert (seen.spf, seen.spf_domain, seen.dkim, seen.dmarc, seen.policy) == ("pass", "mail.org.test", "none", "permerror", None)


@pytest.mark.parametrize(
    ("value", "result"),
    [
        (b"v=1; a=rsa-sha256; d=a.test; s=none; h=from; bh=AAAA; b=AAAA", "fail"),
        (b"v=1; a=rsa-sha256; d=mute.test; s=k; h=from; bh=AAAA; b=AAAA", "temperror"),
        (b"nonsense", "fail"),
        (b"v=1; d=\xff\xfe..; s=; =", "fail"),
        (b"v=1; a=rsa-sha256; d=a\0.test; s=no\0ne; h=from; bh=AAAA; b=AAAA", "fail"),
    ],
)
async def test_signatures_that_do_not_verify(resolver: Resolver, value: bytes, result: str) -> None:
    raw = b"DKIM-Signature: " + value + b"\r\nFrom: ada@a.test\r\n\r\nx\r\n"
    seen = await authenticate(resolver, Origin("ada@a.test", "192.0.2.1", "x"), ["ada@a.test"], raw)
    assert seen.dkim == result and [one.result for one in seen.signatures] == [result]
    assert b"\\u00" not in orjson.dumps(seen.as_facts())


async def test_what_was_added_behind_a_signed_beginning_is_nobodys(resolver: Resolver) -> None:
    """RFC 6376 §8.2: the signature is the domain's, the text that the reader sees is not."""
    raw = b"From: ada@org.test\r\n\r\nHello\r\n"
    raw = bytes(dkim.sign(raw, b"k", b"org.test", PEM, include_headers=[b"from"], length=True)) + raw
    for sent, expected in ((raw, "pass"), (raw + b"<h1>Send money.</h1>\r\n", "fail")):
        seen = await authenticate(resolver, Origin("eve@strict.test", "192.0.2.1", "x"), ["ada@org.test"], sent)
        assert (seen.dkim, seen.dmarc) == (expected, expected)


async def test_a_dns_that_is_mute_takes_little_time(resolver: Resolver) -> None:
    began = time.monotonic()
    seen = await authenticate(resolver, Origin("ada@mute.test", "192.0.2.1", "x"), ["ada@mute.test"], b"\r\nx", seconds=0.3)
    assert time.monotonic() - began < 1.0
    assert (seen.spf, seen.dkim, seen.dmarc) == ("temperror", "none", "temperror")
