"""Finished mail as applications hand it in: the orders of `orders` as MIME, about 10 KB, each with its own number. Pure.

The library's own EmailMessage writes it, quoted-printable, so that it looks like what a CMS or a shop's plugin sends. Only header
and recipient bear the number: 64 bodies are made once, and a mail is one replacement in the head of one of them.
"""

from __future__ import annotations

import random
from email.message import EmailMessage
from email.policy import SMTP

from tests.house.orders import NUMBER, an_order

_VARIANTS = 64
_LARGE_VARIANTS = 4
# What stands for the number while the library looks at it: it must survive as a word of a header.
_WORD = "0000000000"


class Letters:
    """Mails to `customer<number>@<domain>`. With `attachment_bytes` each has a file of random octets, about as large as MIME."""

    def __init__(self, sender: str, *, domain: str = "mail.example", attachment_bytes: int = 0) -> None:
        self._domain = domain
        seeds = range(_LARGE_VARIANTS if attachment_bytes else _VARIANTS)
        self._variants = [_cut(_letter(seed, sender, domain, attachment_bytes)) for seed in seeds]

    def recipient(self, number: int) -> str:
        return f"customer{number:010d}@{self._domain}"

    def make(self, number: int) -> bytes:
        """As DATA takes it: dots stuffed, with the final dot."""
        head, rest = self._variants[number % len(self._variants)]
        return head.replace(_WORD.encode(), b"%010d" % number) + rest


def _letter(seed: int, sender: str, domain: str, attachment_bytes: int) -> bytes:
    order = an_order(seed)
    letter = EmailMessage(policy=SMTP)
    letter["From"] = f"The Example Shop <{sender}>"
    letter["To"] = f"customer{_WORD}@{domain}"
    letter["Subject"] = order.subject.replace(NUMBER, _WORD)
    letter["Date"] = "Mon, 07 Jun 2027 09:00:00 +0200"
    letter["Message-ID"] = f"<{_WORD}.order@{sender.partition('@')[2]}>"
    shown = f"{seed:010d}"
    letter.set_content(order.text.replace(NUMBER, shown), cte="quoted-printable")
    letter.add_alternative(order.html.replace(NUMBER, shown), subtype="html", cte="quoted-printable")
    if attachment_bytes:
        octets = random.Random(seed).randbytes(attachment_bytes * 73 // 100)  # base64 with its line ends
        letter.add_attachment(octets, maintype="application", subtype="pdf", filename="invoice.pdf")
    return letter.as_bytes()


def _cut(raw: bytes) -> tuple[bytes, bytes]:
    """(the header block, the rest as DATA takes it)."""
    head, _, body = raw.partition(b"\r\n\r\n")
    body = b"\r\n\r\n" + body
    return head, body.replace(b"\r\n.", b"\r\n..") + (b"" if body.endswith(b"\r\n") else b"\r\n") + b".\r\n"
