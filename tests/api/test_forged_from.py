"""Nobody sends as somebody else: sixty and more forms of a forged From, over raw MIME and JSON, and with a credential's own limits.

The account is `shop` with shop.example.test; `rival` is another tenant of the house.
"""

from __future__ import annotations

from typing import Any

import pytest

from app.accounts.credentials import ALL, Sender
from app.accounts.domains import add_domain
from app.errors import RelayError
from app.intake.raw import EnvelopeRecipient, RawSubmission

REST = b"To: ada@example.com\r\nSubject: x\r\nDate: Tue, 01 Jun 2027 09:00:00 +0200\r\n\r\nHello.\r\n"
OURS = b"orders@shop.example.test"
GOOD = b"From: " + OURS + b"\r\n"

# Header lines that stand before REST. Each says to some reader that it is from elsewhere, or leaves that open.
FORGED: dict[str, bytes] = {
    # other domains
    "other tenant": b"From: ceo@rival.example.test\r\n",
    "other tenant, named": b'From: "Shop" <ceo@rival.example.test>\r\n',
    "stranger": b"From: ceo@bank.example\r\n",
    "sub-domain": b"From: ceo@mail.shop.example.test\r\n",
    "super-domain": b"From: ceo@example.test\r\n",
    "top level": b"From: ceo@test\r\n",
    "longer name": b"From: ceo@ashop.example.test\r\n",
    "hyphen": b"From: ceo@x-shop.example.test\r\n",
    "suffix": b"From: ceo@shop.example.test.evil.example\r\n",
    "look-alike": b"From: ceo@sh0p.example.test\r\n",
    "homograph": "From: ceo@ѕhop.example.test\r\n".encode(),
    "homograph as A-label": b"From: ceo@xn--hop-vwd.example.test\r\n",
    "full-width dots": "From: orders@shop．example．test\r\n".encode(),
    "full-width letters": "From: orders@ｓhop.example.test\r\n".encode(),
    "ideographic stop": "From: orders@shop。example.test\r\n".encode(),
    "soft hyphen": "From: orders@sh\u00adop.example.test\r\n".encode(),
    "zero width": "From: orders@shop\u200b.example.test\r\n".encode(),
    "trailing dot": b"From: orders@shop.example.test.\r\n",
    "address literal": b"From: orders@[127.0.0.1]\r\n",
    # several
    "two fields": b"From: ceo@bank.example\r\n" + GOOD,
    "two fields, ours first": GOOD + b"From: ceo@bank.example\r\n",
    "two fields, other case": GOOD + b"FROM: ceo@bank.example\r\n",
    "two fields, both ours": GOOD + GOOD,
    "two fields, one folded": GOOD + b"From:\r\n ceo@bank.example\r\n",
    "two addresses": b"From: " + OURS + b", ceo@bank.example\r\n",
    "two addresses, ours last": b"From: ceo@bank.example, " + OURS + b"\r\n",
    "two addresses, ours both": b"From: " + OURS + b", info@shop.example.test\r\n",
    "two in brackets": b"From: <ceo@bank.example> <" + OURS + b">\r\n",
    "nested brackets": b"From: <ceo@bank.example<" + OURS + b">>\r\n",
    "semicolon": b"From: ceo@bank.example; " + OURS + b"\r\n",
    "space between": b"From: ceo@bank.example " + OURS + b"\r\n",
    # other fields that say who sends
    "Sender": GOOD + b"Sender: ceo@bank.example\r\n",
    "Sender of a tenant": GOOD + b"Sender: ceo@rival.example.test\r\n",
    "two Senders": GOOD + b"Sender: orders@shop.example.test\r\nSender: ceo@bank.example\r\n",
    "Resent-From": GOOD + b"Resent-From: ceo@bank.example\r\n",
    "Resent-Sender": GOOD + b"Resent-Sender: ceo@bank.example\r\n",
    "second Resent-From": GOOD + b"Resent-From: orders@shop.example.test\r\nResent-From: ceo@bank.example\r\n",
    # odd syntax
    "group": b"From: Shop: ceo@bank.example;\r\n",
    "group of ours": b"From: ceo@bank.example: orders@shop.example.test;\r\n",
    "empty group": b"From: ceo@bank.example:;\r\n",
    "route": b"From: <@bank.example:orders@shop.example.test>\r\n",
    "route to elsewhere": b"From: <@shop.example.test:ceo@bank.example>\r\n",
    "percent route": b"From: <ceo%bank.example@rival.example.test>\r\n",
    "quoted local part with @": b'From: "ceo@bank.example"@shop.example.test\r\n',
    "quoted local part with brackets": b'From: "ceo@bank.example> "@shop.example.test\r\n',
    "quoted local part in brackets": b'From: <"ceo@bank.example,"@shop.example.test>\r\n',
    "escaped quote": b'From: "a\\" <ceo@bank.example>, \\"" <orders@shop.example.test>\r\n',
    "name is an address": b'From: "ceo@bank.example" <orders@shop.example.test>\r\n',
    "name is an address, no quotes": b"From: ceo@bank.example <orders@shop.example.test>\r\n",
    "name ends in an address": b'From: "CEO <ceo@bank.example>" <orders@shop.example.test>\r\n',
    "name is a tenant's address": b'From: "ceo@rival.example.test" <orders@shop.example.test>\r\n',
    "name in an encoded word": b"From: =?utf-8?q?ceo=40bank=2Eexample?= <orders@shop.example.test>\r\n",
    "name in base64": b"From: =?utf-8?b?Y2VvQGJhbmsuZXhhbXBsZQ==?= <orders@shop.example.test>\r\n",
    "name in two words": b"From: =?utf-8?q?ceo=40ba?= =?utf-8?q?nk=2Eexample?= <orders@shop.example.test>\r\n",
    "name with a wide @": b"From: =?utf-8?q?ceo=EF=BC=A0bank.example?= <orders@shop.example.test>\r\n",
    "name with a hidden letter": "From: \"ceo@bank\u200b.example\" <orders@shop.example.test>\r\n".encode(),
    "address in an encoded word": b"From: =?utf-8?q?ceo=40bank=2Eexample?=\r\n",
    "domain in an encoded word": b"From: <ceo@=?utf-8?q?bank=2Eexample?=>\r\n",
    "whole in an encoded word": b"From: =?utf-8?q?=3Corders=40shop=2Eexample=2Etest=3E?=\r\n",
    "comment holds another": b"From: orders@shop.example.test (ceo@bank.example)\r\n",
    "comment before": b"From: (ceo@bank.example) orders@shop.example.test\r\n",
    "comment within": b"From: ceo(@shop.example.test)@bank.example\r\n",
    "comment in the domain": b"From: orders@shop.example.test(.evil.example)\r\n",
    "comment not closed": b"From: orders@shop.example.test (\r\n",
    "text behind": b"From: <orders@shop.example.test> ceo@bank.example\r\n",
    "bracket not closed": b"From: ceo@bank.example <orders@shop.example.test\r\n",
    "spaces in the address": b"From: orders @ shop.example.test\r\n",
    "spaces in brackets": b"From: <orders@shop.example.test ceo@bank.example>\r\n",
    # the field itself
    "missing": b"",
    "empty": b"From: \r\n",
    "null": b"From: <>\r\n",
    "space before the colon": b"From : orders@shop.example.test\r\n",
    "space before the second colon": GOOD + b"From : ceo@bank.example\r\n",
    "tab before the second colon": GOOD + b"From\t: ceo@bank.example\r\n",
    "begins with a space": b" From: orders@shop.example.test\r\n",
    "mbox line": b"From ceo@bank.example Tue Jun  1 09:00:00 2027\r\n" + GOOD,
    "no colon": b"From ceo@bank.example\r\n" + GOOD,
    "homograph in the name of the field": GOOD + "Frоm: ceo@bank.example\r\n".encode(),
    "empty fold": b"From: orders@shop.example.test\r\n \r\n ,ceo@bank.example\r\n",
    "empty fold first": b"From:\r\n \r\n orders@shop.example.test\r\n",
    "fold in the address": b"From: orders@shop.example.test\r\n .evil.example\r\n",
    "tabs": b"From:\tceo@bank.example\t<orders@shop.example.test>\r\n",
    "behind the header": b"X-A: b\r\n\r\n" + GOOD,
    # controls and line ends
    "NUL in the address": b"From: orders@shop.example.test\0.evil.example\r\n",
    "NUL in the name of the field": GOOD + b"From\0: ceo@bank.example\r\n",
    "CR": b"From: orders@shop.example.test\rFrom: ceo@bank.example\r\n",
    "LF": b"From: orders@shop.example.test\nFrom: ceo@bank.example\r\n",
    "CR LF and space": b"Subject: a\r\n b\rFrom: ceo@bank.example\r\n" + GOOD,
    "LF ends the header": b"From: ceo@bank.example\n\n" + GOOD,
    "vertical tab": b"From: orders@shop.example.test\x0bceo@bank.example\r\n",
    "form feed": b"From: ceo@bank.example\x0c<orders@shop.example.test>\r\n",
    "escape": b"From: \x1b[2Jceo <orders@shop.example.test>\r\n",
    "delete": b"From: orders@shop.example.test\x7f\r\n",
    "line separator": "From: ceo\u2028 <orders@shop.example.test>\r\n".encode(),
    "not in UTF-8": b"From: ceo@b\xe4nk.example\r\n",
    "overlong UTF-8": b"From: ceo\xc1\x80bank.example <orders@shop.example.test>, x\r\n",
}  # fmt: skip

# From in JSON: a text, or an object.
FORGED_IN_JSON: dict[str, Any] = {
    "other tenant": "ceo@rival.example.test",
    "stranger": "ceo@bank.example",
    "sub-domain": "ceo@mail.shop.example.test",
    "super-domain": "ceo@example.test",
    "look-alike": "ceo@sh0p.example.test",
    "homograph": "ceo@ѕhop.example.test",
    "homograph as A-label": "ceo@xn--hop-vwd.example.test",
    "suffix": "ceo@shop.example.test.evil.example",
    "trailing dot": "orders@shop.example.test.",
    "two addresses": "orders@shop.example.test, ceo@bank.example",
    "two in brackets": "<ceo@bank.example> <orders@shop.example.test>",
    "list": ["orders@shop.example.test", "ceo@bank.example"],
    "group": "Shop: ceo@bank.example;",
    "route": "<@bank.example:orders@shop.example.test>",
    "comment": "orders@shop.example.test (ceo@bank.example)",
    "encoded word": "=?utf-8?q?ceo=40bank=2Eexample?=",
    "quoted local part": '"ceo@bank.example"@shop.example.test',
    "name is an address": '"ceo@bank.example" <orders@shop.example.test>',
    "name is a tenant's address": {"email": "orders@shop.example.test", "name": "ceo@rival.example.test"},
    "name with a wide @": {"email": "orders@shop.example.test", "name": "ceo＠bank.example"},
    "name with a hidden letter": {"email": "orders@shop.example.test", "name": "ceo@ba\u200bnk.example"},
    "CR LF": "orders@shop.example.test\r\nFrom: ceo@bank.example",
    "NUL": "orders@shop.example.test\0",
    "empty": "",
    "null": "<>",
    "object with a name in the address": {"email": "Shop <orders@shop.example.test>", "name": ""},
}

TRUE: dict[str, bytes] = {
    "plain": GOOD,
    "brackets": b"From: <orders@shop.example.test>\r\n",
    "name": b"from: Shop <orders@shop.example.test>\r\n",
    "quoted name": b'From: "Shop, \\"the best\\"" <orders@shop.example.test>\r\n',
    "name with a dot": b"From: Example Shop Inc. <orders@shop.example.test>\r\n",
    "folded": b'From: "A very long name of a shop"\r\n\t<orders@shop.example.test>\r\n',
    "encoded name": b"From: =?utf-8?q?L=C3=A4den?= =?utf-8?b?w7xiZXI=?= <orders@shop.example.test>\r\n",
    "raw name": "From: Läden <orders@shop.example.test>\r\n".encode(),
    "old name": b"From: L\xe4den <orders@shop.example.test>\r\n",
    "old comment": b"From: orders@shop.example.test (Example Shop)\r\n",
    "upper case": b"From: Orders@SHOP.Example.Test\r\n",
    "own address as name": b'From: "orders@shop.example.test" <orders@shop.example.test>\r\n',
    "name with an @": b'From: "Meet us @ the fair" <orders@shop.example.test>\r\n',
    "Sender of ours": GOOD + b"Sender: robot@shop.example.test\r\n",
    "Reply-To elsewhere": GOOD + b"Reply-To: ceo@bank.example\r\n",
    "X-From": GOOD + b"X-From: ceo@bank.example\r\n",
}  # fmt: skip


def test_there_are_enough_of_them() -> None:
    assert len(FORGED) >= 60


@pytest.mark.parametrize("form", FORGED)
async def test_no_forged_mail_is_taken(shop: Any, count_rows: Any, form: str) -> None:
    before = await count_rows()
    answer = await shop.client.post("/v1/messages/raw", content=FORGED[form] + REST, headers={"Content-Type": "message/rfc822"})
    assert answer.status_code in (403, 422), answer.text
    assert answer.json()["detail"]
    assert await count_rows() == before


@pytest.mark.parametrize("form", FORGED)
async def test_no_envelope_makes_it_better(house: Any, shop: Any, count_rows: Any, form: str) -> None:
    before = await count_rows()
    for envelope in ("orders@shop.example.test", ""):
        raw = RawSubmission(FORGED[form] + REST, envelope, (EnvelopeRecipient("ada@example.com"),))
        with pytest.raises(RelayError) as refused:
            await house.app.state.house.intake.submit_raw(_sender(shop), raw)
        assert refused.value.smtp_reply[0] == "5"
    assert await count_rows() == before


@pytest.mark.parametrize("form", FORGED_IN_JSON)
async def test_no_forged_json_is_taken(shop: Any, count_rows: Any, form: str) -> None:
    before = await count_rows()
    answer = await shop.client.post("/v1/messages", json=shop.message(**{"from": FORGED_IN_JSON[form]}))
    assert answer.status_code in (403, 422), answer.text
    assert answer.json()["errors"][0]["pointer"].startswith("#/from")
    assert await count_rows() == before


@pytest.mark.parametrize("form", TRUE)
async def test_what_is_truly_ours_is_taken(shop: Any, form: str) -> None:
    answer = await shop.client.post("/v1/messages/raw", content=TRUE[form] + REST, headers={"Content-Type": "message/rfc822"})
    assert answer.status_code == 202, answer.text


@pytest.mark.parametrize(
    ("envelope", "code"),
    [
        ("orders@shop.example.test", None),
        ("BOUNCES@Shop.Example.Test", None),
        ("", None),
        ("ceo@rival.example.test", "sender_not_allowed"),
        ("ceo@bank.example", "sender_not_allowed"),
        ("ceo@mail.shop.example.test", "sender_not_allowed"),
        ("orders@shop.example.test\r\nRCPT TO:<eve@example.com>", "sender_not_allowed"),
        ("@bank.example:orders@shop.example.test", "sender_not_allowed"),
        ("orders", "sender_not_allowed"),
    ],
)
async def test_the_envelope_is_asked_too(house: Any, shop: Any, envelope: str, code: str | None) -> None:
    assert await _fate(house, shop, GOOD, envelope) == code


@pytest.mark.parametrize(
    ("allowed", "head", "envelope", "code"),
    [
        (("orders@shop.example.test",), GOOD, "orders@shop.example.test", None),
        (("ORDERS@shop.example.test",), GOOD, "", None),
        (("shop.example.test",), GOOD, "", None),
        (("@shop.example.test",), GOOD, "", None),
        (("info@shop.example.test",), GOOD, "", "sender_not_allowed"),
        (("example.test",), GOOD, "", "sender_not_allowed"),
        (("orders@shop.example.test",), GOOD, "info@shop.example.test", "sender_not_allowed"),
        (("orders@shop.example.test",), GOOD + b"Sender: info@shop.example.test\r\n", "", "sender_not_allowed"),
        # What the account may not, none of its credentials may.
        (("rival.example.test",), b"From: ceo@rival.example.test\r\n", "", "sender_not_allowed"),
    ],
)
async def test_a_credential_has_its_own_limits(
    house: Any, shop: Any, allowed: tuple[str, ...], head: bytes, envelope: str, code: str | None
) -> None:
    assert await _fate(house, shop, head, envelope, allowed) == code


async def test_a_domain_in_letters_of_its_own(house: Any, shop: Any) -> None:
    """As it is registered, in A-labels or in U-labels; nothing that is only like it."""
    async with house.database.transaction() as connection:
        await add_domain(connection, house.keyring, shop.account_id, "bücher.example", ("ed25519-sha256",))
    fates = {}
    for domain in (
        "bücher.example",
        "xn--bcher-kva.example",
        "BÜCHER.example",
        "bücher．example",
        "bu\u0308cher.example",
        "bücher.example.org",
    ):
        fates[domain] = await _fate(house, shop, f"From: a@{domain}\r\n".encode(), "")
    assert list(fates.values()) == [None, None, *["invalid_message"] * 3, "sender_not_allowed"]


async def _fate(house: Any, shop: Any, head: bytes, envelope: str, allowed: tuple[str, ...] = ()) -> str | None:
    raw = RawSubmission(head + REST, envelope, (EnvelopeRecipient("ada@example.com"),), allowed_from=allowed)
    try:
        await house.app.state.house.intake.submit_raw(_sender(shop), raw)
    except RelayError as error:
        return error.code
    return None


def _sender(tenant: Any) -> Sender:
    return Sender(tenant.account_id, "test", frozenset({ALL}))
