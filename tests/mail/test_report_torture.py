"""Whatever comes back is read within bounds: 2 seconds and 256 MB at most, and never an exception."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.mail.report import ReportKind, read_report
from tests.mail.reports import ORIGINAL, feedback_report, letter, status_report

_MEGABYTE = 1 << 20
_HEAD = b"Return-Path: <>\r\nFrom: MAILER-DAEMON@x.example\r\nTo: a@b.example\r\nSubject: failure notice\r\n"
_GROUP = b"Final-Recipient: rfc822; a@b.example\r\nAction: failed\r\n\r\n"
_STATUS_PART = b"Content-Type: message/delivery-status\r\n\r\n" + _GROUP


def _nested(depth: int, *, same: bool) -> bytes:
    names = (b"x" if same else b"b%d" % level for level in range(depth))
    return _HEAD + b"".join(b"Content-Type: multipart/mixed; boundary=%b\r\n\r\n--%b\r\n" % (name, name) for name in names) + b"\r\nend"


def _of_type(content_type: bytes, body: bytes) -> bytes:
    return _HEAD + b"Content-Type: " + content_type + b"\r\n\r\n" + body


def _groups_beside(notice: bytes, more: bytes = b"") -> bytes:
    """A notice, and 500 recipients whom it may be about."""
    groups = b"".join(b"Final-Recipient: rfc822; a%d@b.example\r\nAction: failed\r\n%b\r\n" % (n, more) for n in range(500))
    status = b"--x\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; x\r\n\r\n" + groups
    return _of_type(b"multipart/report; boundary=x", b"--x\r\nContent-Type: text/plain\r\n\r\n" + notice + b"\r\n" + status + b"--x--\r\n")


BOMBS: dict[str, Callable[[], bytes]] = {
    "10,000 deep": lambda: _nested(10_000, same=False),
    "10,000 deep, one boundary": lambda: _nested(10_000, same=True),
    "messages in messages": lambda: _HEAD + b"Content-Type: message/rfc822\r\n\r\n" * 10_000,
    "10,000 parts": lambda: _of_type(b"multipart/report; boundary=x", b"--x\r\n" + (_STATUS_PART + b"--x\r\n") * 10_000),
    "no end boundary": lambda: _of_type(b"multipart/mixed; boundary=x", b"--x\r\n\r\n" + b"not delivered to a@b.example\r\n" * 50_000),
    "a field of 1 MB": lambda: _HEAD + b"X-A: " + b"y" * _MEGABYTE + b"\r\n\r\nx",
    "a field of 200,000 folds": lambda: _HEAD + b"X-A:" + b"\r\n y" * 200_000 + b"\r\n\r\nx",
    "200,000 fields": lambda: _HEAD + b"X-A: b\r\n" * 200_000 + b"\r\nx",
    "half encoded words": lambda: b"From: postmaster\r\nSubject: " + b"=?utf-8?q?a?= =?" * 60_000 + b"\r\n\r\nx",
    "an endless author": lambda: b"From: " + b"a@b.example, <" * 80_000 + b"\r\n\r\nx",
    "a list of failed addresses": lambda: _HEAD + b"X-Failed-Recipients: " + b"a@b.example, " * 80_000 + b"\r\n\r\nfailed",
    "30,000 recipients": lambda: _of_type(b"message/delivery-status", b"".join(_GROUP.replace(b"a@", b"a%d@" % n) for n in range(30_000))),
    "30,000 recipients in words": lambda: _HEAD + b"\r\n" + b"".join(b"<a%d@b.example>: 550 unknown user\r\n" % n for n in range(30_000)),
    "empty lines among fields": lambda: _of_type(b"message/delivery-status", b"\n\n\n \n" * 500_000),
    "a status without end": lambda: _of_type(b"message/delivery-status", b"Final-Recipient: a@b.example\nStatus: " + b"5.1." * _MEGABYTE),
    "endless styles": lambda: _of_type(b"text/html", b"<style>" * 300_000),
    "endless tags": lambda: _of_type(b"text/html", b"<br <a " * 300_000),
    "endless references": lambda: _of_type(b"text/html", b"&#x&a" * 300_000),
    "broken base64": lambda: _HEAD + b"Content-Transfer-Encoding: base64\r\n\r\n" + b"=A=" * _MEGABYTE,
    "a charset of names": lambda: _of_type(b"text/plain; charset=idna", b"xn--a." * 200_000),
    "a charset that is code": lambda: _of_type(b"text/plain; charset=unicode_escape", b"\\N{" * 300_000),
    "a charset that is none": lambda: _of_type(b"text/plain; charset=hex_codec", b"0g"),
    "random octets": lambda: bytes((n * n >> 3) & 255 for n in range(_MEGABYTE)),
    "NUL": lambda: b"\0" * _MEGABYTE,
    "500 recipients and one notice": lambda: _groups_beside(b"a " * 1995),
    "500 recipients named in lines": lambda: _groups_beside(b"a " * 400 + b"\r\n" + (b"x@b.example, " * 60 + b"a " * 100 + b"\r\n") * 9),
    "500 diagnostics": lambda: _groups_beside(b"failed", b"Diagnostic-Code: smtp; 550 " + b"user a " * 280 + b"\r\n"),
    "500 named by a field": lambda: (
        _HEAD + b"X-Failed-Recipients: " + b", ".join(b"a%d@b.example" % n for n in range(500)) + b"\r\n\r\n" + b"a " * 1995
    ),
    "25 MB": lambda: _HEAD + b"\r\n" + (b"could not be delivered " * 40 + b"\r\n") * 28_000,
} | {
    f"a line of {piece!r}": lambda piece=piece: _HEAD + b"\r\n" + piece * (4 * _MEGABYTE // len(piece))  # type: ignore[misc]
    for piece in (
        *(b"a", b"a@", b"a@b.", b"<", b">", b"> ", b" ", b"\n", b"\n ", b"\r", b"-", b"- ", b"=?", b"not ", b"550 ", b"user ", b"to "),
        *(b"delivery failed ", b'{"emailAddress": "', b"final-recipient: @", b"original ", b"\xe3\x81\x82", b"message-id:\n", b"\t"),
    )
}  # fmt: skip


@pytest.mark.parametrize("name", BOMBS)
def test_bombs_are_bounded_in_time(name: str) -> None:
    raw = BOMBS[name]()
    started = time.perf_counter()
    report = read_report(raw)
    assert time.perf_counter() - started < 2
    assert len(report.recipients) <= 500
    assert all(len(recipient.diagnostic) <= 1000 for recipient in report.recipients)


def test_bombs_are_bounded_in_memory() -> None:
    code = (
        "import resource\nfrom app.mail.report import read_report\nfrom tests.mail.test_report_torture import BOMBS\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "for name in BOMBS:\n    read_report(BOMBS[name]())\n"
        "print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)\n"
    )
    root = str(Path(__file__).resolve().parents[2])
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, cwd=root)
    assert run.returncode == 0, run.stderr
    assert int(run.stdout) < 256


def test_of_many_recipients_the_first_are_judged_by_words_and_all_by_codes() -> None:
    groups = "\n\n".join(f"Final-Recipient: rfc822; a{n}@x.test\nAction: failed\nStatus: 5.2.2" for n in range(30))
    report = read_report(status_report(groups, notice="There is no such user here.\n"))
    assert (report.kind, len(report.recipients)) == (ReportKind.BOUNCE, 30)
    assert {(one.reply_class, one.status, one.suppresses) for one in report.recipients} == {("mailbox_full", "5.2.2", False)}


_SAMPLES = (
    status_report("Final-Recipient: rfc822; ada@example.com\nAction: failed\nStatus: 5.1.1\n"),
    feedback_report("Feedback-Type: abuse\nOriginal-Rcpt-To: ada@example.com\n"),
    letter("failure notice", f"<ada@example.com>:\n550 no such user\n\n--- Below this line is a copy of the message.\n\n{ORIGINAL}"),
)


@settings(max_examples=300)
@given(st.sampled_from(_SAMPLES), st.integers(0, 2000), st.integers(0, 2000), st.binary(max_size=30))
def test_a_report_with_anything_cut_or_put_into_it_is_read(raw: bytes, start: int, length: int, put: bytes) -> None:
    report = read_report(raw[:start] + put + raw[start + length :])
    assert report.kind in ReportKind


@given(st.binary(max_size=500))
def test_any_octets_are_read(raw: bytes) -> None:
    assert read_report(raw).kind in ReportKind
    assert read_report(_HEAD + b"\r\n" + raw).kind in ReportKind


@given(st.text(max_size=300))
def test_any_words_are_read(text: str) -> None:
    assert read_report(letter(text.replace("\n", " ").replace("\r", " "), text)).kind in ReportKind
