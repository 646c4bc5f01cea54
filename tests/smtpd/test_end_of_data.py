"""The end of data is CR LF . CR LF: whatever else some server takes for it makes one message or a refusal here, never two."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.smtpd.content import read_to_end, tidy
from app.smtpd.replies import Refusal
from tests.smtpd.conftest import OpenDoor
from tests.smtpd.dialogue import Dialogue

# What is not the end of data, though one server or another has taken it for it.
VARIANTS = [
    b"\n.\n",
    b"\n.\r\n",
    b"\r\n.\n",
    b"\r.\r",
    b"\r\n.\r",
    b"\r.\r\n",
    b"\r.\n",
    b"\n.\r",
    b"\r\r\n.\r\r\n",
    b"\r\n.\r\r\n",
    b"\r\n\0.\r\n",
    b"\r\n.\0\r\n",
    b"\0\r\n.\0\r\n",
    b"\n\n.\r\r\n",
    b"\r\n. \r\n",
    b"\x85.\x85",
    b"\r\n..\r\n",
    b"\x0b.\x0b",
]
SMUGGLED = b"MAIL FROM:<evil@shop.example.test>\r\nRCPT TO:<victim@example.com>\r\nDATA\r\nSubject: smuggled\r\n\r\nsmuggled\r\n"


@pytest.mark.parametrize("variant", VARIANTS, ids=repr)
@pytest.mark.parametrize("implicit", [False, True], ids=["starttls", "tls"])
async def test_one_message_or_a_refusal(door: OpenDoor, variant: bytes, implicit: bool) -> None:
    client = await Dialogue.log_in(door, implicit=implicit)
    for command in ("MAIL FROM:<orders@shop.example.test>", "RCPT TO:<ada@example.com>", "DATA"):
        assert (await client.ask(command))[0] in "23"
    client.write(b"Subject: one\r\n\r\nfirst" + variant + SMUGGLED + b"\r\n.\r\n")
    reply = await client.reply()
    assert reply.startswith(("250 2.0.0", "554 5.6.0")), reply
    # Nothing of it was a command: the next reply is the next command's.
    assert await client.ask("NOOP") == "250 2.0.0 OK"
    assert len(door.taken) == reply.startswith("250")
    for _, raw in door.taken:
        assert [each.address for each in raw.recipients] == ["ada@example.com"]
        assert raw.raw.count(b"\n") == raw.raw.count(b"\r") == raw.raw.count(b"\r\n")
        assert b"smuggled" in raw.raw and b"\0" not in raw.raw
    await client.close()


@pytest.mark.parametrize("limit", [8, 16, 64, 1024])
@pytest.mark.parametrize("step", [1, 2, 3, 7, 10_000])
async def test_the_end_is_found_wherever_the_packets_are_cut(limit: int, step: int) -> None:
    contents = [b"", b"\r\n", b"\r\n\r\n", b"a", b"a\r\n", b"\r\n..", b"..", b"..\r\n", b"\r", b"\r\n\r", b"x" * 200, b"\r\n" * 700, b".\r"]
    for content in contents:
        whole = content if not content or content.endswith(b"\r\n") else content + b"\r\n"
        reader = asyncio.StreamReader(limit=limit)
        sent = whole + b".\r\nNEXT\r\n"
        taken: list[bytes] = []
        reading = asyncio.ensure_future(read_to_end(reader, taken.append))
        for start in range(0, len(sent), step):
            reader.feed_data(sent[start : start + step])
            await asyncio.sleep(0)
        await reading
        assert b"".join(taken) == whole
        assert await reader.readline() == b"NEXT\r\n"


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        (b"a\r\n..b\r\n", b"a\r\n.b\r\n"),
        (b"..\r\n...\r\n", b".\r\n..\r\n"),
        (b"a\n.b\n", b"a\r\nb\r\n"),
        (b"a\n\nb\r\n", b"a\r\n\r\nb\r\n"),
        ("é\r\n".encode(), "é\r\n".encode()),
    ],
)
def test_dots_and_line_ends(sent: bytes, kept: bytes) -> None:
    assert tidy(sent) == kept


@pytest.mark.parametrize("sent", [b"", b"\r\n", b"a\0b\r\n", b"a\rb\r\n", b"a\r\r\n"])
def test_what_cannot_be_read_is_refused(sent: bytes) -> None:
    with pytest.raises(Refusal, match=r"554 5\.6\.0"):
        tidy(sent)


_PIECES = st.lists(st.sampled_from([b"\r", b"\n", b"\r\n", b".", b"a", b"\r\n.", b"..", b"\r\n.\r\n"]), max_size=12)


@given(_PIECES)
def test_what_is_tidy_has_no_line_end_but_crlf(pieces: list[bytes]) -> None:
    """`mail.adopt.read_finished` takes it as it is."""
    try:
        content = tidy(b"".join(pieces))
    except Refusal:
        return
    rest = content.replace(b"\r\n", b"")
    assert b"\r" not in rest and b"\n" not in rest and b"\0" not in content
