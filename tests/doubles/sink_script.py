"""Scripts of the SMTP sink: which fault meets which recipient or connection.

A script is JSON, `{"rules": [RULE, …]}`. A rule names a fault and says when it applies; all its conditions must hold,
the first rule that holds wins, no rule = the mail is taken.

    {"fault": "rcpt_550", "domain": "gone.test"}                  domain of the recipient; "*.gone.test" = any below it
    {"fault": "dot_slow", "recipient": "^slow.*@", "seconds": 20} a regular expression on the recipient
    {"fault": "defer", "share": 0.1}                              a tenth of all, drawn anew each time
    {"fault": "rcpt_450", "times_each": 1}                        greylisting: only the first time for each recipient
    {"fault": "banner_421", "address": "127.0.0.7"}               connections that came in on this local address
    {"fault": "banner_554", "times": 3}                           the first three times only
    {"fault": "banner_421", "lasts": 8.0}                         for eight seconds from the first time on: an outage
    {"fault": "mail_421", "after_transactions": 10}               from the eleventh transaction of a connection on

Beside the rules a script may say what EHLO offers to connections that came in on an address: `"offers": {"127.0.0.9": ["SIZE 1000"]}`.

`reply` (without CRLF), `seconds` and `after_bytes` replace what the fault's row in FAULTS says. Faults of the phases
connect, ehlo, starttls and idle meet a connection, before any recipient is known: only `address`, `share`, `times` and `lasts` mean
something there. A recipient is known at MAIL only when RCPT came in the same write (pipelining).

A real "connection refused" needs no fault: dial an address that nobody listens on.
"""

from __future__ import annotations

import json
import random
import re
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Fault:
    """What goes wrong, at which phase. `reply` None = no reply, ever. `then`: stay, close (FIN), reset (RST)
    or skip (this command alone is not answered)."""

    name: str
    phase: str
    reply: bytes | None
    then: str = "stay"
    seconds: float = 0.0
    after_bytes: int = 0
    drip: bool = False

    @property
    def positive(self) -> bool:
        """Whether the client is told yes, so that the transaction goes on."""
        return self.reply is not None and self.reply[:1] in (b"2", b"3")


GARBAGE = b"\x16\x03\x01\xff\x00\x7fnot smtp at all"
CODELESS = b"welcome, how are you"
LONG = b"250-" + b"x" * 900 + b"\r\n"

_ROWS: tuple[Fault, ...] = (
    # the greeting
    Fault("connect_reset", "connect", None, "reset"),
    Fault("connect_close", "connect", None, "close"),
    Fault("banner_421", "connect", b"421 4.3.2 too busy, come back later", "close"),
    Fault("banner_450", "connect", b"450 4.7.1 your address is greylisted", "close"),
    Fault("banner_554", "connect", b"554 5.7.1 no mail from your address", "close"),
    Fault("banner_slow", "connect", b"220 sink.test ESMTP at last", seconds=5.0),
    Fault("banner_never", "connect", None),
    Fault("banner_garbage", "connect", GARBAGE),
    Fault("banner_drip", "connect", b"220 sink.test ESMTP one byte at a time", seconds=0.05, drip=True),
    Fault("banner_multiline", "connect", b"220-sink.test\r\n220-no spam here\r\n220 ESMTP"),
    # EHLO and STARTTLS
    Fault("ehlo_502", "ehlo", b"502 5.5.1 command not implemented"),
    Fault("ehlo_421", "ehlo", b"421 4.3.2 shutting down", "close"),
    Fault("ehlo_550", "ehlo", b"550 5.7.1 I do not like your name"),
    Fault("ehlo_drop", "ehlo", None, "reset"),
    Fault("starttls_454", "starttls", b"454 4.7.0 TLS not available now"),
    Fault("starttls_broken", "starttls", b"220 2.0.0 go ahead\r\nthis is no ServerHello"),
    # plaintext in the same packet as the 220, which a man in the middle would like to be heard inside TLS; the handshake goes well
    Fault("starttls_injected", "starttls", b"220 2.0.0 go ahead\r\n250-sink.test\r\n250 SIZE 1"),
    Fault("starttls_drop", "starttls", b"220 2.0.0 go ahead", "reset"),
    # MAIL
    Fault("mail_421", "mail", b"421 4.7.0 too many messages on this connection", "close"),
    Fault("mail_451", "mail", b"451 4.3.0 try again later"),
    Fault("mail_452", "mail", b"452 4.3.1 out of space"),
    Fault("mail_550", "mail", b"550 5.7.1 sender refused"),
    Fault("mail_552", "mail", b"552 5.3.4 message too big"),
    Fault("mail_drop", "mail", None, "reset"),
    Fault("mail_never", "mail", None),
    Fault("mail_skipped", "mail", None, "skip"),
    # RCPT
    Fault("rcpt_421", "rcpt", b"421 4.7.0 closing now", "close"),
    Fault("rcpt_450", "rcpt", b"450 4.2.0 greylisted, try again later"),
    Fault("rcpt_451", "rcpt", b"451 4.7.1 try again later"),
    Fault("rcpt_452", "rcpt", b"452 4.2.2 mailbox full"),
    Fault("rcpt_550", "rcpt", b"550 5.1.1 no such user"),
    Fault("rcpt_551", "rcpt", b"551 5.1.6 user not local"),
    Fault("rcpt_552", "rcpt", b"552 5.2.2 mailbox full"),
    Fault("rcpt_553", "rcpt", b"553 5.1.3 mailbox name not allowed"),
    Fault("rcpt_multiline", "rcpt", b"550-5.1.1 The account that you tried to reach\r\n550-5.1.1 does not exist.\r\n550 5.1.1 Learn more"),
    Fault("rcpt_garbage", "rcpt", GARBAGE),
    Fault("rcpt_drop", "rcpt", None, "reset"),
    Fault("rcpt_skipped", "rcpt", None, "skip"),
    Fault("rcpt_then_drop", "rcpt", b"250 2.1.5 ok", "reset"),
    Fault("rcpt_slow", "rcpt", b"250 2.1.5 ok, at last", seconds=5.0),
    # a server may say 354 though it refused the only recipient (RFC 2920 §3.1)
    Fault("rcpt_550_then_354", "rcpt", b"550 5.1.1 no such user"),
    # DATA and the body
    Fault("data_421", "data", b"421 4.3.2 shutting down", "close"),
    Fault("data_451", "data", b"451 4.3.0 try again later"),
    Fault("data_554", "data", b"554 5.7.1 no data wanted"),
    Fault("data_250", "data", b"250 2.0.0 a yes where 354 belongs"),
    Fault("data_never", "data", None),
    Fault("data_drop", "data", None, "reset"),
    Fault("body_drop", "body", None, "reset", after_bytes=1),
    Fault("body_552", "body", b"552 5.3.4 that is enough", "close", after_bytes=65536),
    Fault("body_stall", "body", None, after_bytes=1),
    # the final dot
    Fault("defer", "dot", b"451 4.7.1 deferred, try again later"),
    Fault("dot_421", "dot", b"421 4.3.2 shutting down", "close"),
    Fault("dot_451", "dot", b"451 4.3.0 local error"),
    Fault("dot_452", "dot", b"452 4.3.1 out of space"),
    Fault("dot_550", "dot", b"550 5.7.1 content refused"),
    Fault("dot_552", "dot", b"552 5.2.2 mailbox full"),
    Fault("dot_554", "dot", b"554 5.7.1 message looks like spam"),
    Fault("dot_drop", "dot", None, "reset"),
    Fault("dot_close", "dot", None, "close"),
    Fault("dot_then_drop", "dot", b"250 2.0.0 taken, goodbye", "close"),
    Fault("dot_never", "dot", None),
    Fault("dot_slow", "dot", b"250 2.0.0 taken, at last", seconds=5.0),
    Fault("dot_drip", "dot", b"250 2.0.0 taken, one byte at a time", seconds=0.02, drip=True),
    Fault("dot_garbage", "dot", GARBAGE),
    Fault("dot_codeless", "dot", CODELESS),
    Fault("dot_bare_code", "dot", b"250"),
    Fault("dot_354", "dot", b"354 go on?"),
    Fault("dot_multiline", "dot", b"250-2.0.0 taken\r\n250-2.0.0 by the sink\r\n250 2.0.0 queued as 12345"),
    Fault("dot_too_long", "dot", LONG * 100 + b"250 2.0.0 taken"),
    # between transactions
    Fault("idle_421", "idle", b"421 4.4.2 idle too long", "close", seconds=0.2),
    Fault("idle_close", "idle", None, "close", seconds=0.2),
)

FAULTS: Mapping[str, Fault] = {fault.name: fault for fault in _ROWS}

_CONNECTION_PHASES = frozenset({"connect", "ehlo", "starttls", "idle"})


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule of a script, as the module head tells."""

    fault: Fault
    domain: str | None = None
    recipient: re.Pattern[str] | None = None
    address: str | None = None
    share: float = 1.0
    times: int | None = None
    times_each: int | None = None
    after_transactions: int = 0
    lasts: float | None = None


class Script:
    """Rules, and what they remember (times, greylists, the draw)."""

    def __init__(self, rules: Sequence[Rule] = (), *, seed: int = 0, offers: Mapping[str, Sequence[str]] | None = None) -> None:
        self.offers = {address: tuple(words) for address, words in (offers or {}).items()}
        self.fault_names = [rule.fault.name for rule in rules]
        self._connection_rules = [rule for rule in rules if rule.fault.phase in _CONNECTION_PHASES]
        self._mail_rules = [rule for rule in rules if rule.fault.phase == "mail"]
        self._recipient_rules = [rule for rule in rules if rule.fault.phase not in _CONNECTION_PHASES and rule.fault.phase != "mail"]
        self._random = random.Random(seed)
        self._hits: Counter[object] = Counter()
        self._begun: dict[int, float] = {}

    @classmethod
    def read(cls, path: Path, *, seed: int = 0) -> Script:
        return cls.parse(json.loads(path.read_text()), seed=seed)

    @classmethod
    def parse(cls, script: Mapping[str, Any], *, seed: int = 0) -> Script:
        return cls(cls.rules_of(script), seed=seed, offers=script.get("offers"))

    @staticmethod
    def rules_of(script: Mapping[str, Any]) -> list[Rule]:
        return [_parse_rule(row) for row in script["rules"]]

    def for_connection(self, phase: str, address: str) -> Fault | None:
        return self._first(self._connection_rules, phase=phase, address=address) if self._connection_rules else None

    def for_mail(self, recipient: str, address: str, transactions: int) -> Fault | None:
        """`recipient` is empty when it has not been said yet."""
        rules = self._mail_rules
        return self._first(rules, recipient=recipient, address=address, transactions=transactions) if rules else None

    def for_recipient(self, recipient: str, address: str, transactions: int) -> Fault | None:
        rules = self._recipient_rules
        return self._first(rules, recipient=recipient, address=address, transactions=transactions) if rules else None

    def _first(
        self, rules: list[Rule], *, phase: str | None = None, recipient: str = "", address: str = "", transactions: int = 0
    ) -> Fault | None:
        for rule in rules:
            if (phase is None or rule.fault.phase == phase) and self._holds(rule, recipient, address, transactions):
                return rule.fault
        return None

    def _holds(self, rule: Rule, recipient: str, address: str, transactions: int) -> bool:
        if rule.domain is not None and not _under(recipient.rpartition("@")[2], rule.domain):
            return False
        if rule.recipient is not None and not rule.recipient.search(recipient):
            return False
        if rule.address is not None and rule.address != address:
            return False
        if transactions < rule.after_transactions:
            return False
        if rule.share < 1.0 and self._random.random() >= rule.share:
            return False
        if rule.lasts is not None and time.monotonic() > self._begun.setdefault(id(rule), time.monotonic()) + rule.lasts:
            return False
        if rule.times is not None and not self._count(id(rule), rule.times):
            return False
        return rule.times_each is None or self._count((id(rule), recipient.lower()), rule.times_each)

    def _count(self, key: object, most: int) -> bool:
        self._hits[key] += 1
        return self._hits[key] <= most


def short_rule(text: str) -> Rule:
    """The rule in `NAME` or `NAME:SHARE`, as in "defer:0.1"."""
    name, _, share = text.partition(":")
    return Rule(FAULTS[name], share=float(share or 1))


def _parse_rule(row: Mapping[str, Any]) -> Rule:
    conditions = dict(row)
    fault = FAULTS[conditions.pop("fault")]
    reply = conditions.pop("reply", None)
    changes: dict[str, Any] = {key: conditions.pop(key) for key in ("seconds", "after_bytes") if key in conditions}
    if reply is not None:
        changes["reply"] = reply.encode()
    if pattern := conditions.pop("recipient", None):
        conditions["recipient"] = re.compile(pattern, re.IGNORECASE)
    return Rule(replace(fault, **changes), **conditions)


def _under(domain: str, pattern: str) -> bool:
    domain = domain.lower()
    return domain.endswith(pattern[1:]) if pattern.startswith("*.") else domain == pattern
