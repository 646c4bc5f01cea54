"""Sixty odd drafts through the whole house: verified by two verifiers, and read back as they were posted."""

from __future__ import annotations

import re

from tests.bench.odd import Found, send_and_read
from tests.bench.odd_reading import faults_of
from tests.house.house import House


async def test_odd_content_arrives_as_it_was_posted() -> None:
    async with House() as house:
        found = await send_and_read(house, 60)
        _judge_altered(found)
    assert found.faults == []
    assert found.expected == len(found.received) == found.by_dkimpy == found.by_mail_dkim == found.equal
    assert found.expected > 60
    assert found.links > 100
    assert found.refused.total() > 0


def _judge_altered(found: Found) -> None:
    """The reader is no yes-sayer: each change to a mail is a fault."""
    number, raw = next(
        (n, one.read_bytes()) for n, one in found.received if found.drafts[n].body["track"]["clicks"] and found.drafts[n].links
    )
    draft, ids, reading = found.drafts[number], found.recipients[number], found.reading
    assert reading is not None
    assert faults_of(raw, draft, ids, reading) == []
    head, _, body = raw.partition(b"\r\n\r\n")
    token = re.search(rb"=\r\nhttp://localhost:8025/c/(\w)", raw)
    assert token is not None
    for altered in (
        raw.replace(b"\nSubject:", b"\nSubject: x", 1),
        raw.replace(b"\nFrom:", b"\nFrom: x", 1),
        raw.replace(b"\nFrom:", b"\nX-Long: " + b"x" * 1000 + b"\r\nFrom:", 1),
        head + b"\r\n\r\n" + body.replace(b"\r\n", b"\n", 1),
        raw + b"\xc3\xa9\r\n",
        raw[: token.start(1)] + (b"B" if token[1] != b"B" else b"C") + raw[token.end(1) :],
        raw.replace(b"http://localhost:8025/c/", b"http://localhost:8025/d/", 1),
        head + b"\r\n\r\n" + body[: len(body) // 2],
    ):
        assert faults_of(altered, draft, ids, reading) != []
    assert faults_of(raw, draft, set(), reading) != []
