"""The X-Staffetta-* fields: all that the JSON can say beside a mail, and nothing taken on trust."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from app.accounts.templates import TemplateUse
from app.errors import InvalidMessage
from app.intake.admission import Track
from app.intake.controls import Controls, read_controls
from app.mail.fields import read_fields


def controls(*lines: str) -> Controls:
    return read_controls(read_fields("".join(f"X-Staffetta-{line}\r\n" for line in lines).encode()))


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ((), Controls()),
        (("Stream: bulk",), Controls(stream="bulk")),
        (("Tag: a", "tag: b, c", "TAG: =?utf-8?q?=C3=A4?="), Controls(tags=("a", "b, c", "ä"))),
        (('Metadata: {"order": "1042", "k": ""}', "Metadata: a = b=c"), Controls(metadata={"order": "1042", "k": "", "a": "b=c"})),
        (('Metadata: {"a":\r\n "b"}',), Controls(metadata={"a": "b"})),
        (("Track: opens, clicks",), Controls(track=Track(opens=True, clicks=True))),
        (("Track: Clicks,opens",), Controls(track=Track(opens=True, clicks=True))),
        (("Track: opens",), Controls(track=Track(opens=True, clicks=False))),
        (("Track: off",), Controls(track=Track(opens=False, clicks=False))),
        (
            ("Send-At: 2030-06-01T09:00:00+02:00", "Expires-At: 2030-06-02T00:00:00Z"),
            Controls(send_at=datetime(2030, 6, 1, 7, tzinfo=UTC), expires_at=datetime(2030, 6, 2, tzinfo=UTC)),
        ),
        (("Report-To: Boss@Shop.Example.Test",), Controls(report_to="Boss@shop.example.test")),
        (("Idempotency-Key: order-1042/1",), Controls(idempotency_key="order-1042/1")),
        (("Template: welcome",), Controls(template=TemplateUse("welcome", None, {}, None, 2))),
        (
            ("Template: welcome", "Template-Version: 3", 'Variables: {"a": [1]}', "Locale: it_IT"),
            Controls(template=TemplateUse("welcome", 3, {"a": [1]}, "it_IT", 9)),
        ),
    ],
)
def test_what_they_say(lines: tuple[str, ...], said: Controls) -> None:
    assert controls(*lines) == said


@pytest.mark.parametrize(
    ("lines", "faults"),
    [
        (("Streem: bulk",), [("Streem", "unknown_field")]),
        (("Tenant: 1", ": x"), [("Tenant", "unknown_field"), ("", "unknown_field")]),
        (("Stream: a", "STREAM: b"), [("Stream", "too_many")]),
        (("Stream:",), [("Stream", "invalid_value")]),
        (("Report-To: nobody",), [("Report-To", "invalid_value")]),
        (("Report-To: a@x.test", "Report-To: b@x.test"), [("Report-To", "too_many")]),
        (tuple(f"Tag: {n}" for n in range(11)), [("Tag", "too_many")]),
        (("Tag: " + "a" * 65,), [("Tag", "invalid_value")]),
        (("Tag:",), [("Tag", "invalid_value")]),
        (("Metadata: order",), [("Metadata", "invalid_value")]),
        (("Metadata: {",), [("Metadata", "malformed")]),
        (('Metadata: {"a": 1}',), [("Metadata", "wrong_type")]),
        (("Metadata: a=1", "Metadata: a=2"), [("Metadata", "invalid_value")]),
        (("Metadata: a=" + "b" * 4100,), [("Metadata", "invalid_value")]),
        (tuple(f"Metadata: a{n}=b" for n in range(21)), [("Metadata", "too_many")]),
        (("Track: yes",), [("Track", "unknown_value")]),
        (("Track: off, opens",), [("Track", "unknown_value")]),
        (("Send-At: tomorrow",), [("Send-At", "invalid_value")]),
        (("Expires-At: 2030-06-01T09:00:00",), [("Expires-At", "invalid_value")]),
        (("Idempotency-Key: a b",), [("Idempotency-Key", "invalid_value")]),
        (("Idempotency-Key: " + "a" * 256,), [("Idempotency-Key", "invalid_value")]),
        (("Variables: {}", "Locale: it"), [("Variables", "contradiction"), ("Locale", "contradiction")]),
        (("Template: a", "Template-Version: one"), [("Template-Version", "invalid_value")]),
        (("Template: a", "Variables: []"), [("Variables", "wrong_type")]),
        (("Template: a", 'Variables: {"a": "' + "b" * 70_000 + '"}'), [("Variables", "too_long")]),
        (("Template: a", "Variables: " + '{"a":' * 20 + "1" + "}" * 20), [("Variables", "too_deep")]),
        (("Track: yes", "Send-At: never"), [("Track", "unknown_value"), ("Send-At", "invalid_value")]),
    ],
)
def test_what_is_refused(lines: tuple[str, ...], faults: list[tuple[str, str]]) -> None:
    with pytest.raises(InvalidMessage) as refused:
        controls(*lines)
    found: Any = refused.value.errors
    assert [(one.pointer, one.code) for one in found] == [(f"#/headers/X-Staffetta-{name}", code) for name, code in faults]
    assert all(one.detail for one in found)
