"""Prebuilt HTTP requests: the load generator only writes a number into them. Pure."""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

from tests.house.orders import NUMBER, a_body, as_json

_SITE = "@@SITE@@"
_VARIANTS = 64
_DRAWN = 1 << 16


class Requests:
    """POSTs of orders, each with the next number in it.

    `sites`: recipients lie at so many domains, by Zipf's law (site k has a weight of 1/k). `batch`: so many messages in one POST.
    `recipients`: so many recipients of one message. `short`: a few words instead of a whole confirmation.
    `template`: a stored one, filled with `variables`; tracked. `tracked`: with pixel and tracked links, which else are switched off.
    """

    def __init__(
        self,
        *,
        sender: str,
        token: str,
        stream: str = "transactional",
        domain: str = "mail.example",
        sites: int = 0,
        batch: int = 0,
        recipients: int = 1,
        short: bool = False,
        keys: bool = False,
        tracked: bool = False,
        template: str = "",
        variables: dict[str, Any] | None = None,
    ) -> None:
        self._per_request = max(batch, 1)
        self._recipients = recipients
        where = f"{_SITE}.example" if sites else domain
        seeds = range(_VARIANTS if batch == 0 else 1)
        if template:
            bodies = [_filled(sender, where, stream, template, variables or {})]
        else:
            bodies = [_body(seed, sender, where, stream, recipients, short=short, tracked=tracked) for seed in seeds]
        head = [f"POST /v1/messages{'/batch' if batch else ''} HTTP/1.1", "Host: localhost", f"Authorization: Bearer {token}"]
        head += ["Content-Type: application/json"] + ([f"Idempotency-Key: order-{NUMBER}"] if keys else [])
        self._head = "\r\n".join(head).encode()
        self._items = [as_json(body) for body in bodies]
        self._batch = batch
        self._whole = [self._frame(item) for item in self._items]
        self._sites = _zipf(sites) if sites else []

    def make(self, number: int) -> bytes:
        """The request number `number`; of a batch, all its items bear numbers of their own."""
        if self._batch:
            first = number * self._batch
            return self._frame(b'{"messages":[' + b",".join(self._fill(self._items[0], first + n) for n in range(self._batch)) + b"]}")
        return self._fill(self._whole[number % len(self._whole)], number)

    @property
    def recipients_each(self) -> int:
        return self._per_request * self._recipients

    def _fill(self, template: bytes, number: int) -> bytes:
        filled = template.replace(NUMBER.encode(), b"%010d" % number)
        return filled.replace(_SITE.encode(), self._sites[number % _DRAWN]) if self._sites else filled

    def _frame(self, body: bytes) -> bytes:
        length = len(body.replace(NUMBER.encode(), b"0" * 10).replace(_SITE.encode(), b"site0000"))
        return self._head + b"\r\nContent-Length: %d\r\n\r\n" % length + body


def number_of(recipient: str) -> int:
    """The number in a recipient's address."""
    return int(recipient[8:18])


def _body(seed: int, sender: str, domain: str, stream: str, recipients: int, *, short: bool, tracked: bool) -> dict[str, Any]:
    body = a_body(seed, sender=sender, recipient=f"customer{NUMBER}@{domain}", stream=stream)
    if not tracked:
        body["track"] = {"opens": False, "clicks": False}
    if recipients > 1:
        body["to"] = [f"customer{NUMBER}-{n}@{domain}" for n in range(recipients)]
    if short:
        body["html"] = "<p>Your parcel with order <b>" + NUMBER + "</b> has left our house. It will be with you in two or three days.</p>"
        body["text"] = f"Your parcel with order {NUMBER} has left our house. It will be with you in two or three days."
    return body


def _filled(sender: str, domain: str, stream: str, template: str, variables: dict[str, Any]) -> dict[str, Any]:
    body = a_body(0, sender=sender, recipient=f"customer{NUMBER}@{domain}", stream=stream)
    for part in ("subject", "html", "text"):
        del body[part]
    return body | {"template": template, "variables": variables, "locale": "it_IT"}


def _zipf(sites: int) -> Sequence[bytes]:
    weights = list(accumulate(1 / k for k in range(1, sites + 1)))
    drawn = random.Random(1).choices(range(sites), cum_weights=weights, k=_DRAWN)
    return [b"site%04d" % site for site in drawn]
