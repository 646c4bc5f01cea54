"""The SMTP side: what goes in by a real conversation is kept byte for byte."""

from __future__ import annotations

import asyncio
import signal
import smtplib
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from app.inbox import Inbox
from app.inbox.keep import Keep
from app.inbox.server import refusal_of
from tests.inbox.client import Client, client_of, find_key, running_process, start_process

MESSAGE = b"From: Shop <shop@shop.example.test>\r\nSubject: Order 1\r\nMessage-ID: <1@shop.example.test>\r\n\r\nHello\r\n"


async def talk(port: int, *writes: bytes) -> bytes:
    """Each write at once after the greeting, then what came back until the server closed."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    await reader.readline()
    for piece in writes:
        writer.write(piece)
        await writer.drain()
    answer = await asyncio.wait_for(reader.read(), 10)
    writer.close()
    return answer


async def test_a_message_is_kept_byte_for_byte_with_its_envelope(inbox: Client) -> None:
    raw = MESSAGE + b".leading dot\r\n..two\r\n" + b"x" * 100_000 + b"\r\n8 bit: \xff\xfe\r\n"
    before = datetime.now(UTC) - timedelta(seconds=1)
    await inbox.send(raw, to=["jane@example.net", "bob@example.net"], mail_from="bounces+1@shop.example.test")
    kept = (await inbox.get("/api/messages")).json["messages"][0]
    assert kept["to"] == ["jane@example.net", "bob@example.net"]
    assert kept["mail_from"] == "bounces+1@shop.example.test"
    assert kept["from"] == "Shop <shop@shop.example.test>"
    assert kept["subject"] == "Order 1"
    assert kept["message_id"] == "<1@shop.example.test>"
    assert kept["size_bytes"] == len(raw)
    assert kept["dkim"] == "none"
    assert before < datetime.fromisoformat(kept["received_at"]) < datetime.now(UTC) + timedelta(seconds=1)
    answer = await inbox.get(f"/api/messages/{kept['id']}/raw")
    assert answer.headers["content-type"] == "message/rfc822"
    assert answer.content == raw


async def test_a_pipelined_conversation_is_offered_and_works(inbox: Client) -> None:
    port = inbox.smtp_port
    answer = await talk(
        port,
        b"EHLO relay.example.test\r\n",
        b"MAIL FROM:<a@shop.example.test> SIZE=200\r\nRCPT TO:<jane@example.net>\r\nDATA\r\n",
        MESSAGE + b".\r\nMAIL FROM:<b@shop.example.test>\r\nRCPT TO:<bob@example.net>\r\nDATA\r\n",
        MESSAGE + b".\r\nQUIT\r\n",
    )
    offered = {line[4:].split()[0] for line in answer.split(b"\r\n") if line.startswith((b"250-", b"250 HELP"))}
    assert {b"PIPELINING", b"SIZE", b"SMTPUTF8", b"8BITMIME"} <= offered
    codes = [line[:3] for line in answer.split(b"250 HELP\r\n")[1].splitlines()]
    assert codes == [b"250", b"250", b"354", b"250", b"250", b"250", b"354", b"250", b"221"]
    assert [kept["to"] for kept in (await inbox.get("/api/messages")).json["messages"]] == [["bob@example.net"], ["jane@example.net"]]


async def test_a_pipelined_group_is_answered_without_waiting_for_delayed_acknowledgements(inbox: Client) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", inbox.smtp_port)
    writer.write(b"EHLO x\r\n")
    await reader.readuntil(b"250 HELP\r\n")
    started = time.monotonic()
    for _ in range(50):
        writer.write(b"MAIL FROM:<a@b.test>\r\nRCPT TO:<c@d.test>\r\nDATA\r\n")
        await reader.readuntil(b"354 End data with <CR><LF>.<CR><LF>\r\n")
        writer.write(MESSAGE + b".\r\n")
        await reader.readuntil(b"250 2.0.0 Kept")
    assert time.monotonic() - started < 50 * 0.04
    writer.close()


async def test_a_refused_recipient_in_a_pipelined_group_leaves_nothing(inbox: Client) -> None:
    group = b"MAIL FROM:<a@b.test>\r\nRCPT TO:<bounce@example.net>\r\nDATA\r\nRSET\r\nQUIT\r\n"
    answer = await talk(inbox.smtp_port, b"EHLO x\r\n", group)
    codes = [line[:3] for line in answer.split(b"250 HELP\r\n")[1].splitlines()]
    assert codes == [b"250", b"550", b"503", b"250", b"221"]
    assert (await inbox.get("/api/messages")).json == {"messages": []}


async def test_utf8_addresses_and_the_null_return_path(inbox: Client) -> None:
    port = inbox.smtp_port
    await talk(
        port,
        b"EHLO x\r\n",
        "MAIL FROM:<> SMTPUTF8\r\nRCPT TO:<jürg@bücher.example>\r\nDATA\r\n".encode(),
        b"Subject: x\r\n\r\n.\r\nMAIL FROM:<a@b.test>\r\nRCPT TO:<junk\xff@b.test>\r\nDATA\r\n",
        b"Subject: y\r\n\r\n.\r\nQUIT\r\n",
    )
    junk, utf8 = (await inbox.get("/api/messages")).json["messages"]
    assert (utf8["mail_from"], utf8["to"]) == ("", ["jürg@bücher.example"])
    assert junk["to"] == ["junk\ufffd@b.test"]


async def test_what_is_too_large_is_refused(tmp_path: Path) -> None:
    small = Inbox(tmp_path, find_key=find_key, max_message_bytes=10_000)
    await small.start()
    with pytest.raises(smtplib.SMTPResponseException) as refusal:
        await client_of(small).send(MESSAGE + b"x\r\n" * 10_000)
    await small.close()
    assert refusal.value.smtp_code == 552
    assert len(small.keep) == 0


async def test_a_full_disk_is_a_temporary_refusal(tmp_path: Path) -> None:
    full = Inbox(tmp_path, find_key=find_key)
    await full.start()
    full.keep.directory = tmp_path / "gone"
    with pytest.raises(smtplib.SMTPDataError) as refusal:
        await client_of(full).send(MESSAGE)
    await full.close()
    assert refusal.value.smtp_code == 452
    assert len(full.keep) == 0


@pytest.mark.parametrize(
    ("address", "code"),
    [
        ("bounce@example.net", "550"),
        ("Bounce@example.net", "550"),
        ("jane+bounce@example.net", "550"),
        ("bounce-7@example.net", "550"),
        ("defer@example.net", "451"),
        ("jane.defer@example.net", "451"),
        ("jane@bounce.example.net", None),
        ("bouncer@example.net", None),
        ("deferred@example.net", None),
        ("postmaster", None),
    ],
)
def test_words_of_the_local_part_ask_for_a_refusal(address: str, code: str | None) -> None:
    refusal = refusal_of(address)
    assert (refusal and refusal[:3]) == code


def add(keep: Keep, raw: bytes = MESSAGE, *, to: str = "jane@example.net", at: datetime | None = None) -> str:
    return keep.add(raw, mail_from="a@b.test", rcpt_to=[to], peer="127.0.0.1:1", received_at=at or datetime.now(UTC)).id


def test_messages_survive_a_restart(tmp_path: Path) -> None:
    keep = Keep(tmp_path)
    ids = [add(keep, MESSAGE + str(number).encode()) for number in range(5)]
    again = Keep(tmp_path)
    assert [kept.id for kept in again.newest(10)] == ids[::-1]
    assert again.newest(10) == keep.newest(10)
    assert again.read(again.newest(1)[0]) == MESSAGE + b"4"
    assert add(again) > ids[-1]


def test_what_an_interrupted_write_left_is_deleted_and_nothing_else(tmp_path: Path) -> None:
    keep = Keep(tmp_path)
    whole, torn, headless = add(keep), add(keep), add(keep)
    (tmp_path / f"{torn}.json").write_text("{")
    (tmp_path / f"{headless}.json").unlink()
    (tmp_path / "0123456789abcdef.eml.part").write_bytes(b"half")
    (tmp_path / "notes.json").write_text("mine")
    assert [kept.id for kept in Keep(tmp_path).newest(10)] == [whole]
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"{whole}.eml", f"{whole}.json", "notes.json"]


def test_the_oldest_give_way_by_count_and_by_size(tmp_path: Path) -> None:
    keep = Keep(tmp_path, max_messages=3)
    ids = [add(keep) for _ in range(5)]
    assert [kept.id for kept in keep.newest(10)] == ids[:1:-1]
    assert len(list(tmp_path.iterdir())) == 6
    bounded = Keep(tmp_path, max_bytes=2 * len(MESSAGE))
    assert [kept.id for kept in bounded.newest(10)] == ids[:2:-1]


def test_ids_sort_by_arrival_even_when_the_clock_steps_back(tmp_path: Path) -> None:
    keep = Keep(tmp_path)
    now = datetime.now(UTC)
    ids = [add(keep, at=now), add(keep, at=now), add(keep, at=now - timedelta(hours=2))]
    assert ids == sorted(ids)
    assert len(set(ids)) == 3


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
async def test_run_serves_until_it_is_told_to_stop_and_is_quiet(tmp_path: Path, stop: signal.Signals) -> None:
    async with running_process(tmp_path) as (process, client):
        await client.send(MESSAGE)
        assert len((await client.get("/api/messages")).json["messages"]) == 1
        process.send_signal(stop)
        output, _ = await asyncio.to_thread(process.communicate, timeout=10)
        assert (process.returncode, output) == (0, b"")


async def test_a_taken_port_is_one_clear_line(inbox: Client, tmp_path: Path) -> None:
    process = start_process(tmp_path, smtp_port=inbox.smtp_port, http_port=0)
    output, _ = await asyncio.to_thread(process.communicate, timeout=20)
    assert process.returncode == 1
    assert len(output.splitlines()) == 1
    assert str(inbox.smtp_port).encode() in output
