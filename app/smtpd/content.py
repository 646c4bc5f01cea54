"""DATA, from the client's octets to what the intake wants: one message, dots unstuffed, CRLF line ends.

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
from collections.abc import Callable

from app.smtpd.replies import Refusal

_END = b"\r\n.\r\n"
_DOT_LINE = 3  # of the end, what is not content
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


def tidy(raw: bytes) -> bytes:
    """The content with CRLF line ends and without the dots that were added for the way; raises Refusal."""
    if not raw.strip():
        raise Refusal("554 5.6.0 The message is empty")
    if b"\0" in raw:
        raise Refusal("554 5.6.0 The message contains a NUL octet: encode binary content in base64")
    pairs = raw.count(b"\r\n")
    if raw.count(b"\r") != pairs:
        raise Refusal("554 5.6.0 The message contains a carriage return without a line feed: end lines with CR LF")
    if raw.count(b"\n") != pairs:
        raw = _BARE_LF.sub(b"\r\n", raw)
    # RFC 5321 §4.5.2
    return (raw[1:] if raw.startswith(b".") else raw).replace(b"\r\n.", b"\r\n")
