"""One connection to the sink: reads commands and bodies, answers, and misbehaves as the script says."""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
import time
from typing import TYPE_CHECKING

from tests.doubles.sink_log import Dot
from tests.doubles.sink_script import GARBAGE, Fault

if TYPE_CHECKING:
    from tests.doubles.sink import Sink

END = b"\r\n.\r\n"
HEAD_LIMIT = 65536
_MESSAGE_ID = re.compile(rb"(?im)^message-id:\s*<?([^>\r\n]*)>?")


class Receiver(asyncio.Protocol):
    """One connection to the sink."""

    def __init__(self, sink: Sink, loop: asyncio.AbstractEventLoop) -> None:
        self.sink = sink
        self.transactions = 0
        self.peer = ""
        self._loop = loop
        self._transport: asyncio.Transport | None = None
        self._number = 0
        self._address = ""
        self._deaf = False  # gone, or a fault has ended the talk: nothing that arrives is read
        self._tls = False
        self._tls_broken = False
        self._early: bytes | None = None  # said through TLS before `start_tls` has returned its transport
        self._line = b""  # an unfinished command line
        self._out: list[bytes] = []
        self._last_due = 0.0
        self._idle: asyncio.TimerHandle | None = None
        self._keeps_body = sink.remember or sink.keep is not None
        self._in_body = False
        self._reset()

    def _reset(self) -> None:
        self._sender: bytes | None = None
        self._recipients: list[str] = []
        self._fault: Fault | None = None
        self._parts: list[bytes] = []
        self._size = 0
        self._tail = b"\r\n"  # so that a dot right after DATA is a final dot

    # --- connection

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        sink = self.sink
        self._transport = transport  # type: ignore[assignment]
        self._address = (transport.get_extra_info("sockname") or ("",))[0]
        self.peer = (transport.get_extra_info("peername") or ("",))[0]
        sink.connections += 1
        self._number = sink.connections
        sink.open.add(self)
        sink.peak_connections = max(sink.peak_connections, len(sink.open))
        fault = sink.script.for_connection("connect", self._address)
        if fault:
            self._misbehave(fault)
        else:
            self._out.append(b"220 sink.test ESMTP\r\n")
        self._flush()

    def connection_lost(self, exc: Exception | None) -> None:
        self._deaf = True
        self._transport = None
        if self._idle:
            self._idle.cancel()
        if self in self.sink.open:
            self.sink.open.remove(self)
            self.sink.transactions_per_connection[self.transactions] += 1

    def abort(self) -> None:
        if self._transport:
            self._transport.abort()
        self.connection_lost(None)

    def data_received(self, data: bytes) -> None:
        if self._early is not None:
            self._early += data
        if self._deaf:
            return
        if self._idle:
            self._idle.cancel()
            self._idle = None
        if self._in_body:
            self._take_body(data)
        elif self._tls_broken:
            self._out.append(GARBAGE)
            self._flush(then="close")
        else:
            self._take_lines(data)
        if self._out:
            self._flush()

    # --- commands

    def _take_lines(self, data: bytes) -> None:
        lines = (self._line + data).split(b"\r\n")
        self._line = lines.pop()
        for index, line in enumerate(lines):
            if self.sink.remember:
                self.sink.lines.append(line)
            verb = line[:4].upper()
            if verb == b"MAIL":
                self._mail(line, lines[index + 1 :])
            elif verb == b"RCPT":
                self._rcpt(line)
            elif verb == b"DATA":
                self._data()
                if self._in_body:
                    rest = b"\r\n".join([*lines[index + 1 :], self._line])
                    self._line = b""
                    if rest:
                        self._take_body(rest)
                    return
            else:
                self._other(verb, line)
            if self._deaf:
                return

    def _other(self, verb: bytes, line: bytes) -> None:
        if verb in (b"EHLO", b"HELO"):
            self._ehlo(extended=verb == b"EHLO")
        elif verb == b"STAR":
            self._starttls()
        elif verb == b"RSET":
            self._reset()
            self._out.append(b"250 2.0.0 ok\r\n")
        elif verb == b"NOOP":
            self._out.append(b"250 2.0.0 ok\r\n")
        elif verb == b"QUIT":
            self._out.append(b"221 2.0.0 bye\r\n")
            self._flush(then="close")
        elif verb == b"AUTH":
            self._out.append(b"235 2.7.0 welcome\r\n")
        else:
            self._out.append(b"500 5.5.2 what is that\r\n")

    def _ehlo(self, *, extended: bool) -> None:
        self._reset()
        fault = self.sink.script.for_connection("ehlo", self._address)
        if fault and (extended or fault.name != "ehlo_502"):
            self._misbehave(fault)
            return
        offered = self.sink.script.offers.get(self._address, self.sink.offer)
        offers = [offer for offer in offered if offer != "STARTTLS" or not self._tls] if extended else []
        lines = ["sink.test", *offers]
        self._out.append(b"".join(f"250{'-' if index < len(lines) - 1 else ' '}{line}\r\n".encode() for index, line in enumerate(lines)))
        self._arm_idle()

    def _starttls(self) -> None:
        fault = self.sink.script.for_connection("starttls", self._address)
        if fault and fault.name != "starttls_injected":
            self._misbehave(fault)
            self._tls_broken = fault.name == "starttls_broken"
        elif self.sink.tls is None or self._tls or self._transport is None:
            self._out.append(b"502 5.5.1 no TLS here\r\n")
        else:
            self._transport.pause_reading()  # the ClientHello is not for this protocol
            self._deaf = True
            self._out.append(fault.reply + b"\r\n" if fault is not None and fault.reply is not None else b"220 2.0.0 go ahead\r\n")
            self._flush()
            self._handshake = self._loop.create_task(self._start_tls(self._transport, self.sink.tls))

    async def _start_tls(self, transport: asyncio.Transport, tls: ssl.SSLContext) -> None:
        await asyncio.sleep(self.sink.delay_seconds * 1.5)  # the 220 leaves in the clear
        self._early = b""
        try:
            self._transport = await self._loop.start_tls(transport, self, tls, server_side=True)  # type: ignore[assignment]
        except (OSError, ssl.SSLError):
            self.abort()
            return
        early, self._early = self._early, None
        self._tls = True
        self._deaf = False
        self._line = b""
        self.data_received(early)

    def _mail(self, line: bytes, following: list[bytes]) -> None:
        self.sink.transactions += 1
        self.transactions += 1
        said = _mailbox(following[0]).decode("utf-8", "replace") if following and following[0][:4].upper() == b"RCPT" else ""
        fault = self.sink.script.for_mail(said, self._address, self.transactions - 1)
        if fault:
            self._misbehave(fault)
            return
        self._reset()
        self._sender = _mailbox(line)
        self._out.append(b"250 2.1.0 ok\r\n")

    def _rcpt(self, line: bytes) -> None:
        if self._sender is None:
            self._out.append(b"503 5.5.1 MAIL first\r\n")
            return
        recipient = _mailbox(line).decode("utf-8", "replace")
        fault = self.sink.script.for_recipient(recipient, self._address, self.transactions - 1)
        if fault:
            self._fault = fault
            if fault.phase == "rcpt":
                self._misbehave(fault)
                if fault.positive:
                    self._recipients.append(recipient)
                return
        self._recipients.append(recipient)
        self._out.append(b"250 2.1.5 ok\r\n")

    def _data(self) -> None:
        fault = self._fault
        if fault and fault.phase == "data":
            self._misbehave(fault)
        elif self._recipients or (fault and fault.name == "rcpt_550_then_354"):
            self._out.append(b"354 go on\r\n")
            self._in_body = True
        else:
            self._out.append(b"503 5.5.1 no valid recipients\r\n" if self._sender is None else b"554 5.5.1 no valid recipients\r\n")

    # --- the body

    def _take_body(self, data: bytes) -> None:
        window = self._tail + data
        end = window.find(END)
        if end < 0:
            if self._keeps_body or self._size < HEAD_LIMIT:
                self._parts.append(data)
            self._size += len(data)
            self._tail = window[-4:]
            fault = self._fault
            if fault and fault.phase == "body" and self._size >= fault.after_bytes:
                self._break_body(fault)
            return
        if self._fault and self._fault.phase == "body":  # small bodies arrive in one piece, dot and all
            self._break_body(self._fault)
            return
        taken = end + 2 - len(self._tail)
        if taken > 0:
            self._parts.append(data[:taken])
        elif taken < 0:  # the dot's first bytes came with the chunk before
            self._parts = [b"".join(self._parts)[:taken]]
        self._size += taken
        self._in_body = False
        self._dot()
        rest = window[end + 5 :]
        if rest and not self._deaf:
            self._take_lines(rest)

    def _break_body(self, fault: Fault) -> None:
        self._in_body = False
        self._misbehave(fault)
        self._deaf = True
        if fault.then == "stay" and self._transport:
            self._transport.pause_reading()

    def _dot(self) -> None:
        parts = self._parts
        raw = parts[0] if len(parts) == 1 else b"".join(parts)
        fault = self._fault if self._fault and self._fault.phase == "dot" else None
        verdict = "no_recipient" if not self._recipients else fault.name if fault else "accepted"
        recipients = self._recipients[0] if len(self._recipients) == 1 else ",".join(self._recipients)
        self.sink.take(Dot(time.time(), recipients, _message_id(raw), self._size, verdict, self._number), raw)
        if fault:
            self._misbehave(fault)
        else:
            self._out.append(b"250 2.0.0 taken\r\n" if self._recipients else b"554 5.5.1 no valid recipients\r\n")
        self._reset()
        self._arm_idle()

    # --- replies

    def _misbehave(self, fault: Fault) -> None:
        if fault.reply is None and fault.then in ("stay", "skip"):
            self._deaf = fault.then == "stay"
            return
        reply = b"" if fault.reply is None else fault.reply + b"\r\n"
        if fault.then == "stay" and not fault.seconds:
            self._out.append(reply)
            return
        self._flush()
        self._out.append(reply)
        if fault.drip:
            self._drip(fault.seconds)
        else:
            self._flush(wait=fault.seconds, then=fault.then)

    def _flush(self, *, wait: float = 0.0, then: str = "stay") -> None:
        out = self._out
        data = out[0] if len(out) == 1 else b"".join(out)
        out.clear()
        wait += self.sink.delay_seconds
        if wait or self._last_due:
            # replies keep their order: what is said later leaves later
            self._last_due = max(self._loop.time() + wait, self._last_due + 0.0002)
            self._loop.call_at(self._last_due, self._say, data, then)
        else:
            self._say(data, then)
        if then != "stay":
            self._deaf = True

    def _say(self, data: bytes, then: str) -> None:
        transport = self._transport
        if transport is None:
            return
        if data and not transport.is_closing():
            transport.write(data)
        if then == "close":
            transport.close()
        elif then == "reset":
            _reset_connection(transport)

    def _drip(self, seconds: float) -> None:
        data = b"".join(self._out)
        self._out.clear()
        start = self._loop.time()
        for index in range(len(data)):
            self._last_due = start + (index + 1) * seconds
            self._loop.call_at(self._last_due, self._say, data[index : index + 1], "stay")

    def _arm_idle(self) -> None:
        fault = self.sink.script.for_connection("idle", self._address)
        if fault:
            self._idle = self._loop.call_later(fault.seconds, self._end_idle, fault)

    def _end_idle(self, fault: Fault) -> None:
        self._say(b"" if fault.reply is None else fault.reply + b"\r\n", fault.then)
        self._deaf = True


def _mailbox(line: bytes) -> bytes:
    return line[line.find(b"<") + 1 : line.rfind(b">")]


def _message_id(raw: bytes) -> str:
    start = raw.find(b"\nMessage-ID: <")
    if start >= 0:
        return raw[start + 14 : raw.find(b">", start)].decode("latin-1")
    found = _MESSAGE_ID.search(raw[: raw.find(b"\r\n\r\n") + 2])
    return found[1].decode("latin-1") if found else ""


def _reset_connection(transport: asyncio.Transport) -> None:
    sock = transport.get_extra_info("socket")
    if sock is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")  # linger 0: RST, not FIN
    transport.abort()
