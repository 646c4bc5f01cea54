"""Whatever is sent: a 4xx problem of the right shape, nothing stored, never a 500."""

from __future__ import annotations

import base64
import gzip
import json
import re
from typing import Any

import pytest

GOOD: dict[str, Any] = {"from": "orders@shop.example.test", "to": "ada@example.com", "subject": "Your order", "text": "Thank you."}
GOOD_BYTES = json.dumps(GOOD).encode()
LONE = "\ud800"


def check_problem(answer: Any, statuses: tuple[int, ...] = (400, 413, 415, 422)) -> dict[str, Any]:
    """The answer is a whole problem document of one of these statuses."""
    assert answer.status_code in statuses, (answer.status_code, answer.content[:500])
    assert answer.headers["content-type"] == "application/problem+json"
    problem: dict[str, Any] = json.loads(answer.content.decode())
    assert problem.keys() - {"errors"} == {"type", "title", "status", "detail", "code", "request_id"}
    assert problem["status"] == answer.status_code
    assert problem["type"] == f"/problems/{problem['code']}"
    assert problem["request_id"] == answer.headers["x-request-id"]
    assert problem["detail"]
    for error in problem.get("errors", []):
        assert error.keys() == {"pointer", "code", "detail"}
        assert re.fullmatch(r"(#(/[!-~]*)*|\?[a-z_]+)", error["pointer"])
        assert error["code"]
        assert error["detail"]
    return problem


UNREADABLE: dict[str, bytes] = {
    "nothing": b"",
    "space": b"  ",
    "a word": b"hello",
    "half an object": b'{"from":',
    "half a string": b'{"from":"a',
    "two values": GOOD_BYTES + GOOD_BYTES,
    "trailing comma": GOOD_BYTES[:-1] + b",}",
    "single quotes": b"{'from':'a@b'}",
    "comment": b"/* */" + GOOD_BYTES,
    "NaN": b'{"from":NaN}',
    "-NaN": b'{"from":-NaN}',
    "Infinity": b'{"from":Infinity}',
    "-Infinity": b'{"from":-Infinity}',
    "NaN in a list": b"[NaN]",
    "leading zero": b'{"from":01}',
    "plus": b'{"from":+1}',
    "hexadecimal": b'{"from":0x1}',
    "5,000 digits": b'{"from":' + b"1" * 5000 + b"}",
    "5,000 digits, negative": b'{"from":-' + b"9" * 5000 + b"}",
    "100,000 lists": b"[" * 100_000 + b"]" * 100_000,
    "100,000 lists, open": b"[" * 100_000,
    "100,000 objects": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "deep inside a field": b'{"metadata":' + b"[" * 50_000 + b"]" * 50_000 + b"}",
    "UTF-16 with BOM": json.dumps(GOOD).encode("utf-16"),
    "UTF-16 LE": json.dumps(GOOD).encode("utf-16-le"),
    "UTF-32": json.dumps(GOOD).encode("utf-32"),
    "UTF-8 with BOM": b"\xef\xbb\xbf" + GOOD_BYTES,
    "Latin-1": '{"subject":"Größe"}'.encode("latin-1"),
    "overlong UTF-8": b'{"subject":"\xc0\xaf"}',
    "raw surrogate": b'{"subject":"\xed\xa0\x80"}',
    "cut UTF-8": b'{"subject":"\xe2\x82"}',
    "0xff": b"\xff\xfe\xff",
    "raw NUL": b'{"subject":"a\x00b"}',
    "raw LF in a string": b'{"subject":"a\nb"}',
    "raw tab in a string": b'{"subject":"a\tb"}',
    "bad escape": b'{"subject":"\\x41"}',
    "short escape": b'{"subject":"\\u00"}',
    "name twice": b'{"from":"a@shop.example.test","from":"b@shop.example.test","to":"a@b.cd","subject":"s","text":"t"}',
    "name twice, escaped": b'{"from":"a@shop.example.test","\\u0066rom":"b@shop.example.test","to":"a@b.cd","subject":"s","text":"t"}',
    "name twice, inside": b'{"metadata":{"a":"1","a":"2"}}',
    "a million names": b"{" + b",".join(b'"%d":1' % n for n in range(100_000)) + b"}",
    "form": b"from=a&to=b",
    "XML": b"<message/>",
    "gzip": gzip.compress(GOOD_BYTES),
    "JSON lines": GOOD_BYTES + b"\n" + GOOD_BYTES,
}


@pytest.mark.parametrize("name", UNREADABLE)
@pytest.mark.parametrize("path", ["/v1/messages", "/v1/messages/batch", "/v1/keys"])
async def test_unreadable_bodies(shop: Any, count_rows: Any, name: str, path: str) -> None:
    before = await count_rows()
    answer = await shop.client.post(path, content=UNREADABLE[name], headers={"Content-Type": "application/json"})
    statuses = (413,) if len(UNREADABLE[name]) > 16 * 1024 and path == "/v1/keys" else (400,)
    check_problem(answer, statuses)
    assert await count_rows() == before


def with_(**fields: Any) -> dict[str, Any]:
    return GOOD | fields


def without(*names: str) -> dict[str, Any]:
    return {name: value for name, value in GOOD.items() if name not in names}


def file_(**fields: Any) -> dict[str, Any]:
    return with_(attachments=[{"filename": "a.txt", "content": "YQ=="} | fields])


# name → (body, pointer of an error)
WRONG: dict[str, tuple[Any, str]] = {
    "null": (None, "#"),
    "a list": ([GOOD], "#"),
    "a string": ("text", "#"),
    "a number": (1, "#"),
    "true": (True, "#"),
    "an empty object": ({}, "#/from"),
    "no from": (without("from"), "#/from"),
    "no subject": (without("subject"), "#/subject"),
    "no recipient": (without("to"), "#/to"),
    "no text": (without("text"), "#"),
    "unknown field": (with_(account_id=2), "#/account_id"),
    "unknown field, id": (with_(id="msg_1"), "#/id"),
    "unknown field, state": (with_(state="delivered"), "#/state"),
    "unknown field with odd name": (with_(**{"a/b~c é\u2028": 1}), "#/a~1b~0c%20%C3%A9%E2%80%A8"),
    "unknown field, lone surrogate": (with_(**{LONE: 1}), "#"),
    "python's name of from": (with_(from_="x@shop.example.test"), "#/from_"),
    "from null": (with_(**{"from": None}), "#/from"),
    "from a number": (with_(**{"from": 5}), "#/from"),
    "from a list": (with_(**{"from": ["orders@shop.example.test"]}), "#/from"),
    "from empty": (with_(**{"from": ""}), "#/from"),
    "from without @": (with_(**{"from": "orders"}), "#/from"),
    "from object, empty": (with_(**{"from": {}}), "#/from/email"),
    "from object, wrong": (with_(**{"from": {"email": "x"}}), "#/from/email"),
    "from two addresses": (with_(**{"from": "a@shop.example.test, b@shop.example.test"}), "#/from"),
    "from a group": (with_(**{"from": "all: a@shop.example.test;"}), "#/from"),
    "to empty": (with_(to=""), "#/to"),
    "to an empty list": (with_(to=[]), "#/to"),
    "to null": (with_(to=None), "#/to"),
    "to a number": (with_(to=1.5), "#/to"),
    "to a list of numbers": (with_(to=[1, 2]), "#/to/0"),
    "to a list of lists": (with_(to=[["ada@example.com"]]), "#/to/0"),
    "to unknown field": (with_(to=[{"email": "ada@example.com", "x": 1}]), "#/to/0/x"),
    "to no email": (with_(to=[{"name": "Ada"}]), "#/to/0/email"),
    "to email wrong": (with_(to=["ada@example.com", {"email": "ada"}]), "#/to/1/email"),
    "to email a list": (with_(to={"email": ["ada@example.com"]}), "#/to/email"),
    "to name null": (with_(to={"email": "ada@example.com", "name": None}), "#/to/name"),
    "to NUL": (with_(to="a\0da@example.com"), "#/to"),
    "to lone surrogate": (with_(to="a" + LONE + "@example.com"), "#/to"),
    "to IP literal": (with_(to="ada@[127.0.0.1]"), "#/to"),
    "to no dot": (with_(to="ada@localhost"), "#/to"),
    "to too long": (with_(to="a" * 65 + "@example.com"), "#/to"),
    "to a long string": (with_(to="a" * 100_000), "#/to"),
    "to CRLF": (with_(to="ada@example.com\r\nBcc: eve@example.com"), "#/to"),
    "to too many": (with_(to=[f"a{n}@example.com" for n in range(51)]), "#/to"),
    "to far too many": (with_(to=[f"a{n}@b.cd" for n in range(5001)]), "#/to"),
    "to many wrong": (with_(to=[1] * 100_000), "#/to/0"),
    "cc wrong": (with_(cc=["ada@example.com", "eve"]), "#/cc/1"),
    "bcc wrong": (with_(bcc={"email": "a@b@c.de"}), "#/bcc/email"),
    "reply_to wrong": (with_(reply_to="<>"), "#/reply_to"),
    "subject null": (with_(subject=None), "#/subject"),
    "subject a number": (with_(subject=1), "#/subject"),
    "subject big integer": (with_(subject=10**4000), "#/subject"),
    "subject 1e999": (with_(subject=float("1e308")), "#/subject"),
    "subject too long": (with_(subject="x" * 20_001), "#/subject"),
    "subject NUL": (with_(subject="a\0b"), "#/subject"),
    "subject lone surrogate": (with_(subject=LONE), "#/subject"),
    "subject reversed pair": (with_(subject="\udc00\ud800"), "#/subject"),
    "html a list": (with_(html=["<p>"]), "#/html"),
    "html NUL": (with_(html="<p>\0</p>"), "#/html"),
    "html lone surrogate": (with_(html="<p>" + LONE), "#/html"),
    "text false": (with_(text=False), "#/text"),
    "text NUL": (with_(text="\0"), "#/text"),
    "text lone surrogate": (with_(text="\udfff"), "#/text"),
    "headers a list": (with_(headers=[["X-A", "b"]]), "#/headers"),
    "headers a number": (with_(headers={"X-A": 1}), "#/headers/X-A"),
    "headers nested": (with_(headers={"X-A": {"b": "c"}}), "#/headers/X-A"),
    "headers lone surrogate": (with_(headers={"X-A": LONE}), "#/headers/X-A"),
    "headers too many": (with_(headers={f"X-{n}": "v" for n in range(101)}), "#/headers"),
    "header too long": (with_(headers={"X-A": "v" * 10_001}), "#/headers/X-A"),
    "header of one long word": (with_(headers={"X-A": "v" * 2000}), "#/headers/X-A"),
    "tags a string": (with_(tags="a"), "#/tags"),
    "tags empty": (with_(tags=[""]), "#/tags/0"),
    "tags too many": (with_(tags=["a"] * 11), "#/tags"),
    "tag too long": (with_(tags=["a" * 65]), "#/tags/0"),
    "tag NUL": (with_(tags=["a\0"]), "#/tags/0"),
    "tag lone surrogate": (with_(tags=[LONE]), "#/tags/0"),
    "tag a number": (with_(tags=["a", 1]), "#/tags/1"),
    "metadata a number": (with_(metadata={"a": 1}), "#/metadata/a"),
    "metadata nested": (with_(metadata={"a": {}}), "#/metadata/a"),
    "metadata NUL": (with_(metadata={"a": "\0"}), "#/metadata/a"),
    "metadata NUL in name": (with_(metadata={"a\0": "b"}), "#/metadata/a%00"),
    "metadata lone surrogate": (with_(metadata={"a": LONE}), "#/metadata/a"),
    "metadata lone surrogate in name": (with_(metadata={LONE: "a"}), "#/metadata/%3F"),
    "metadata too many": (with_(metadata={str(n): "" for n in range(21)}), "#/metadata"),
    "metadata too long": (with_(metadata={"a": "x" * 4096}), "#/metadata"),
    "metadata a list": (with_(metadata=[]), "#/metadata"),
    "stream unknown": (with_(stream="urgent"), "#/stream"),
    "stream null": (with_(stream=None), "#/stream"),
    "send_at a number": (with_(send_at=1_800_000_000), "#/send_at"),
    "send_at no offset": (with_(send_at="2030-06-01T09:00:00"), "#/send_at"),
    "send_at a date": (with_(send_at="2030-06-01"), "#/send_at"),
    "send_at no such day": (with_(send_at="2030-02-30T09:00:00Z"), "#/send_at"),
    "send_at leap second": (with_(send_at="2030-06-30T23:59:60Z"), "#/send_at"),
    "send_at year 0": (with_(send_at="0000-01-01T00:00:00Z"), "#/send_at"),
    "send_at before year 1": (with_(send_at="0001-01-01T00:00:00+23:59"), "#/send_at"),
    "send_at after year 9999": (with_(send_at="9999-12-31T23:59:59-23:59"), "#/send_at"),
    "send_at far": (with_(send_at="2999-01-01T00:00:00Z"), "#/send_at"),
    "send_at Arabic digits": (with_(send_at="٢٠٣٠-06-01T09:00:00Z"), "#/send_at"),
    "send_at words": (with_(send_at="in 1 hour"), "#/send_at"),
    "expires_at past": (with_(expires_at="2020-01-01T00:00:00Z"), "#/expires_at"),
    "expires_at far": (with_(expires_at="2999-01-01T00:00:00Z"), "#/expires_at"),
    "expires_at null string": (with_(expires_at="null"), "#/expires_at"),
    "attachments an object": (with_(attachments={}), "#/attachments"),
    "attachments too many": (with_(attachments=[{"filename": "a", "content": ""}] * 101), "#/attachments"),
    "attachments many wrong": (with_(attachments=[{}] * 100_000), "#/attachments/0/filename"),
    "attachment no name": (with_(attachments=[{"content": ""}]), "#/attachments/0/filename"),
    "attachment empty name": (file_(filename=""), "#/attachments/0/filename"),
    "attachment no content": (with_(attachments=[{"filename": "a"}]), "#/attachments/0/content"),
    "attachment not base64": (file_(content="not base64!"), "#/attachments/0/content"),
    "attachment URL-safe base64": (file_(content="_-8="), "#/attachments/0/content"),
    "attachment no padding": (file_(content="YQ"), "#/attachments/0/content"),
    "attachment with text after": (file_(content="YQ==YQ=="), "#/attachments/0/content"),
    "attachment lone surrogate": (file_(content=LONE), "#/attachments/0/content"),
    "attachment not ASCII": (file_(content="é==="), "#/attachments/0/content"),
    "attachment type wrong": (file_(content_type="text"), "#/attachments/0/content_type"),
    "attachment path": (file_(path="/etc/passwd"), "#/attachments/0/path"),
    "attachment inline without id": (file_(disposition="inline"), "#/attachments/0/content_id"),
    "attachment disposition unknown": (file_(disposition="form-data"), "#/attachments/0/disposition"),
    "attachment both": (file_(disposition="attachment", content_id="a"), "#/attachments/0/disposition"),
    "attachment content id with space": (file_(content_id="a b"), "#/attachments/0/content_id"),
}


@pytest.mark.parametrize("name", WRONG)
async def test_wrong_bodies(shop: Any, count_rows: Any, name: str) -> None:
    body, pointer = WRONG[name]
    before = await count_rows()
    raw = json.dumps(body).encode()
    problem = check_problem(await shop.client.post("/v1/messages", content=raw, headers={"Content-Type": "application/json"}), (422,))
    assert problem["code"] == "invalid_message"
    assert pointer in [error["pointer"] for error in problem["errors"]]
    # The same in a batch is refused alone.
    together = json.dumps({"messages": [GOOD, body]}).encode()
    if len(together) < 1_000_000:
        answer = await shop.client.post("/v1/messages/batch", content=together, headers={"Content-Type": "application/json"})
        assert answer.status_code == 207
        good, bad = answer.json()["results"]
        assert good["status"] == "accepted"
        assert bad["status"] == "refused"
        assert pointer in [error["pointer"] for error in bad["problem"]["errors"]]
        before += 1
    assert await count_rows() == before


async def test_numbers_beyond_floats(shop: Any) -> None:
    for number in (b"1e999", b"-1e999", b"1" + b"0" * 400, b"1E400", b"0.1e-999"):
        raw = GOOD_BYTES[:-1] + b',"tags":' + number + b"}"
        problem = check_problem(await shop.client.post("/v1/messages", content=raw, headers={"Content-Type": "application/json"}), (422,))
        assert problem["errors"][0]["pointer"] == "#/tags"


async def test_many_faults_are_told_at_once(shop: Any) -> None:
    body = with_(to=["eve", {"email": "x@"}], cc="@", subject="a\nb", tags=["\n"], headers={"Bcc": "a"}, send_at="soon", html="\0")
    problem = check_problem(await shop.client.post("/v1/messages", json=body), (422,))
    pointers = {error["pointer"] for error in problem["errors"]}
    assert pointers == {"#/to/0", "#/to/1/email", "#/cc", "#/subject", "#/tags/0", "#/headers/Bcc", "#/send_at", "#/html"}


@pytest.mark.parametrize(
    "content_type",
    [None, "", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "application/json; charset=utf-16"],
)
async def test_other_content_types(shop: Any, content_type: str | None) -> None:
    headers = {} if content_type is None else {"Content-Type": content_type}
    check_problem(await shop.client.post("/v1/messages", content=GOOD_BYTES, headers=headers), (415,))


@pytest.mark.parametrize("content_type", ["application/json", "application/json; charset=utf-8", "Application/JSON;charset=UTF-8"])
async def test_content_types_that_are_json(shop: Any, content_type: str) -> None:
    answer = await shop.client.post("/v1/messages", content=GOOD_BYTES, headers={"Content-Type": content_type})
    assert answer.status_code == 202


@pytest.mark.parametrize("encoding", ["gzip", "br", "deflate", "zstd", "gzip, gzip"])
async def test_compressed_bodies(shop: Any, encoding: str) -> None:
    headers = {"Content-Type": "application/json", "Content-Encoding": encoding}
    check_problem(await shop.client.post("/v1/messages", content=gzip.compress(GOOD_BYTES), headers=headers), (415,))


@pytest.mark.parametrize("key", ["", " ", "a b", "é", "a" * 256, '""', "\x7f", "a\tb"])
async def test_idempotency_keys_that_are_none(shop: Any, key: str) -> None:
    headers = {b"Content-Type": b"application/json", b"Idempotency-Key": key.encode("latin-1")}
    check_problem(await shop.client.post("/v1/messages", content=GOOD_BYTES, headers=headers), (422,))


async def test_too_large(shop: Any, house: Any) -> None:
    large = json.dumps(with_(text="x" * house.settings.max_request_bytes)).encode()
    check_problem(await shop.client.post("/v1/messages", content=large, headers={"Content-Type": "application/json"}), (413,))
    # Within the request's bound, but not within the message's: by its text, and by its files before they are decoded.
    for body in (with_(text="x" * 1_100_000), file_(content=base64.b64encode(bytes(1_000_000)).decode())):
        problem = check_problem(await shop.client.post("/v1/messages", json=body), (413,))
        assert problem["code"] == "message_too_large"


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({}, "#/messages"),
        ([], "#"),
        ({"messages": None}, "#/messages"),
        ({"messages": {}}, "#/messages"),
        ({"messages": []}, "#/messages"),
        ({"messages": [GOOD] * 1001}, "#/messages"),
        ({"messages": [GOOD], "x": 1}, "#"),
    ],
)
async def test_batches_that_are_none(shop: Any, count_rows: Any, body: Any, pointer: str) -> None:
    before = await count_rows()
    problem = check_problem(await shop.client.post("/v1/messages/batch", json=body), (422,))
    assert problem["code"] == "invalid_request"
    assert pointer in [error["pointer"] for error in problem["errors"]]
    assert await count_rows() == before


def test_there_are_enough() -> None:
    assert len(UNREADABLE) + len(WRONG) >= 150
