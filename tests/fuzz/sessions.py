"""Sessions that no client would hold, made from a seed: valid commands, broken ones, in any order, cut anywhere, with and without TLS.

What must hold whatever is said:

* the server closes or answers within the patience of the client, and nothing in it fails that it did not foresee;
* it takes exactly the messages that it said it took, and no more than ends of data were sent (CR LF . CR LF);
* without the right password, none.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import re
import ssl
from dataclasses import dataclass, field

from tests.smtpd.dialogue import encoded, plain

PATIENCE_SECONDS = 25.0  # longer than the server waits for a handshake that never comes
_ACCEPTED = re.compile(rb"^250 2\.0\.0 Accepted as (msg_[0-9a-f]{32})\r$", re.MULTILINE)
_FAILED = re.compile(rb"^421 4\.3\.0 Something", re.MULTILINE)

_COMMANDS = [
    "EHLO fuzz", "EHLO", "HELO x", "NOOP", "RSET", "QUIT", "VRFY a@x.test", "EXPN l", "HELP", "STARTTLS", "STARTTLS x", "TURN",
    "BDAT 3 LAST", "AUTH", "AUTH PLAIN", "AUTH LOGIN", "AUTH LOGIN dXNlcg==", "AUTH NTLM", "AUTH PLAIN =", "*", "DATA x",
    "MAIL FROM:<a@shop.test>", "MAIL FROM:<>", "MAIL FROM:<a@shop.test> SIZE=99999999999", "MAIL FROM:<a@shop.test> BODY=8BITMIME SMTPUTF8",
    "MAIL FROM:<é@shop.test>", "MAIL FROM:a@shop.test RET=HDRS ENVID=x+2By", "MAIL TO:<x>", "MAIL FROM:<\"a\\\"b\"@x.test>",
    "RCPT TO:<b@x.test>", "RCPT TO:<b@x.test> NOTIFY=NEVER", "RCPT TO:<b@x.test> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;b@x.test",
    "RCPT TO:<>", "RCPT TO:<@a,@b:c@x.test>", "RCPT TO:<b@x.test> X=y", "RCPT FROM:<b>",
]  # fmt: skip
_ENDS = [b"\r\n", b"\r\n", b"\r\n", b"\r\n", b"\n", b"\r", b"\r\r\n", b"\0\r\n", b" \r\n", b""]
_DOTS = [
    b"\r\n.\r\n",
    b"\r\n.\r\n",
    b"\r\n.\r\n",
    b"\n.\n",
    b"\r.\r",
    b"\r\n.\n",
    b"\n.\r\n",
    b"\r\n.\r",
    b"\r\n.\0\r\n",
    b"\r\n..\r\n",
    b".\r\n",
]


@dataclass(slots=True)
class Plan:
    """One session: what is written, piece by piece, and how."""

    marker: bytes
    tls: str  # "implicit", "starttls", "none"
    logs_in: bool
    pieces: list[bytes]
    reads_between: bool
    leaves_early: bool

    @property
    def ends_of_data(self) -> int:
        # Overlapping ones count: CRLF . CRLF . CRLF may end two.
        return len(re.findall(rb"(?=\r\n\.\r\n)", b"\r\n" + b"".join(self.pieces)))


@dataclass(slots=True)
class Seen:
    """What the client heard."""

    accepted: list[bytes] = field(default_factory=list)  # ids of messages
    failed: int = 0
    hung: bool = False
    heard_all: bool = True
    replies: list[bytes] = field(default_factory=list)


def make_plan(number: int, seed: int, user: str, password: str) -> Plan:
    """Session `number` of a seed; always the same."""
    dice = random.Random(f"{seed}/{number}")
    marker = b"marker-%d-" % number
    tls = dice.choice(["implicit", "implicit", "starttls", "none"])
    logs_in = tls != "none" and dice.random() < 0.85
    script = [f"AUTH PLAIN {plain(user, password)}\r\n".encode()] if logs_in else []
    if dice.random() < 0.3 and not logs_in:
        script = [b"AUTH LOGIN\r\n" + encoded(user).encode() + b"\r\n" + encoded("wrong").encode() + b"\r\n"]
    for _ in range(dice.randrange(1, 6)):
        script += _transaction(dice, marker) if dice.random() < 0.7 else [_command(dice) for _ in range(dice.randrange(1, 8))]
    if dice.random() < 0.2:
        script.insert(dice.randrange(len(script) + 1), dice.randbytes(dice.choice([1, 10, 600, 20_000, 150_000])))
    return Plan(marker, tls, logs_in, _cut(dice, script), dice.random() < 0.5, dice.random() < 0.15)


async def hold_session(plan: Plan, starttls_port: int, tls_port: int, trusting: ssl.SSLContext) -> Seen:
    """Say it all, and hear what comes back until the server closes."""
    seen = Seen()
    writer: asyncio.StreamWriter | None = None
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            implicit = plan.tls == "implicit"
            reader, writer = await asyncio.open_connection(
                "localhost", tls_port if implicit else starttls_port, ssl=trusting if implicit else None
            )
            await _converse(plan, seen, reader, writer, trusting)
    except TimeoutError:
        seen.hung = True
    except (ConnectionError, ssl.SSLError):
        seen.heard_all = False
    finally:
        if writer is not None:
            writer.transport.abort()
    heard = b"".join(seen.replies)
    seen.accepted, seen.failed = _ACCEPTED.findall(heard), len(_FAILED.findall(heard))
    return seen


async def _converse(plan: Plan, seen: Seen, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, trusting: ssl.SSLContext) -> None:
    if plan.tls == "starttls":
        await reader.readline()
        writer.write(b"EHLO fuzz\r\nSTARTTLS\r\n")
        while not (await reader.readline()).startswith(b"220 "):
            pass
        await writer.start_tls(trusting, server_hostname="localhost")
    _write(writer, b"EHLO fuzz\r\n")
    listening = asyncio.create_task(_listen(reader, seen))
    try:
        for piece in plan.pieces:
            _write(writer, piece)
            await writer.drain()
            if plan.reads_between:
                await asyncio.sleep(0.001)
        if plan.leaves_early:
            seen.heard_all = False
            return
        # Whatever state the server is in: an end of data, an end of a line, and a goodbye bring it to an end.
        _write(writer, b"\r\nQUIT\r\n\r\n.\r\nQUIT\r\n")
        await listening
    finally:
        listening.cancel()
        with contextlib.suppress(asyncio.CancelledError, ConnectionError, ssl.SSLError):
            await listening


def _write(writer: asyncio.StreamWriter, octets: bytes) -> None:
    """What is written after the server closed is written to nobody: uvloop would call it a mistake."""
    if not writer.transport.is_closing():
        writer.write(octets)


async def _listen(reader: asyncio.StreamReader, seen: Seen) -> None:
    try:
        while octets := await reader.read(65536):
            seen.replies.append(octets)
    except (ConnectionError, ssl.SSLError):
        seen.heard_all = False  # the server closed over unread octets: its last words may be lost


def _transaction(dice: random.Random, marker: bytes) -> list[bytes]:
    content = b"Subject: " + marker + b"\r\n\r\n" + _content(dice, marker) + dice.choice(_DOTS)
    script = [b"MAIL FROM:<a@shop.test>\r\n", b"RCPT TO:<b@x.test>\r\n", b"DATA\r\n", content]
    while dice.random() < 0.3:
        script.insert(dice.randrange(len(script)), _command(dice))
    while dice.random() < 0.1 and len(script) > 1:
        del script[dice.randrange(len(script))]
    return script


def _content(dice: random.Random, marker: bytes) -> bytes:
    made = b""
    for _ in range(dice.randrange(0, 8)):
        made += dice.choice([b"text", b".", b"..", b"\r", b"\n", b"\r\n", b"\0", b"\xff\xfe", marker, b"DATA", b"QUIT\r\n", b"x" * 3000])
    return made


def _command(dice: random.Random) -> bytes:
    command = bytearray(dice.choice(_COMMANDS).encode())
    while dice.random() < 0.2:
        place = dice.randrange(len(command) + 1)
        command[place : place + dice.randrange(2)] = dice.choice(
            [b"\0", b" ", b"<", b">", b"\xff", b'"', b"\t", b"A" * 2000, b"\r", b"\n", b"="]
        )
    return bytes(command) + dice.choice(_ENDS)


def _cut(dice: random.Random, script: list[bytes]) -> list[bytes]:
    """The script in the pieces in which it is written: as it is, all at once, or cut anywhere."""
    whole = b"".join(script)
    way = dice.randrange(3)
    if way == 0:
        return script
    if way == 1:
        return [whole]
    cuts = sorted(dice.randrange(len(whole) + 1) for _ in range(dice.randrange(1, 12)))
    return [whole[start:end] for start, end in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
