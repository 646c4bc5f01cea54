"""One SMTP conversation: open a connection to a hop, hand over messages on it, say truly what came of each.

Rules. A remote "no", a timeout and a broken connection are values (`Conversation`), never exceptions. `dot_sent` is true
from the moment the final dot was given to the network: from there on the message may have been delivered, whatever is
heard or not heard afterwards (RFC 1047). Nothing of the dot is written before `may_send_dot` says yes. MAIL, RCPT and DATA
leave in one write when PIPELINING is offered (RFC 2920), else one by one; when the caller has the next message at hand, its
envelope leaves with the body before it, and the next conversation on the connection must be that message's. TLS is used
when offered, without asking who is at the other end, unless the caller's context asks. The octets of a message are asked for when its
envelope was taken (mail.finish signs then), and sent as they are; only dots are stuffed.

Left to others: which hop, how many connections, what a reply means for the message (route, lanes, retry).
`pipeline` holds the connection itself and is the only importer of aiosmtplib.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from app.delivery.conversation import TIMED_OUT, Conversation, Hop, Phase, Timeouts, Tls
from app.delivery.pipeline import Dial, Dialogue, OpeningError, RawReply, opportunistic_context, readable
from app.mail.envelope import Envelope
from app.mail.finish import Wire
from app.mail.reply import Reply, parse_reply

__all__ = ["Connection", "Conversation", "Hop", "Phase", "Timeouts", "Tls", "opportunistic_context"]

CHUNK_BYTES = 256 * 1024
REPLY_TEXT_LIMIT = 4096
_ENVELOPE_PHASES = (Phase.MAIL, Phase.RCPT, Phase.DATA)

# Asked once, right before a body leaves: the envelope and the wire bytes of the message that goes next on this connection.
Following = Callable[[], tuple[Envelope, Wire] | None]


class Connection:
    """An open connection, greeted and if possible encrypted. One conversation at a time."""

    def __init__(self, hop: Hop, dial: Dial, dialogue: Dialogue, *, timeouts: Timeouts, connect_ms: int) -> None:
        self.hop = hop
        self.served = 0
        self.idle_since = time.monotonic()
        self.tls = dial.tls
        self._dial = dial
        self._dialogue = dialogue
        self._timeouts = timeouts
        self._connect_ms = connect_ms
        self._reset_due = False
        self._begun: tuple[Envelope, asyncio.Future[list[RawReply]]] | None = None
        self._pipelines = dial.supports_extension("pipelining")
        self._takes_8bit = dial.supports_extension("8bitmime")
        self._takes_utf8 = dial.supports_extension("smtputf8")
        self._takes_size = dial.supports_extension("size")
        self._size_limit = _size_limit(dial.esmtp_extensions.get("size", ""))
        dialogue.take_over()

    @classmethod
    async def open(
        cls,
        hop: Hop,
        *,
        helo_name: str,
        tls_context: ssl.SSLContext,
        timeouts: Timeouts | None = None,
        tls: str = Tls.OPPORTUNISTIC,
    ) -> Connection | Conversation:
        """Connect, greet, encrypt. A Conversation is returned when that fails."""
        times = timeouts or Timeouts()
        started_at, began = datetime.now(UTC), time.monotonic()
        dial = Dial(hop, helo_name=helo_name, context=tls_context, times=times)
        try:
            dialogue = await dial.reach(Tls(tls))
        except OpeningError as failure:
            spent = _ms_since(began)
            reply = _reply_of(failure.no) if failure.no is not None else None
            return Conversation(reply, failure.phase, failure.error, False, started_at, spent, spent, hop, None)
        return cls(hop, dial, dialogue, timeouts=times, connect_ms=_ms_since(began))

    @property
    def usable(self) -> bool:
        """Whether another message may be tried; false after a 421, a drop, garbage or an abort."""
        return self._dialogue.broken is None and self._dialogue.is_connected

    @property
    def begun(self) -> Envelope | None:
        """The envelope that left with the last body; only its own message may be handed over next."""
        return self._begun[0] if self._begun is not None else None

    async def converse(
        self, envelope: Envelope, wire: Wire, *, may_send_dot: Callable[[], bool], following: Following | None = None
    ) -> Conversation:
        """Hand over one message. `wire` is the message with CRLF line ends, not dot-stuffed."""
        self._started_at, self._began = datetime.now(UTC), time.monotonic()
        self.served += 1
        try:
            if self._begun is None:
                refusal = self._refuse_unsendable(envelope, wire)
                if refusal is not None:
                    return self._end(refusal, Phase.MAIL, "not sent: the server does not offer what the message needs")
            return await self._transact(envelope, wire, may_send_dot, following)
        except BaseException:
            self._dialogue.abort("given up")
            raise
        finally:
            self._connect_ms = 0
            self.idle_since = time.monotonic()

    async def close(self) -> None:
        """QUIT, wait shortly for the goodbye, hang up. After an envelope without its body there is no polite word."""
        if self.usable and self._begun is None:
            self._dialogue.send(b"QUIT\r\n")
            await self._dialogue.expect(1, self._timeouts.quit_seconds)
        self._dial.hang_up()

    # --- the envelope

    def _refuse_unsendable(self, envelope: Envelope, wire: Wire) -> Reply | None:
        if envelope.utf8 and not self._takes_utf8:
            return Reply(553, "5.6.7", "the receiving server does not offer SMTPUTF8, which this mail needs")  # RFC 6531 §3.5
        if not self._takes_8bit and not wire.isascii():
            return Reply(554, "5.6.3", "the receiving server does not offer 8BITMIME, which this mail needs")  # RFC 6152 §3
        if self._size_limit and len(wire) > self._size_limit:
            # RFC 1870 §6.2
            text = f"the receiving server takes messages of at most {self._size_limit} bytes, and this one has {len(wire)}"
            return Reply(552, "5.3.4", text)
        return None

    def _commands(self, envelope: Envelope, wire: Wire) -> list[bytes]:
        sender, recipient = envelope.return_path, envelope.recipient
        if not (sender + recipient).isprintable():
            raise ValueError("An envelope address holds a control character.")
        mail = f"MAIL FROM:<{sender}>"
        if self._takes_size:
            mail += f" SIZE={len(wire)}"
        if self._takes_8bit and not wire.isascii():
            mail += " BODY=8BITMIME"
        if envelope.utf8:
            mail += " SMTPUTF8"
        encoding = "utf-8" if envelope.utf8 else "ascii"
        return [f"{mail}\r\n".encode(encoding), f"RCPT TO:<{recipient}>\r\n".encode(encoding), b"DATA\r\n"]

    async def _transact(
        self, envelope: Envelope, wire: Wire, may_send_dot: Callable[[], bool], following: Following | None
    ) -> Conversation:
        replies = await self._ask(envelope, wire)
        for index, phase in enumerate(_ENVELOPE_PHASES):
            if index == len(replies):
                return self._end(None, phase, self._dialogue.broken)
            if not _goes_on(phase, replies[index].code):
                if len(replies) < len(_ENVELOPE_PHASES) and self._dialogue.broken == TIMED_OUT and self._pipelines:
                    return self._end(None, phase, TIMED_OUT)  # a command went unanswered: nobody knows which reply is whose
                return await self._leave(phase, replies[index], replies)
        return await self._send_body(bytes(wire), may_send_dot, following)

    async def _ask(self, envelope: Envelope, wire: Wire) -> list[RawReply]:
        """The replies to the envelope, which may have left before."""
        if self._begun is not None:
            (begun, replies), self._begun = self._begun, None
            if begun is not envelope:
                raise ValueError("Another message's envelope is under way on this connection.")
            return await replies
        commands = self._commands(envelope, wire)
        return await (self._ask_together(commands) if self._pipelines else self._ask_in_turn(commands))

    async def _ask_together(self, commands: list[bytes]) -> list[RawReply]:
        """The whole envelope in one write. DATA's shorter time limit is not worth a second timer."""
        skipped = self._reset_due
        self._reset_due = False
        if skipped:
            commands = [b"RSET\r\n", *commands]
        self._dialogue.send(b"".join(commands))
        replies = await self._dialogue.expect(len(commands), self._timeouts.command_seconds)
        # What RSET was answered does not matter, unless it is the last word
        return replies[1:] if skipped and len(replies) > 1 else replies if not skipped else _only_421(replies)

    async def _ask_in_turn(self, commands: list[bytes]) -> list[RawReply]:
        dialogue, times = self._dialogue, self._timeouts
        if self._reset_due:
            self._reset_due = False
            dialogue.send(b"RSET\r\n")
            last = _only_421(await dialogue.expect(1, times.command_seconds))
            if last or dialogue.broken:
                return last
        replies: list[RawReply] = []
        for command, phase in zip(commands, _ENVELOPE_PHASES, strict=True):
            dialogue.send(command)
            answer = await dialogue.expect(1, times.data_seconds if phase is Phase.DATA else times.command_seconds)
            replies += answer
            if not answer or not _goes_on(phase, answer[0].code):
                break
        return replies

    async def _leave(self, phase: Phase, no: RawReply, replies: Sequence[RawReply]) -> Conversation:
        """The envelope was refused: leave the connection ready for the next message."""
        if len(replies) == 3 and phase is not Phase.DATA and replies[2].code == 354:
            # RFC 2920 §3.1: all recipients were refused and DATA was taken all the same: a lone dot, which delivers nothing.
            self._dialogue.send(b".\r\n")
            await self._dialogue.expect(1, self._timeouts.command_seconds)
        self._reset_due = phase is not Phase.MAIL
        if no.code // 100 in (4, 5):
            return self._end(_reply_of(no), phase, None)
        self._dialogue.abort("the server lost the thread")
        return self._end(None, phase, f"unexpected reply: {no.code} {readable(no.text)}")

    # --- the body

    async def _send_body(self, wire: bytes, may_send_dot: Callable[[], bool], following: Following | None) -> Conversation:
        dialogue = self._dialogue
        if b"\n." in wire or wire.startswith(b"."):
            wire = _stuffed(wire)
        if not wire.endswith(b"\r\n"):
            wire += b"\r\n"
        answer = None
        if len(wire) > CHUNK_BYTES:
            answer = dialogue.expect(1, self._timeouts.block_seconds)
            wire = await self._send_all_but_last(wire, answer)
            if answer.done():
                return self._end_early(answer.result())
        if not dialogue.is_connected:
            return self._end(None, Phase.DATA, dialogue.broken or "connection lost")
        if not may_send_dot():
            dialogue.abort("the right to send was lost")
            return self._end(None, Phase.DATA, "the right to send was lost before the final dot")
        next_envelope, commands = self._envelope_ahead(following) if following is not None and answer is None else (None, b"")
        dialogue.send(wire + b".\r\n" + commands)
        if answer is None:
            answer = dialogue.expect(1, self._timeouts.dot_seconds)
        else:
            dialogue.extend(self._timeouts.dot_seconds)
        if next_envelope is not None:
            self._begun = next_envelope, dialogue.expect(len(_ENVELOPE_PHASES), self._timeouts.command_seconds)
        return self._end_dot(await answer)

    def _envelope_ahead(self, following: Following) -> tuple[Envelope | None, bytes]:
        """The next message's commands. RFC 2920 §3.1: a body may be the first of a group, the next transaction's MAIL in it."""
        found = following() if self._pipelines else None
        if found is None:
            return None, b""
        envelope, wire = found
        try:
            commands = self._commands(envelope, wire) if self._refuse_unsendable(envelope, wire) is None else []
        except ValueError:  # its own conversation will say so
            commands = []
        return (envelope, b"".join(commands)) if commands else (None, b"")

    async def _send_all_but_last(self, wire: bytes, answer: asyncio.Future[list[RawReply]]) -> bytes:
        """Write a large body as fast as it is taken; returns the last chunk when all before it has left."""
        start = 0
        while len(wire) - start > CHUNK_BYTES and not answer.done():
            self._dialogue.send(wire[start : start + CHUNK_BYTES])
            start += CHUNK_BYTES
            await self._dialogue.room()
            self._dialogue.extend(self._timeouts.block_seconds)
        return wire[start:]

    def _end_early(self, replies: list[RawReply]) -> Conversation:
        """An answer, or the end, before the dot: the server wants no more of it, and the body cannot be taken back."""
        error = self._dialogue.broken
        self._dialogue.abort("the body was broken off")
        if replies and replies[0].code // 100 in (4, 5):
            return self._end(_reply_of(replies[0]), Phase.DATA, None)
        return self._end(None, Phase.DATA, error or "an answer came before the message was sent")

    def _end_dot(self, replies: list[RawReply]) -> Conversation:
        if not replies:
            return self._end(None, Phase.DOT, self._dialogue.broken, dot_sent=True)
        if replies[0].code // 100 == 3:
            self._dialogue.abort("the server lost the thread")
            return self._end(None, Phase.DOT, f"unexpected reply: {replies[0].code} {readable(replies[0].text)}", dot_sent=True)
        return self._end(_reply_of(replies[0]), Phase.DOT, None, dot_sent=True)

    def _end(self, reply: Reply | None, phase: Phase, error: str | None, *, dot_sent: bool = False) -> Conversation:
        if reply is None:
            self._dialogue.abort(error or "connection lost")
        elif reply.code == 421:  # RFC 5321 §3.8: the server closes, whatever was asked
            self._dialogue.abort("the server said 421")
        return Conversation(reply, phase, error, dot_sent, self._started_at, self._connect_ms, _ms_since(self._began), self.hop, self.tls)


def _goes_on(phase: Phase, code: int) -> bool:
    return code == 354 if phase is Phase.DATA else code // 100 == 2


def _only_421(replies: list[RawReply]) -> list[RawReply]:
    return [reply for reply in replies if reply.code == 421]


def _reply_of(raw: RawReply) -> Reply:
    return parse_reply(raw.code, raw.text[:REPLY_TEXT_LIMIT].decode("utf-8", "replace").replace("\0", "\ufffd"))


def _size_limit(parameter: str) -> int:
    """The limit in an EHLO line "SIZE n"; 0 = none said (RFC 1870 §4)."""
    word = parameter.strip()
    return int(word) if word.isascii() and word.isdigit() and len(word) < 20 else 0


def _stuffed(wire: bytes) -> bytes:
    """Dots at line starts doubled (RFC 5321 §4.5.2). After a bare LF too, lest a server take one for a line end."""
    stuffed = wire.replace(b"\n.", b"\n..")
    return b"." + stuffed if stuffed.startswith(b".") else stuffed


def _ms_since(began: float) -> int:
    return round((time.monotonic() - began) * 1000)
