"""The Received field: what it tells, and what no client can make it tell."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import pytest

from app.mail.adopt import adopt, read_finished
from app.mail.trace import received_field

DATE = datetime(2027, 6, 1, 9, 0, 0, 123, tzinfo=UTC)
_FIELD = re.compile(
    rb"Received: (?:from ([A-Za-z0-9._-]{1,255})\r\n )?by relay\.test \(Staffetta\) with [A-Z0-9]+\r\n id msg_1; "
    rb"Tue, 01 Jun 2027 09:00:00 \+0000\r\n"
)


def field(greeted_as: str | None) -> bytes:
    return received_field(greeted_as=greeted_as, by="relay.test", protocol="ESMTPSA", message_id="msg_1", date=DATE)


@pytest.mark.parametrize("name", ["client", "ADAS-LAPTOP", "mail.shop.example", "a_b.example", "x1", "a" * 63, "xn--bcher-kva.example"])
def test_a_name_is_told(name: str) -> None:
    found = _FIELD.fullmatch(field(name))
    assert found is not None and found[1] == name.encode()


@pytest.mark.parametrize(
    "said",
    [
        *("", " ", "[192.0.2.7]", "[IPv6:2001:db8::7]", "192.0.2.7", "2001:db8::7", "3221225991", "a b", "a\r\nBcc: eve@x.test", "a\nb"),
        *("a(b", "a)b", "a;b", 'a"b', "<a>", "a@b", "a\0b", "bücher.example", "\udcff", "-a", "a-", ".a", "a.", "a..b", "a" * 64),
        *(".".join(["a" * 60] * 5), "client\n"),
    ],
)
def test_what_is_no_name_is_not_told(said: str) -> None:
    found = _FIELD.fullmatch(field(said))
    assert found is not None and found[1] == b"unknown"


def test_by_http_nobody_greets() -> None:
    made = received_field(greeted_as=None, by="relay.test", protocol="HTTP", message_id="msg_1", date=DATE)
    assert _FIELD.fullmatch(made) is not None
    assert made.startswith(b"Received: by relay.test (Staffetta) with HTTP\r\n")


def test_it_stands_on_top_and_what_the_mail_brought_stays_below() -> None:
    raw = b"Received: from a by b; Tue, 01 Jun 2027 08:00:00 +0000\r\nFrom: a@x.test\r\nDate: x\r\nMessage-ID: <1@x>\r\n\r\nHi\r\n"
    adopted = adopt(read_finished(raw), message_id="2@x", date=DATE, trace=field("client"))
    assert adopted.content.head + b"\r\n" + adopted.content.body == field("client") + raw
