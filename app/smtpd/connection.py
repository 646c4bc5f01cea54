"""One connection of a mail program or of another host: its life, its replies, its small talk. A message's course is `transaction`.

Built on aiosmtpd's SMTP, of which it keeps the loop over commands, the streams and the timer. What the library does otherwise
than a submission server must (seen in 1.4.6) is done here, in `transaction` and in `submission`:

* the end of the client's stream cancels what is under way, a commit too: here it ends the session when that is answered;
* replies have no enhanced codes, and limits of commands are shared by all connections;
* STARTTLS goes by names below asyncio's TLS; StreamWriter.start_tls does the same in the open, and under uvloop faster;
* MAIL and RCPT: it knows no DSN and puts parameters into capitals, ENVID and ORCPT too;
* DATA: lines above a limit are refused, though programs send HTML in one line; a flood without line ends is kept in memory;
* AUTH: a synchronous check, mechanisms by exact case, none at all under implicit TLS.

EHLO's name is never judged: Outlook says the bare name of its computer, others nothing that resolves.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import logging
import ssl
from typing import ClassVar

from aiosmtpd.smtp import SMTP

from app import log
from app.errors import RelayError
from app.smtpd import figures
from app.smtpd.crowd import place_of
from app.smtpd.door import Door
from app.smtpd.replies import Refusal, launder, reply_to

# RFC 4954 §4 has the longest line of all: 12,288 octets of a log-in.
LONGEST_COMMAND = 12_288
# What may lie in the reader before the client has to wait is twice this.
_BUFFER_BYTES = 64 * 1024
_ERRORS = 20
_IDLE_COMMANDS = 200
_LONGEST_NAME = 255
_LAST_WORD_SECONDS = 5.0
_COMMIT_SECONDS = 30.0
HANDSHAKE_SECONDS = 15.0
STOPPING = "421 4.3.2 The server stops: connect again in a moment"

# The library tells each command and each lost connection; what matters is in our own log.
logging.getLogger("mail.log").setLevel(logging.CRITICAL)


class Connection(SMTP):
    """The server's side of one connection."""

    line_length_limit = _BUFFER_BYTES
    command_size_limit = LONGEST_COMMAND
    # The library's own is one for all sessions, and grows with each EHLO.
    command_size_limits: ClassVar[dict[str, int]] = collections.defaultdict(lambda: LONGEST_COMMAND)  # type: ignore[misc]

    def __init__(self, door: Door, tls: ssl.SSLContext) -> None:
        """`tls` is what STARTTLS begins. On a port with implicit TLS the transport brings it along."""
        super().__init__(
            object(),
            data_size_limit=door.most_bytes,
            enable_SMTPUTF8=True,
            hostname=door.hostname,  # or the library asks DNS for each connection
            ident="ESMTP Staffetta",
            timeout=door.idle_seconds,
            loop=asyncio.get_running_loop(),
        )
        self.place = ""
        self.door = door
        self.address = ""
        self.errors = 0
        self.idle_commands = 0
        # The client waits for the answer to its message: nothing else may be said, and no time is up before it.
        self.is_committing = False
        self.is_private = False  # the dialogue is encrypted
        self._tls = tls
        self._is_shaking_hands = False
        self.handshake: asyncio.Task[None] | None = None  # of implicit TLS: there is no transport before its end
        self.has_greeted = False
        self.helo = ""  # the name that the client gave itself
        self.transaction: object | None = None  # the message under way
        self._deadline: asyncio.TimerHandle | None = None
        self._silent_until = 0.0

    @property
    def offers(self) -> list[str]:
        """What EHLO is told, beside STARTTLS."""
        return ["PIPELINING", f"SIZE {self.door.most_bytes}", "8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES"]

    @property
    def is_idle(self) -> bool:
        """Whether no message is under way."""
        return self.transaction is None

    # --- the connection

    def arrive(self, peer: object) -> None:
        """Be one of the crowd before the handshake of implicit TLS; raises Refusal when there is no room."""
        self.address, self.place = place_of(peer)
        self.door.crowd.enter(self)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.address, self.place = place_of(transport.get_extra_info("peername"))
        self.is_private = transport.get_extra_info("ssl_object") is not None
        self.set_deadline(self.door.login_seconds)
        super().connection_made(transport)

    def connection_lost(self, error: Exception | None) -> None:
        self.leave()
        super().connection_lost(error)

    def leave(self) -> None:
        """It is over; told twice does no harm."""
        self.door.crowd.leave(self)
        for timer in (self._deadline, self._timeout_handle):
            if timer is not None:
                timer.cancel()

    def eof_received(self) -> bool | None:
        # Not the library's, which would cancel what is under way: some clients close their half and read on.
        self._reader.feed_eof()
        return not self.is_private

    def leave_for_another(self) -> None:
        """Called by the crowd when a newcomer needs the place."""
        self._say_last("421 4.3.2 Too many connections: log in sooner")

    def close_soon(self) -> None:
        """The server stops: a session between two messages ends now, another with its answer."""
        if self.is_idle:
            self._say_last(STOPPING)

    def _reset_timeout(self, duration: float | None = None) -> None:
        # Not the library's, which makes a timer for each command: here one looks how long nothing was heard, and goes on waiting.
        self._silent_until = self.loop.time() + (duration or self._timeout_duration)
        if self._timeout_handle is None:
            self._timeout_handle = self.loop.call_at(self._silent_until, self._look_for_silence)

    def _look_for_silence(self) -> None:
        self._timeout_handle = None
        if self.loop.time() < self._silent_until:
            self._timeout_handle = self.loop.call_at(self._silent_until, self._look_for_silence)
        else:
            self._timeout_cb()

    def _timeout_cb(self) -> None:
        if self.is_committing:
            self._reset_timeout(_COMMIT_SECONDS)
        else:
            self._say_last("421 4.4.2 Nothing was said for too long, or the session is too old: connect again")

    def _say_last(self, reply: str) -> None:
        if self.transport is None:
            self.abort()
            return
        if not self._is_shaking_hands:
            with contextlib.suppress(ConnectionError):
                self._write(launder(reply))
        self.hang_up()

    def hang_up(self) -> None:
        """Close, and do not wait for long for a client that reads nothing."""
        if self.transport is not None:
            self.transport.close()
            self.loop.call_later(_LAST_WORD_SECONDS, self.abort)

    def end(self) -> None:
        """Hang up, and hear no further command."""
        self.hang_up()
        if self._handler_coroutine is not None:
            self._handler_coroutine.cancel()

    def abort(self) -> None:
        """End without a word."""
        if self.handshake is not None:
            self.handshake.cancel()
        abort = getattr(self.transport, "abort", None)
        if abort is not None:
            abort()

    def set_deadline(self, seconds: float) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline = self.loop.call_later(seconds, self._timeout_cb)

    async def _handle_client(self) -> None:
        with contextlib.suppress(ConnectionError):
            try:
                if self not in self.door.crowd.guests:
                    self.door.crowd.enter(self)
            except Refusal as refusal:
                await self.push(refusal.reply)
            try:
                await super()._handle_client()
            finally:
                # Not every handshake that fails is told as a lost connection.
                self.leave()

    async def begin_tls(self) -> None:
        """Encrypt from here on; what came in the clear is forgotten, whether it was read or not (RFC 3207 §4.2)."""
        self._is_shaking_hands = True
        await self._writer.drain()
        # From here to the change of protocols nothing is awaited: what is in the reader came in the clear, what comes afterwards came
        # encrypted. Cleared after the handshake it would lose a first command that rides on the client's Finished (TLS 1.3).
        self._reader._buffer.clear()  # type: ignore[attr-defined]
        try:
            await self._writer.start_tls(self._tls, ssl_handshake_timeout=HANDSHAKE_SECONDS)
        except (OSError, TimeoutError) as error:  # ssl.SSLError is an OSError
            self.abort()
            raise ConnectionResetError("no TLS") from error
        self.transport = self._reader._transport = self._writer.transport  # type: ignore[attr-defined]
        self._is_shaking_hands = False
        self.is_private = True
        self.has_greeted = False
        self.errors = self.idle_commands = 0
        self.transaction = None

    async def handle_exception(self, error: Exception) -> str:
        """The reply to what a command raised: a refusal of ours, the end of the stream, or what nobody foresaw."""
        if isinstance(error, Refusal):
            return error.reply
        if isinstance(error, RelayError):
            return reply_to(error)
        if isinstance(error, asyncio.IncompleteReadError):
            return "421 4.4.2 You closed the connection"
        if isinstance(error, asyncio.LimitOverrunError):
            return "421 4.5.2 The line is too long"
        log.smtp_session_failed(self.address, error)
        return "421 4.3.0 Something went wrong here: try again later"

    async def say(self, line: str) -> None:
        """Write a line as it is: for what has no enhanced code, and for what counts as no error."""
        self._write(line)
        await self._writer.drain()

    def _write(self, line: str) -> None:
        if self.transport is None or self.transport.is_closing():
            # uvloop would take the write for a mistake of ours.
            raise ConnectionResetError("the client is gone")
        if line.startswith(("4", "5")):
            figures.refusals.labels(self.door.name, *line.split(" ", 2)[:2]).inc()
        self._writer.write(line.encode() + b"\r\n")

    async def push(self, status: str | bytes) -> None:
        """Say a reply. 421 ends the session (RFC 5321 §3.8); so do too many errors."""
        reply = launder(status if isinstance(status, str) else status.decode("ascii", "replace"))
        if reply[0] in "45":
            self.errors += 1
            if self.errors > _ERRORS and not reply.startswith("421"):
                reply = "421 4.7.0 Too many errors"
        elif self.idle_commands > _IDLE_COMMANDS:
            reply = "421 4.7.0 Too many commands without a message"
        if self.door.closing and self.is_idle and reply[0] == "2" and not reply.startswith("221"):
            self._write(reply)
            reply = STOPPING
        await self.say(reply)
        if reply.startswith("421"):
            self.end()
        if self._reader._buffer:  # type: ignore[attr-defined]
            # A client that sends ahead must not keep the others waiting: neither reading nor writing need give way.
            await asyncio.sleep(0)

    # --- greeting and small talk

    async def smtp_HELO(self, hostname: str | None) -> None:  # noqa: N802
        self._greet(hostname)
        await self.push(f"250 {self.hostname}")

    async def smtp_EHLO(self, hostname: str | None) -> None:  # noqa: N802
        if self.idle_commands > _IDLE_COMMANDS:
            raise Refusal("421 4.7.0 Too many commands without a message")
        self._greet(hostname)
        lines = [self.hostname, *self.offers, *(() if self.is_private else ("STARTTLS",))]
        for line in lines[:-1]:
            self._write(f"250-{line}")
        # Past `push`, which would give the last line an enhanced code: EHLO's reply has none (RFC 2034 §4).
        await self.say(f"250 {lines[-1]}")
        await asyncio.sleep(0)

    def _greet(self, hostname: str | None) -> None:
        self.idle_commands += 1
        self.helo = (hostname or "").strip()[:_LONGEST_NAME]
        self.transaction = None
        self.has_greeted = True

    async def smtp_NOOP(self, _argument: str | None) -> None:  # noqa: N802
        self.idle_commands += 1
        await self.push("250 2.0.0 OK")

    async def smtp_RSET(self, _argument: str | None) -> None:  # noqa: N802
        self.idle_commands += 1
        self.transaction = None
        await self.push("250 2.0.0 OK")

    async def smtp_VRFY(self, _argument: str | None) -> None:  # noqa: N802
        self.idle_commands += 1
        # RFC 5321 §7.3: without telling anybody which addresses there are.
        await self.push("252 2.1.5 Send a message: its status tells what became of it")

    async def smtp_HELP(self, _argument: str | None) -> None:  # noqa: N802
        self.idle_commands += 1
        await self.push("214 2.0.0 Commands: EHLO, STARTTLS, AUTH where it is offered, MAIL, RCPT, DATA, RSET, NOOP, QUIT")

    async def smtp_STARTTLS(self, argument: str | None) -> None:  # noqa: N802
        if self.is_private:
            raise Refusal("503 5.5.1 The connection is encrypted already")
        if argument:
            raise Refusal("501 5.5.4 STARTTLS stands alone")
        await self.say("220 2.0.0 Begin TLS")
        await self.begin_tls()

    async def smtp_QUIT(self, _argument: str | None) -> None:  # noqa: N802
        await self.push("221 2.0.0 Bye")
        self.end()
