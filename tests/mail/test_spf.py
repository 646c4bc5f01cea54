"""SPF records as RFC 7208 has them."""

from __future__ import annotations

import ipaddress

import pytest

from app.mail.spf import Asker, BadRecord, Result, expand, is_record, read_record

SIX = "2001:db8::cb01"
ASKER = Asker(ipaddress.ip_address("192.0.2.3"), "strong-bad@email.example.com", "mx.example.com")


def test_which_texts_are_records() -> None:
    assert is_record("v=spf1") and is_record("v=spf1 -all") and is_record("V=SPF1 all")
    assert not is_record("v=spf10 -all") and not is_record("v=spf2.0/pra") and not is_record("")


def test_a_record() -> None:
    record = read_record(
        "v=spf1 a/24 mx:mail.x.test//64 ?include:_spf.%{d} ip4:192.0.2.0/24 ip6:2001:db8::/32 ~exists:%{i}.x.test redirect=_r.x.test x-y=z"
    )
    shown = [(term.result, term.name, term.domain, term.cidr4, term.cidr6, str(term.network or "")) for term in record.terms]
    assert shown == [
        (Result.PASS, "a", "", 24, 128, ""),
        (Result.PASS, "mx", "mail.x.test", 32, 64, ""),
        (Result.NEUTRAL, "include", "_spf.%{d}", 32, 128, ""),
        (Result.PASS, "ip4", "", 32, 128, "192.0.2.0/24"),
        (Result.PASS, "ip6", "", 32, 128, "2001:db8::/32"),
        (Result.SOFTFAIL, "exists", "%{i}.x.test", 32, 128, ""),
    ]
    assert record.redirect == "_r.x.test"


@pytest.mark.parametrize(
    "terms",
    [
        "bad", "all:x.test", "all/8", "include", "include:", "exists", "ip4", "ip4:192.0.2", "ip4:192.0.2.1/33", "ip4:192.0.2.1/08",
        "ip6:192.0.2.1", "a/33", "a//129", "a/", "a:x", "a:x..test/x", "include:x.test/24", "redirect=x.test redirect=y.test", "exp=",
        "redirect=", "exists:%{x}.x.test", "exists:%{d0}.x.test", "exists:%(d).x.test", "exists:%.x.test", "exists:%{c}.x.test", "-",
        "a:foo bär.test",
    ],
)  # fmt: skip
def test_what_is_wrong_anywhere_makes_no_record(terms: str) -> None:
    with pytest.raises(BadRecord):
        read_record(f"v=spf1 ip4:192.0.2.3 {terms} -all")


@pytest.mark.parametrize(
    ("spec", "name"),
    [  # RFC 7208 §7.4
        ("%{s}", "strong-bad@email.example.com"),
        ("%{o}", "email.example.com"),
        ("%{d4}", "email.example.com"),
        ("%{d2}", "example.com"),
        ("%{d1}", "com"),
        ("%{dr}", "com.example.email"),
        ("%{d2r}", "example.email"),
        ("%{l}", "strong-bad"),
        ("%{l-}", "strong.bad"),
        ("%{lr-}", "bad.strong"),
        ("%{l1r-}", "strong"),
        ("%{ir}.%{v}._spf.%{d2}", "3.2.0.192.in-addr._spf.example.com"),
        ("%{lr-}.lp._spf.%{d2}", "bad.strong.lp._spf.example.com"),
        ("%{ir}.%{v}.%{l1r-}.lp._spf.%{d2}", "3.2.0.192.in-addr.strong.lp._spf.example.com"),
        ("%{d2}.trusted-domains.example.net", "example.com.trusted-domains.example.net"),
        ("%%.%_.%-.x", "%. .%20.x"),
    ],
)
def test_macros(spec: str, name: str) -> None:
    assert expand(spec, ASKER, "email.example.com") == name


def test_macros_of_ipv6_and_long_names() -> None:
    six = Asker(ipaddress.ip_address(SIX), "a@x.test", "h")
    assert expand("%{ir}.%{v}._spf.%{d2}", six, "example.com") == (
        "1.0.b.c.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6._spf.example.com"
    )
    long = expand("%{d}.%{d}.x.test", six, ".".join(["a" * 50] * 4))
    assert len(long) <= 253 and long.endswith(".x.test")
