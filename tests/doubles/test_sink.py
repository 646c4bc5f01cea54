"""The sink as a process: what chaos and bench runs rely on."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections import Counter
from pathlib import Path

from app.delivery.transport import Connection, Hop, opportunistic_context
from app.mail.envelope import Envelope
from tests.doubles.sink import Sink
from tests.doubles.sink_log import read_log
from tests.doubles.sink_script import Script, short_rule

CONTEXT = opportunistic_context()


async def deliver(port: int, recipients: list[str], *, lines: int = 1) -> list[int]:
    """Codes told for one message to each recipient, over one connection."""
    connection = await Connection.open(Hop("sink.test", "127.0.0.1", port), helo_name="relay.test", tls_context=CONTEXT)
    assert isinstance(connection, Connection), connection
    codes = []
    for number, recipient in enumerate(recipients):
        wire = f"Subject: x\r\nmessage-id:  <{number}@relay.test>\r\n\r\n".encode() + b"line\r\n" * lines
        told = await connection.converse(Envelope("a@sender.test", recipient, False), wire, may_send_dot=lambda: True)
        codes.append(told.reply.code if told.reply else 0)
    await connection.close()
    return codes


async def test_it_logs_every_dot_and_counts_at_the_end(tmp_path: Path) -> None:
    script = tmp_path / "script.json"
    script.write_text(
        json.dumps({"rules": [{"fault": "rcpt_450", "domain": "grey.test", "times_each": 1}, {"fault": "dot_554", "recipient": "^bad"}]})
    )
    log, keep = tmp_path / "dots.tsv", tmp_path / "kept"
    options = ["--log", str(log), "--script", str(script), "--keep", str(keep), "--offer", "PIPELINING,STARTTLS"]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.doubles.sink", *options, cwd=Path(__file__).parents[2], stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout
    ready = json.loads(await process.stdout.readline())
    codes = await deliver(ready["port"], ["a@grey.test", "a@grey.test", "bad@x.test", "good@x.test"])
    await asyncio.sleep(0.05)
    dots = read_log(log)
    process.send_signal(signal.SIGTERM)
    statistics = json.loads(await process.stdout.readline())
    assert await process.wait() == 0

    assert codes == [450, 250, 554, 250]
    assert [(dot.recipient, dot.message_id, dot.verdict, dot.connection) for dot in dots] == [
        ("a@grey.test", "1@relay.test", "accepted", 1),
        ("bad@x.test", "2@relay.test", "dot_554", 1),
        ("good@x.test", "3@relay.test", "accepted", 1),
    ]
    assert len(list(keep.glob("*.eml"))) == 3
    assert statistics["verdicts"] == {"accepted": 2, "dot_554": 1}
    assert statistics["transactions_per_connection"] == {"4": 1}
    assert statistics["peak_connections"] == 1


async def test_a_share_meets_about_its_share() -> None:
    async with Sink(Script([short_rule("defer:0.1")], seed=7)) as sink:
        codes = Counter(await deliver(sink.port, ["a@x.test"] * 500))
    assert 30 <= codes[451] <= 70
    assert codes[250] == 500 - codes[451]


async def test_each_reply_leaves_after_the_delay() -> None:
    async with Sink(delay_ms=30) as sink:
        began = asyncio.get_running_loop().time()
        await deliver(sink.port, ["a@x.test"] * 2)
        # banner, EHLO, twice (envelope, body), QUIT
        assert asyncio.get_running_loop().time() - began >= 0.18


async def test_it_reads_bytes_however_they_are_cut() -> None:
    dialogue = (
        b"EHLO x\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nRCPT TO:<e@f>\r\nDATA\r\nMessage-ID: <m@x>\r\n\r\n..dot\r\n.\r\n"
        b"MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n.\r\nQUIT\r\n"
    )
    for size in (1, 2, 3, 5, 1000):
        async with Sink() as sink:
            reader, writer = await asyncio.open_connection("127.0.0.1", sink.port)
            for start in range(0, len(dialogue), size):
                writer.write(dialogue[start : start + size])
                await asyncio.sleep(0.0005)
            codes = [line[:3] for line in (await reader.read()).splitlines() if line[3:4] != b"-"]
            writer.close()
        assert codes == [b"220", b"250", b"250", b"250", b"250", b"354", b"250", b"250", b"250", b"354", b"250", b"221"]
        assert sink.messages == [b"Message-ID: <m@x>\r\n\r\n.dot\r\n", b""]
        assert [(dot.recipient, dot.message_id, dot.size) for dot in sink.dots] == [("c@d,e@f", "m@x", 28), ("c@d", "", 0)]
