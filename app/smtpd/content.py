"""DATA, from the client's octets to one message: dots unstuffed, CRLF line ends.

The end is CR LF . CR LF and nothing else (RFC 5321 §4.1.1.4). Every other spelling that some server somewhere takes for it (a bare LF
or CR on either side of the dot, a NUL beside it) is content: what two servers part differently would be a second message smuggled
through the first one's checks. Then no such spelling may be passed on either:

* a bare LF becomes CR LF, before dots are unstuffed: PHP scripts and printers end lines so, and mean it;
* a bare CR and a NUL are refused: nobody means them, and any reading of them would be a guess.

Lines may be as long as the message.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable

from app.smtpd.door import Room
from app.smtpd.replies import Refusal

_END = b"\r\n.\r\n"
_DOT_LINE = 3  # of the end, what is not content
# What a line of 64 kbit/s carries; asked for only while room is scarce, and not of the first pieces.
_SLOW_BYTES_A_SECOND = 8_000
_SLOW_AFTER_SECONDS = 30.0
_BARE_LF = re.compile(rb"(?<!\r)\n")
# How much of the end has been seen, and what the next octet makes of it (Knuth, Morris, Pratt); 5 is the end.
_NEXT = ({13: 1}, {10: 2, 13: 1}, {46: 3, 13: 1}, {13: 4}, {10: 5, 13: 1})


async def read_to_end(reader: asyncio.StreamReader, take: Callable[[bytes], None]) -> None:
    """Give all content up to the end to `take`, in pieces; the reader stands behind the end afterwards.

    Raises asyncio.IncompleteReadError when the client leaves before it.
    """
    # The CRLF of the DATA command is the first half of the end of an empty message.
    seen, first = 2, bytearray()
    while seen:
        octet = await reader.readexactly(1)
        first += octet
        seen = _NEXT[seen].get(octet[0], 0)
        if seen == len(_END):
            take(bytes(first[:-_DOT_LINE]))
            return
        if len(first) >= 1024:  # CRLF after CRLF after CRLF
            take(bytes(first))
            first.clear()
    take(bytes(first))
    while True:
        try:
            piece = await reader.readuntil(_END)
        except asyncio.LimitOverrunError as overrun:
            # The end is not in these octets, and no part of it: the reader keeps what could be its beginning.
            take(await reader.readexactly(overrun.consumed))
        else:
            take(piece[:-_DOT_LINE])
            return


def unstuffed(raw: bytes) -> bytes:
    """The content without the dots that were added for the way (RFC 5321 §4.5.2), for who only reads it."""
    return (raw[1:] if raw.startswith(b".") else raw).replace(b"\r\n.", b"\r\n")


def tidy(raw: bytes) -> bytes:
    """The content as it may be sent on: with CRLF line ends and without the dots that were added for the way; raises Refusal."""
    if not raw.strip():
        raise Refusal("554 5.6.0 The message is empty")
    if b"\0" in raw:
        raise Refusal("554 5.6.0 The message contains a NUL octet: encode binary content in base64")
    pairs = raw.count(b"\r\n")
    if raw.count(b"\r") != pairs:
        raise Refusal("554 5.6.0 The message contains a carriage return without a line feed: end lines with CR LF")
    if raw.count(b"\n") != pairs:
        raw = _BARE_LF.sub(b"\r\n", raw)
    return unstuffed(raw)


class Incoming:
    """One message that is coming in, as far as it is kept: in the room of all sessions, up to `most_bytes`, for `holder`'s share of it."""

    def __init__(self, room: Room, holder: str, most_bytes: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._room = room
        self._holder = holder
        self._most_bytes = most_bytes
        self._clock = clock
        self._began = clock()
        self._pieces: list[bytes] = []
        self._kept = 0
        self._seen = 0
        self._refusal: str | None = None

    def take(self, piece: bytes) -> None:
        """Keep a piece, or, where it is too much, drop all and let the rest come (RFC 5321 §4.5.3.1.9); raises Refusal when it goes on.

        And when it comes so slowly that others are kept out by it.
        """
        self._seen += len(piece)
        if self._refusal is None:
            if self._room.is_scarce and self._is_slow():
                raise Refusal("421 4.4.2 The message comes too slowly while there is little room: try again later")
            if self._seen > self._most_bytes:
                self._refusal = f"552 5.3.4 The message is too large: at most {self._most_bytes} octets are allowed"
            elif not self._room.take(self._holder, len(piece)):
                self._refusal = "452 4.3.1 Too much mail comes in at once: try again in a minute"
            else:
                self._pieces.append(piece)
                self._kept += len(piece)
                return
            self._pieces.clear()
            self.give_back()
        if self._seen > 2 * self._most_bytes:
            raise Refusal(f"421 4.3.0 {self._refusal[10:]}")

    def whole(self) -> bytes:
        """The message as it came; raises Refusal when it was too much."""
        if self._refusal is not None:
            raise Refusal(self._refusal)
        raw = b"".join(self._pieces)
        self._pieces.clear()
        return raw

    def give_back(self) -> None:
        """Its room is free again; told twice does no harm."""
        self._room.give_back(self._holder, self._kept)
        self._kept = 0

    def _is_slow(self) -> bool:
        seconds = self._clock() - self._began
        return seconds > _SLOW_AFTER_SECONDS and self._seen < _SLOW_BYTES_A_SECOND * seconds
