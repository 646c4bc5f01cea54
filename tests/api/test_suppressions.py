"""/v1/suppressions and its files."""

from __future__ import annotations

import asyncio
import csv
import io
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

import pytest

from app.api.suppression_files import ImportedSuppressions
from app.api.suppressions import Reactivated, SuppressionPage, SuppressionStatus


async def add(tenant: Any, *rows: Any) -> Any:
    answer = await tenant.client.post("/v1/suppressions", json={"suppressions": list(rows)})
    assert answer.status_code == 200, answer.text
    return answer.json()


async def import_csv(tenant: Any, content: bytes | AsyncIterator[bytes], content_type: str = "text/csv") -> Any:
    return await tenant.client.post("/v1/suppressions/import", content=content, headers={"content-type": content_type})


async def test_added_addresses_are_refused_with_the_reason_by_stream(shop: Any, rival: Any) -> None:
    rows = [{"email": "Left@X.test", "stream": "bulk", "reason": "unsubscribe"}, {"email": "gone@x.test", "reason": "invalid_mailbox"}]
    assert await add(shop, *rows) == {"added": 2, "known": 0}
    assert await add(shop, *rows, rows[0]) == {"added": 0, "known": 3}

    async def fates(tenant: Any, **fields: Any) -> list[tuple[str, str | None]]:
        accepted = await tenant.send(to=["left@x.test", "gone@x.test", "ada@x.test"], **fields)
        return [(one["state"], one["reason"]) for one in accepted["recipients"]]

    assert await fates(shop, stream="bulk") == [("suppressed", "unsubscribe"), ("suppressed", "invalid_mailbox"), ("ready", None)]
    assert await fates(shop) == [("ready", None), ("suppressed", "invalid_mailbox"), ("ready", None)]
    assert await fates(rival, stream="bulk") == [("ready", None)] * 3


async def test_pages_and_filters(shop: Any, rival: Any) -> None:
    for place in range(7):
        await add(shop, {"email": f"page{place}@y.test", "stream": "bulk" if place % 2 else "*", "reason": "import"})
    seen: list[str] = []
    cursor = None
    while True:
        parameters = {"limit": 2, "reason": "import"} | ({"cursor": cursor} if cursor else {})
        answer = await shop.client.get("/v1/suppressions", params=parameters)
        page = SuppressionPage.model_validate_json(answer.content)
        seen += [one.email for one in page.suppressions]
        cursor = page.next
        if cursor is None:
            break
    assert seen == [f"page{place}@y.test" for place in reversed(range(7))]
    newest = (await shop.client.get("/v1/suppressions", params={"limit": 1})).json()["suppressions"][0]
    only = await shop.client.get("/v1/suppressions", params={"since": newest["created_at"], "stream": "*", "reason": "import"})
    assert [one["email"] for one in only.json()["suppressions"]] == ["page6@y.test"]
    assert (await rival.client.get("/v1/suppressions", params={"reason": "import"})).json()["suppressions"] == []


async def test_reactivation_is_written_down(shop: Any, rival: Any) -> None:
    await add(shop, {"email": "back@x.test", "stream": "bulk"}, {"email": "back@x.test", "reason": "complaint"})
    path = "/v1/suppressions/back@x.test"
    assert (await rival.client.get(path)).status_code == 404
    assert (await rival.client.delete(path, params={"confirm": "true"})).status_code == 404
    assert (await shop.client.delete(path)).status_code == 409
    lifted = await shop.client.delete("/v1/suppressions/Back@X.TEST", params={"stream": "bulk"})
    assert [one.reason for one in Reactivated.model_validate_json(lifted.content).reactivated] == ["manual"]
    status = SuppressionStatus.model_validate_json((await shop.client.get(path)).content)
    assert [(one.stream, one.reason) for one in status.suppressions] == [("*", "complaint")]
    (key,) = [one["id"] for one in (await shop.client.get("/v1/keys")).json()["keys"] if one["name"] == "test"]
    assert [(one.stream, one.lifted_by) for one in status.reactivations] == [("bulk", key)]
    assert status.suppressions[0].added_by == key
    assert (await shop.client.delete(path, params={"confirm": "true"})).status_code == 200
    assert (await shop.send(to="back@x.test", stream="bulk"))["recipients"][0]["state"] == "ready"
    assert (await shop.client.get(path)).json()["suppressions"] == []
    assert (await shop.client.delete(path)).status_code == 404


@pytest.mark.parametrize("email", ["a/b+c%d@x.test", '"two words"@x.test', "ünï@x.test", "export@x.test"])
async def test_addresses_of_all_kinds_have_a_path(shop: Any, email: str) -> None:
    await add(shop, {"email": email})
    path = f"/v1/suppressions/{quote(email, safe='')}"
    assert (await shop.client.get(path)).json()["email"] == email
    assert (await shop.client.delete(path)).status_code == 200


@pytest.mark.parametrize("email", ["x", "%00", "%ff@x.test", "a" * 500 + "@x.test", "nobody@x.test"])
async def test_addresses_that_are_not_there(shop: Any, email: str) -> None:
    assert (await shop.client.get(f"/v1/suppressions/{email}")).status_code == 404
    assert (await shop.client.delete(f"/v1/suppressions/{email}")).status_code == 404


@pytest.mark.parametrize(
    ("row", "pointer"),
    [
        ({"email": "x"}, "email"),
        ({"email": "a@b.test\r\n"}, "email"),
        ({"email": "a@b.test", "stream": "nothing"}, "stream"),
        ({"email": "a@b.test", "stream": "\0"}, "stream"),
        ({"email": "a@b.test", "reason": "because"}, "reason"),
        ({"email": "a@b.test", "note": "x"}, "note"),
        ({}, "email"),
    ],
)
async def test_wrong_rows_sink_all(shop: Any, row: Any, pointer: str) -> None:
    answer = await shop.client.post("/v1/suppressions", json={"suppressions": [{"email": "good@w.test"}, row]})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == f"#/suppressions/1/{pointer}"
    assert (await shop.client.get("/v1/suppressions/good@w.test")).status_code == 404


async def test_at_most_a_thousand_at_a_time(shop: Any) -> None:
    rows = [{"email": f"n{number}@many.test"} for number in range(1001)]
    assert (await shop.client.post("/v1/suppressions", json={"suppressions": rows})).status_code == 422
    assert (await add(shop, *rows[:1000]))["added"] == 1000


@pytest.mark.parametrize("cursor", ["x", "czAw", "c" * 700, "", "%00"])
async def test_cursors_of_nothing(shop: Any, cursor: str) -> None:
    answer = await shop.client.get("/v1/suppressions", params={"cursor": cursor})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == "?cursor"


async def test_a_file_comes_in_line_by_line_and_goes_out_again(rival: Any) -> None:
    lines = [
        b"\xef\xbb\xbfReason,Email,When,Stream\r\n",
        b"unsubscribe,ada@f.test,2020,bulk\r\n",
        b",bob@f.test\r\n",
        b"\r\n",
        b'"complaint","""two words""@f.test",,*\n',
        b",no address,,\n",
        b"whim,eve@f.test\n",
        b",\xff@f.test\n",
        b",eve@f.test,,nothing\n",
        b",e\rve@f.test\n",
        b",ADA@f.test,,bulk\n",
        b",%s@f.test\n" % (b"a" * 5000),
        b"invalid_domain,last@f.test",
    ]
    answer = await import_csv(rival, b"".join(lines), "text/csv; charset=utf-8")
    told = ImportedSuppressions.model_validate_json(answer.content)
    assert (told.added, told.known, told.refused) == (4, 1, 6)
    assert [(one.line, one.code) for one in told.errors] == [
        (6, "invalid_address"),
        (7, "unknown_value"),
        (8, "invalid_text"),
        (9, "unknown_stream"),
        (10, "invalid_text"),
        (12, "too_long"),
    ]
    exported = await rival.client.get("/v1/suppressions/export")
    assert exported.headers["content-type"].startswith("text/csv")
    rows = list(csv.DictReader(io.StringIO(exported.text)))
    assert {(row["email"], row["stream"], row["reason"]) for row in rows} == {
        ("ada@f.test", "bulk", "unsubscribe"),
        ("bob@f.test", "*", "import"),
        ('"two words"@f.test', "*", "complaint"),
        ("last@f.test", "*", "invalid_domain"),
    }
    again = (await import_csv(rival, exported.content)).json()
    assert (again["added"], again["known"], again["refused"]) == (0, 4, 0)


async def test_a_plain_list_of_addresses_and_a_spreadsheets_semicolons(shop: Any) -> None:
    assert (await import_csv(shop, b"one@g.test\ntwo@g.test\n")).json()["added"] == 2
    assert (await import_csv(shop, b"email;stream\nthree@g.test;bulk\n")).json()["added"] == 1
    assert (await import_csv(shop, b"")).json()["added"] == 0


async def test_a_large_file_has_more_than_a_slice(shop: Any) -> None:
    content = b"".join(b"large%d@g.test,bulk\n" % number for number in range(12_001))
    assert (await import_csv(shop, content)).json()["added"] == 12_001
    exported = await shop.client.get("/v1/suppressions/export")
    assert exported.text.count("\nlarge") == 12_001
    assert {line[-1] for line in exported.text.splitlines()[1:]} == {"Z"}, "times as everywhere"


@pytest.mark.parametrize(("content", "content_type", "status"), [(b"a@b.test", "text/plain", 415), (b"x" * 100_000, "text/csv", 400)])
async def test_files_that_are_none(shop: Any, content: bytes, content_type: str, status: int) -> None:
    assert (await import_csv(shop, content, content_type)).status_code == status


async def test_a_file_of_wrong_lines_is_not_read_to_its_end_and_keeps_nobody_waiting(shop: Any) -> None:
    turns, stop = 0, asyncio.Event()

    async def watch() -> None:
        nonlocal turns
        while not stop.is_set():
            turns += 1
            await asyncio.sleep(0)

    watching = asyncio.create_task(watch())
    read = 0

    async def pieces() -> AsyncIterator[bytes]:
        nonlocal read
        yield b"good@wrong-lines.test\n"
        for _ in range(100):
            read += 1
            yield b"a\n" * 32_768

    answer = await import_csv(shop, pieces())
    stop.set()
    await watching
    assert answer.status_code == 422
    assert "1 addresses were added" in answer.json()["detail"]
    assert read < 5
    assert turns > 40, "others had their turns within a piece"


async def test_a_file_with_many_wrong_lines_beside_more_good_ones_is_read_to_its_end(shop: Any) -> None:
    lines = [f"a{n}@many-lines.test\nwrong\n" for n in range(11_000)]
    answer = await import_csv(shop, ("z@many-lines.test\n" + "".join(lines) + "last@many-lines.test\n").encode())
    told = answer.json()
    assert (told["added"], told["refused"]) == (11_002, 11_000)
