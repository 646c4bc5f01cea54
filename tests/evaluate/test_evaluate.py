"""The judge itself: right samples are met, wrong ones are not, and nothing is passed over in silence."""

from __future__ import annotations

import base64
import gzip
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

_HTML = '<p>è</p><!-- <a href="https://n.it/"> --><a href="https://x.it/?a&amp;b">x</a><a href="mailto:a@b.co">y</a>'


def _row(html: str = _HTML, charset: str = "utf-8", **changed: Any) -> dict[str, Any]:
    octets = html.encode(charset)
    links = []
    for value, url, need in (
        ("https://n.it/", "https://n.it/", "mustnot"),
        ("https://x.it/?a&amp;b", "https://x.it/?a&b", "must"),
        ("mailto:a@b.co", "mailto:a@b.co", "mustnot"),
    ):
        start = octets.index(value.encode())
        links.append({"s": start, "e": start + len(value), "url": url, "need": changed.get(url, need)})
    return {"id": "x", "html_b64": base64.b64encode(octets).decode(), "enc": charset, "links": links}


def _evaluate(directory: Path, *arguments: str) -> tuple[int, str, str]:
    command = [sys.executable, "-P", "-m", "tests.evaluate", "--corpora", str(directory), *arguments]
    root = str(Path(__file__).resolve().parents[2])
    run = subprocess.run(command, capture_output=True, text=True, timeout=60, env={**os.environ, "PYTHONPATH": root})
    return run.returncode, run.stdout, run.stderr


def test_right_samples_are_met_and_what_is_not_judged_is_named(tmp_path: Path) -> None:
    rows = "".join(json.dumps(row) + "\n" for row in (_row(), _row(charset="latin-1")))
    (tmp_path / "any-name.jsonl.gz").write_bytes(gzip.compress(rows.encode()))
    (tmp_path / "other.jsonl").write_text(json.dumps({"something": "else"}) + "\n")
    (tmp_path / "README.md").write_text("x")
    code, out, _err = _evaluate(tmp_path)
    assert code == 0
    assert "quoted-printable: perfect                         2/2           all  met" in out
    assert "passed over: other.jsonl (no samples of a known kind)" in out
    code, out, err = _evaluate(tmp_path, "--json")
    assert code == 0
    (report,) = json.loads(out)["reports"]
    assert report["figures"]["base64"] == {"rows": 2, "perfect": 2, "must": 2, "right": 2, "faults": []}
    assert "passed over" in err


@pytest.mark.parametrize(
    ("changed", "fault"),
    [
        ({"https://x.it/?a&b": "mustnot"}, "bytes behind the last link changed"),
        ({"mailto:a@b.co": "must"}, "was not rewritten: 'mailto:a@b.co'"),
        ({"https://n.it/": "must"}, "was not rewritten: 'https://n.it/'"),
    ],
)
def test_what_is_not_as_the_label_says_is_a_fault(tmp_path: Path, changed: dict[str, str], fault: str) -> None:
    (tmp_path / "x.jsonl").write_text(json.dumps(_row(**changed)) + "\n")
    code, out, _err = _evaluate(tmp_path)
    assert code == 1
    assert "MISSED" in out
    assert fault in out


def test_a_wrong_target_is_a_fault(tmp_path: Path) -> None:
    row = _row()
    row["links"][1]["url"] = "https://x.it/?a&amp;b"
    (tmp_path / "x.jsonl").write_text(json.dumps(row) + "\n")
    code, out, _err = _evaluate(tmp_path)
    assert (code, "leads elsewhere" in out) == (1, True)


def test_a_directory_without_samples_is_no_success(tmp_path: Path) -> None:
    code, _out, err = _evaluate(tmp_path)
    assert code == 1
    assert "nothing to judge" in err


_BOUNCE = (
    b"From: MAILER-DAEMON@mx.example\r\nSubject: failure notice\r\n\r\nNot delivered:\r\n\r\n<ada@example.com>:\r\n"
    b"550 5.1.1 unknown user\r\n"
)


def _mail(raw: bytes = _BOUNCE, **changed: Any) -> dict[str, Any]:
    row: dict[str, Any] = {"id": "x", "raw_b64": base64.b64encode(raw).decode(), "is_bounce": True, "kind": "failure", "agree": True}
    row |= {"recipients": ["ada@example.com"], "rows": [{"klass": "invalid_mailbox"}], "suppress": True}
    return row | changed


def _write(path: Path, *rows: dict[str, Any]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_bounces_and_replies_that_are_right_meet_the_bars(tmp_path: Path) -> None:
    person = b"From: ada@example.com\r\nSubject: Lunch\r\n\r\nAt noon?\r\n"
    other = {"kind": "not_a_bounce", "is_bounce": False, "recipients": [], "rows": [], "suppress": False}
    _write(tmp_path / "b.jsonl", _mail(), _mail(person, **other))
    _write(tmp_path / "r.jsonl", {"text": "550 5.1.1 unknown user", "klass": "invalid_mailbox", "hard": True})
    code, out, _err = _evaluate(tmp_path, "--json")
    assert code == 0
    bounces, replies = json.loads(out)["reports"]
    assert bounces["figures"]["reading"]["found"] == {"counted": 1, "of": 1}
    assert bounces["figures"]["reading"]["faults"] == []
    assert replies["figures"]["reading"]["classes"] == {"counted": 1, "of": 1}


@pytest.mark.parametrize(
    ("row", "fault"),
    [
        (_mail(kind="autoreply", is_bounce=False), "a false alarm"),
        (_mail(b"From: a@b.co\r\n\r\nhi"), "not found"),
        (_mail(recipients=["bob@example.com"]), "and not ['bob@example.com']"),
        (_mail(rows=[{"klass": "policy"}]), "invalid_mailbox and not policy"),
        (_mail(suppress=False), "wrongly suppressed"),
        ({"text": "550 unknown user", "klass": "policy", "hard": False}, "invalid_mailbox and not policy"),
    ],
)
def test_what_is_read_wrongly_misses_its_bar(tmp_path: Path, row: dict[str, Any], fault: str) -> None:
    _write(tmp_path / "x.jsonl", row)
    code, out, _err = _evaluate(tmp_path)
    assert code == 1
    assert fault in out


def test_what_is_not_judged_is_not_counted(tmp_path: Path) -> None:
    _write(tmp_path / "b.jsonl", _mail(kind="delayed"), _mail(agree=False, suppress=False, rows=[{"klass": "policy"}]))
    _code, out, _err = _evaluate(tmp_path, "--json")
    (report,) = json.loads(out)["reports"]
    reading = report["figures"]["reading"]
    assert reading["found"] == {"counted": 1, "of": 1}
    assert reading["classes"]["of"] == reading["wrongly_suppressed"]["of"] == 0
