"""The client's half of an SMTP connection: aiosmtplib's own until EHLO and STARTTLS are done, ours from then on.

aiosmtplib takes one command at a time and drops what comes beyond its reply, so it cannot pipeline (RFC 2920). `Dialogue`
is its protocol with a second way of reading: several replies per packet, one future for each group of commands, groups
one behind the other. Rules: a reply that never comes, garbage and a lost connection are values here (`broken`), not
exceptions; a group ends early with a 421, because nothing follows one (RFC 5321 §3.8); at most 64 KB are read for one
group; a group's clock starts when the one before it has ended.

It leans on private names of aiosmtplib 5.1 (`_create_connection`, `_paused`, `_on_connection_lost`), so the version is
pinned below 5.2. This is its only importer. What the commands are and what a reply means is `transport`'s.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from dataclasses import dataclass, field
from typing import NamedTuple, cast

import aiosmtplib
from aiosmtplib.protocol import SMTPProtocol

from app.delivery.conversation import TIMED_OUT, Hop, Phase, Timeouts, Tls

REPLY_LIMIT_BYTES = 64 * 1024
_DEMANDED = "TLS is required for this domain"


class RawReply(NamedTuple):
    """A reply as it came; lines of a multi-line reply are joined by LF."""

    code: int
    text: bytes


@dataclass(slots=True, eq=False)
class _Group:
    """Commands that were written together, and the replies to them so far."""

    waiter: asyncio.Future[list[RawReply]]
    wanted: int
    seconds: float
    replies: list[RawReply] = field(default_factory=list)


class Dialogue(SMTPProtocol):
    """The protocol of one connection. `take_over` switches from aiosmtplib's reading to ours."""

    def __init__(self, loop: asyncio.AbstractEventLoop, smtp: Dial) -> None:
        super().__init__(loop=loop, connection_lost_callback=smtp._on_connection_lost)
        self.broken: str | None = None  # why nothing more can be said
        self._ours = False
        self._groups: deque[_Group] = deque()
        self._room: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._received = 0
        self._rest = b""
        self._lines: list[bytes] = []  # of a multi-line reply that is not finished

    def take_over(self) -> None:
        self._ours = True
        self._buffer.clear()

    # --- asking

    def expect(self, count: int, seconds: float) -> asyncio.Future[list[RawReply]]:
        """The next `count` replies; fewer when the connection broke, the time ran out, or a 421 came."""
        group = _Group(self._loop.create_future(), count, seconds)
        if self.broken is not None or self.transport is None:
            self.broken = self.broken or "connection lost"
            group.waiter.set_result(group.replies)
            return group.waiter
        self._groups.append(group)
        if len(self._groups) == 1:
            self._begin(group)
        return group.waiter

    def extend(self, seconds: float) -> None:
        """Start the clock of the first group anew."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = self._loop.call_later(seconds, self._time_out)

    async def room(self) -> None:
        """Wait until the transport takes more bytes, or a group has ended in whatever way."""
        if self._paused and self._groups:
            self._room = self._loop.create_future()
            await self._room

    def send(self, octets: bytes) -> None:
        """Write to the transport; nothing happens on a connection that is gone, `expect` will say so."""
        transport = self.transport
        if transport is not None and not transport.is_closing():
            cast(asyncio.WriteTransport, transport).write(octets)

    def abort(self, reason: str) -> None:
        """End the connection at once; bytes not yet sent are dropped."""
        self.broken = self.broken or reason
        if self.transport is not None:
            cast(asyncio.WriteTransport, self.transport).abort()
        self._end_all()

    # --- listening

    def data_received(self, data: bytes) -> None:
        if not self._ours:
            super().data_received(data)
            return
        if not self._groups:
            # Said unasked: mostly a 421 before the server hangs up. Whatever it is, the next reply would be mispaired.
            self.abort(f"the server spoke unasked: {readable(data)}")
            return
        self._received += len(data)
        if self._received > REPLY_LIMIT_BYTES:
            self.abort("the reply is too long")
            return
        if self._rest:
            data = self._rest + data
        start = 0
        while (end := data.find(b"\n", start)) >= 0:
            line = data[start:end]
            start = end + 1
            if not self._take_line(line):
                self._rest = b""
                if start < len(data):
                    self.abort(f"the server said more than was asked: {readable(data[start:])}")
                return
        self._rest = data[start:]

    def _take_line(self, line: bytes) -> bool:
        """Read one line of a reply (RFC 5321 §4.2); False when nothing more is expected."""
        code, mark = line[:3], line[3:4]
        if len(code) != 3 or not code.isdigit() or code[0] not in b"2345" or mark not in (b" ", b"-", b"\r", b""):
            self.abort(f"not an SMTP reply: {readable(line)}")
            return False
        text = line[4:-1] if line.endswith(b"\r") else line[4:]
        if mark == b"-":
            self._lines.append(text)
            return True
        if self._lines:
            text = b"\n".join([*self._lines, text])
            self._lines = []
        group, number = self._groups[0], int(code)
        group.replies.append(RawReply(number, text))
        if len(group.replies) == group.wanted or number == 421:
            self._end_first()
        return bool(self._groups)

    def _begin(self, group: _Group) -> None:
        self._received = 0
        self._timer = self._loop.call_later(group.seconds, self._time_out)

    def _end_first(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        group = self._groups.popleft()
        if not group.waiter.done():
            group.waiter.set_result(group.replies)
        if self._groups:
            self._begin(self._groups[0])
        self._let_through()

    def _end_all(self) -> None:
        while self._groups:
            self._end_first()
        self._let_through()

    def _let_through(self) -> None:
        room, self._room = self._room, None
        if room is not None and not room.done():
            room.set_result(None)

    def _time_out(self) -> None:
        self._timer = None
        self.abort(TIMED_OUT)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._let_through()

    def eof_received(self) -> bool:
        self.broken = self.broken or "connection closed by the server"
        if self._ours:
            self._end_all()
        return super().eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        self.broken = self.broken or (f"connection lost: {exc}" if exc and str(exc) else "connection lost")
        super().connection_lost(exc)
        self._end_all()


class OpeningError(Exception):
    """The opening ended at `phase`: with the server's "no", or by `error`. Caught by transport, which makes a value of it."""

    def __init__(self, phase: Phase, no: RawReply | None, error: str | None) -> None:
        super().__init__(error)
        self.phase = phase
        self.no = no
        self.error = error


class Dial(aiosmtplib.SMTP):
    """aiosmtplib's client, opened step by step with a `Dialogue` and with a time limit for each step."""

    def __init__(self, hop: Hop, *, helo_name: str, context: ssl.SSLContext, times: Timeouts) -> None:
        super().__init__(
            hostname=hop.address,
            port=hop.port,
            local_hostname=helo_name,
            source_address=(hop.source, 0) if hop.source else None,
            timeout=times.greeting_seconds,
            start_tls=False,
            tls_context=context,
        )
        self._hop = hop
        self._times = times
        self._phase = Phase.CONNECT
        self._dialogue: Dialogue | None = None

    @property
    def tls(self) -> str | None:
        """Version and cipher, or None in the clear."""
        cipher = self.get_transport_info("cipher")
        return f"{cipher[1]} {cipher[0]}" if cipher else None

    async def reach(self, tls: Tls) -> Dialogue:
        """Connect, greet, encrypt; OpeningError when that fails."""
        try:
            await self.connect()
            self.timeout = self._times.command_seconds
            self._phase = Phase.EHLO
            await self._greet()
            await self._encrypt(tls)
        except OpeningError:
            self.hang_up()
            raise
        except aiosmtplib.SMTPResponseException as no:
            self.hang_up()
            text = no.message.encode("utf-8", "surrogateescape")
            if 400 <= no.code <= 599:
                raise OpeningError(self._phase, RawReply(int(no.code), text), None) from no
            raise OpeningError(self._phase, None, f"unexpected reply: {readable(text)}") from no
        except (OSError, TimeoutError, aiosmtplib.SMTPException) as error:
            self.hang_up()
            words = TIMED_OUT if isinstance(error, TimeoutError) else readable(str(error).encode("utf-8", "replace"))
            raise OpeningError(self._phase, None, words or type(error).__name__) from error
        except BaseException:
            self.hang_up()
            raise
        if self._dialogue is None or not self._dialogue.is_connected:
            raise OpeningError(self._phase, None, "connection lost")
        return self._dialogue

    async def _create_connection(self, timeout: float | None) -> aiosmtplib.SMTPResponse:
        """Connect and read the greeting. The protocol is made here, because uvloop keeps the `data_received` it was given."""
        loop = asyncio.get_running_loop()
        dialogue = Dialogue(loop, self)
        async with asyncio.timeout(self._times.connect_seconds):
            self.transport, _ = await loop.create_connection(
                lambda: dialogue, host=self._hop.address, port=self._hop.port, local_addr=self.source_address
            )
        self._dialogue = self.protocol = dialogue
        self._phase = Phase.GREETING
        response = await dialogue.read_response(timeout=timeout)
        if response.code != aiosmtplib.SMTPStatus.ready:
            raise aiosmtplib.SMTPConnectResponseError(response.code, response.message)
        return response

    async def _greet(self) -> None:
        """EHLO, or HELO for a server that knows no EHLO (RFC 5321 §4.1.4)."""
        try:
            await self.ehlo()
        except aiosmtplib.SMTPHeloError as no:
            if no.code // 100 != 5 or not self.is_connected:
                raise
            await self.helo()

    async def _encrypt(self, tls: Tls) -> None:
        if tls is Tls.NEVER:
            return
        if not self.supports_extension("starttls"):
            if tls.is_demanded:
                raise OpeningError(Phase.TLS, None, f"{_DEMANDED}, and the server does not offer it")
            return
        self._phase = Phase.TLS  # until the second EHLO is answered: servers often refuse a handshake only then
        try:
            # It forgets what the first EHLO had said, and bytes sent before the handshake (RFC 3207 §4.2)
            await self.starttls(server_hostname=self._hop.host.rstrip("."), timeout=self._times.tls_seconds)
        except aiosmtplib.SMTPResponseException as no:
            words = readable(no.message.encode("utf-8", "surrogateescape"))
            if tls.is_demanded:  # not the server's "no" to the mail: a 5yz here must not bounce it
                raise OpeningError(Phase.TLS, None, f"{_DEMANDED}, and the server refused it: {no.code} {words}") from no
            if no.code not in range(450, 600):
                raise
            self._phase = Phase.EHLO  # RFC 3207 §4: offered, then refused with 454; the session goes on in the clear
            return
        except (OSError, TimeoutError, aiosmtplib.SMTPException) as error:
            if not tls.is_demanded:
                raise
            words = TIMED_OUT if isinstance(error, TimeoutError) else readable(str(error).encode("utf-8", "replace"))
            raise OpeningError(Phase.TLS, None, f"{_DEMANDED}, and the handshake failed: {words or type(error).__name__}") from error
        await self._greet()
        self._phase = Phase.EHLO

    def hang_up(self) -> None:
        if self._dialogue is not None:
            self._dialogue.abort("closed")
        self.close()


def opportunistic_context() -> ssl.SSLContext:
    """Any TLS is better than none, and a wrong name no reason to go without it (RFC 7435). Costs 20 ms: make one, share it."""
    context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def readable(octets: bytes) -> str:
    """Words of a server for a log or an attempt: no NUL, no broken UTF-8, not endless."""
    return octets[:500].decode("utf-8", "replace").replace("\0", "\ufffd").strip()
