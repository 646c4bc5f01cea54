"""What a remote host answered, and what kind of answer it is.

A reply is a value: its code, its enhanced code (RFC 3463) and one line of text. `classify` tells by general rules what
a refusal means. The order of the rules is the policy:

    1. before RCPT no answer can be about the recipient
    2. words that blame the sender, his host or his message
    3. words about the recipient: full, disabled, unknown; about the domain; about the size
    4. words of passing trouble
    5. the enhanced code (the two that are never careless go first of all), then the code, by what the RFCs say of them

Words go before codes because hosts choose words for people and codes by habit ("550 5.7.1 user unknown"). The sender's
faults go before the recipient's because a wrong "unknown user" suppresses an address that is well. Whether to try
again is not asked here: that is `delivery.retry`, which looks at the code's first digit.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from app.mail.reply_words import AFTER_RCPT, ALIVE, AT_RCPT, BEFORE_RCPT, BOILERPLATE, NOISE, ORDERED_WORDS, PASSING

LONGEST_TEXT = 1000
_LONGEST_NOTICE = 4000


class ReplyClass(StrEnum):
    """What a reply that is not a yes means."""

    INVALID_MAILBOX = "invalid_mailbox"  # there is no such mailbox
    INVALID_DOMAIN = "invalid_domain"  # there is no such domain, or it takes no mail
    MAILBOX_FULL = "mailbox_full"  # over quota
    MAILBOX_DISABLED = "mailbox_disabled"  # it exists, and is locked, suspended or closed for now
    TRANSIENT = "transient"  # passing trouble, of theirs or on the way: busy, unreachable, too fast
    POLICY = "policy"  # this host, this sender or this content is not wanted, or broke a rule
    TOO_LARGE = "too_large"  # the message is larger than they take
    # Of reports alone:
    COMPLAINT = "complaint"  # its reader called the mail spam
    AUTOREPLY = "autoreply"  # a program answered in the recipient's name

    @property
    def suppresses(self) -> bool:
        """Whether a final refusal of this kind says that the address is not worth another mail."""
        return self in (ReplyClass.INVALID_MAILBOX, ReplyClass.INVALID_DOMAIN)


@dataclass(frozen=True, slots=True)
class Reply:
    """One SMTP reply; a text of several lines is one line here. Code 0: the remote side gave none."""

    code: int
    enhanced: str | None
    text: str

    @property
    def is_positive(self) -> bool:
        return self.code // 100 == 2

    @property
    def is_permanent(self) -> bool:
        return self.code // 100 == 5

    def __str__(self) -> str:
        return " ".join(part for part in (str(self.code) if self.code else "", self.enhanced or "", self.text) if part)


_ENHANCED_START = re.compile(r"\s*([245]\.\d{1,3}\.\d{1,3})(?=[\s:;,\-]|$)[\s:;,\-]*")
_ENHANCED_ANYWHERE = re.compile(r"(?<![\d.])([245]\.\d{1,3}\.\d{1,3})(?![\d.]*\d)")
_CODE_ANYWHERE = re.compile(r"(?<![\d.\-/=\[])([245][0-5]\d)(?=[\s:\-]|$)")
_REPLY_LINE = re.compile(r"(?<![\d.\-/=\[])([45][0-5]\d[ \-][^\n]{0,300}(?:\n[ \t]+[^\n]{1,300}){0,3})")
_PHASES_BEFORE_RCPT = frozenset(("connect", "tls", "greeting", "ehlo", "mail"))
_PARAGRAPHS = re.compile(r"\n[ \t]*\n")
_CONTROLS = re.compile(r"[\x00-\x20\x7f-\x9f\u2028\u2029]+")


def parse_reply(code: int, text: str) -> Reply:
    """A reply of its code and its text lines (joined by newlines, codes already taken off)."""
    kept: list[str] = []
    enhanced: str | None = None
    for line in text.splitlines():
        found = _ENHANCED_START.match(line)
        # RFC 2034 §4: the enhanced code is repeated on every line.
        if found is not None and (enhanced is None or found[1] == enhanced):
            enhanced = found[1]
            line = line[found.end() :]
        kept.append(line)
    return Reply(code, enhanced, _one_line(" ".join(kept)))


def read_reply(text: str) -> Reply:
    """A reply out of prose ("host mx said: 550 5.1.1 …"), as bounce messages quote it; code 0 if none is to be found."""
    code = _CODE_ANYWHERE.search(text)
    enhanced = _ENHANCED_ANYWHERE.search(text, code.end() if code is not None else 0) or _ENHANCED_ANYWHERE.search(text)
    number = int(code[1]) if code is not None else 0
    if enhanced is not None and not number:
        number = int(enhanced[1][0]) * 100
    return Reply(number, enhanced[1] if enhanced is not None else None, _one_line(text))


def _one_line(text: str) -> str:
    text = _CONTROLS.sub(" ", text.encode("utf-8", "replace").decode()).strip()
    return text if len(text) <= LONGEST_TEXT else text[: LONGEST_TEXT - 1] + "…"


# RFC 3463 §3 and the registry that RFC 5248 opened: by subject and detail; a whole subject under detail None.
_BY_ENHANCED: dict[tuple[int, int | None], ReplyClass] = {
    (1, None): ReplyClass.POLICY,
    (1, 1): ReplyClass.INVALID_MAILBOX,
    (1, 2): ReplyClass.INVALID_DOMAIN,
    (1, 3): ReplyClass.INVALID_MAILBOX,
    (1, 6): ReplyClass.INVALID_MAILBOX,
    (1, 7): ReplyClass.POLICY,  # the sender's address
    (1, 8): ReplyClass.POLICY,
    (1, 9): ReplyClass.TRANSIENT,
    (1, 10): ReplyClass.INVALID_DOMAIN,  # RFC 7505 §4.1: a null MX
    (2, None): ReplyClass.POLICY,
    (2, 1): ReplyClass.MAILBOX_DISABLED,
    (2, 2): ReplyClass.MAILBOX_FULL,
    (2, 3): ReplyClass.TOO_LARGE,
    (3, None): ReplyClass.TRANSIENT,
    (3, 2): ReplyClass.INVALID_DOMAIN,  # permanent: RFC 7504 §3, the host takes no mail
    (3, 3): ReplyClass.POLICY,
    (3, 4): ReplyClass.TOO_LARGE,
    (4, None): ReplyClass.TRANSIENT,
    (4, 4): ReplyClass.INVALID_DOMAIN,
    (5, None): ReplyClass.POLICY,
    (5, 3): ReplyClass.TRANSIENT,
    (6, None): ReplyClass.POLICY,
    (7, None): ReplyClass.POLICY,
    (7, 13): ReplyClass.MAILBOX_DISABLED,
    (7, 17): ReplyClass.INVALID_MAILBOX,  # RFC 7293 §10: the mailbox has another owner now
    (7, 18): ReplyClass.INVALID_DOMAIN,
}
_ABOUT_ADDRESS = frozenset((ReplyClass.INVALID_MAILBOX, ReplyClass.INVALID_DOMAIN, ReplyClass.MAILBOX_FULL, ReplyClass.MAILBOX_DISABLED))
# Hosts choose these with care: no words say it better. The sender's "invalid address" reads like the recipient's.
_SURE = frozenset(((1, 7), (1, 8), (2, 2), (3, 4)))


def classify(reply: Reply, phase: str | None = None) -> ReplyClass:
    """What a refusal means. `phase` is the command it answered ("connect" … "rcpt", "data", "dot"), if known."""
    told = reply.text.lower()
    words = _without_noise(told)
    before_rcpt = phase in _PHASES_BEFORE_RCPT or (phase is None and BEFORE_RCPT.search(told) is not None)
    if before_rcpt:
        kind = _by_words(words)
        passing = kind is ReplyClass.TRANSIENT or (kind is not ReplyClass.POLICY and not reply.is_permanent)
        return ReplyClass.TRANSIENT if passing else ReplyClass.POLICY
    if _is_sure(reply):
        return _by_code(reply)
    kind = _by_words(words) or _by_code(reply)
    # "Unknown" for now is not unknown: the directory is what cannot be asked.
    is_doubtful = kind.suppresses and not reply.is_permanent and PASSING.search(words) is not None
    return ReplyClass.TRANSIENT if is_doubtful else kind


def classify_reported(diagnostic: str, status: str, notice: str) -> ReplyClass:
    """What a report means that came later: what it quotes of the remote host, its status code (RFC 3463), its own words.

    The more particular goes first: the quoted words, a code that says more than "failed", the replies that the notice quotes, its own
    words, any code. A diagnostic of several lines is a notice's own text: of it the replies that it quotes go first, for what stands
    around them is advice, and signatures."""
    diagnostic, notice = without_boilerplate(diagnostic), without_boilerplate(notice[:_LONGEST_NOTICE])
    own = " ".join(_REPLY_LINE.findall(diagnostic)) if "\n" in diagnostic else ""
    reply = read_reply(own or diagnostic)
    if reply.enhanced is None or reply.enhanced.endswith(".0.0"):
        reply = Reply(reply.code or (int(status[0]) * 100 if status else 0), status or reply.enhanced, reply.text)
    if BEFORE_RCPT.search(_one_line(diagnostic).lower()) is not None:
        return classify(reply, "mail")
    if _is_sure(reply):
        return _by_code(reply)
    if (kind := _by_words(_without_noise(reply.text.lower()))) is not None:
        return kind
    if reply.enhanced is not None and _particular(reply.enhanced):
        return _by_code(reply)
    quoted = own or " ".join(_REPLY_LINE.findall(notice))
    by_reply = _words_of(quoted)
    by_notice = _words_of(notice)
    if by_reply is not None and not (by_reply is ReplyClass.TRANSIENT and by_notice in _ABOUT_ADDRESS):
        return by_reply
    if quoted and by_notice not in _ABOUT_ADDRESS:
        return _by_code(reply if reply.code else read_reply(quoted))  # what stands around a reply without a reason is advice
    if by_notice is not None:
        return by_notice
    if not reply.code:
        reply = read_reply(quoted) if quoted else Reply(500, None, "")  # what is given up for no reason that we read was refused
    return _by_code(reply)


def without_boilerplate(text: str) -> str:
    """A notice without the paragraphs that say nothing of this mail: who may read it, who is liable."""
    if "\n" not in text:
        return text
    return "\n\n".join(part for part in _PARAGRAPHS.split(text) if BOILERPLATE.search(part.lower()) is None)


def is_proof(kind: ReplyClass, diagnostic: str, status: str, notice: str) -> bool:
    """Whether a report of a dead address is proof enough to send nothing there again: two of its statements must agree.

    The words must be borne out by a code about addresses (RFC 3463 §3.2; what vendors number themselves is none), or by the moment: the
    host refused the recipient itself. Where no words say it, the host's own code and the moment must: a relay's status says 5.1.1 of
    whatever was refused at RCPT. Who takes the recipient and says "unknown" after the content has reasons of his own. A code for
    passing trouble, or words in the notice that the mailbox is full or locked, and it is no proof.
    """
    if not kind.suppresses:
        return False
    reply = read_reply(diagnostic)
    codes = [_numbers(code) for code in (reply.enhanced, status) if code]
    if any(code[0] == 4 or code[1] == 7 or code[1:] == (2, 2) for code in codes) or reply.code // 100 == 4:
        return False
    moment = " ".join(f"{diagnostic} {notice[:_LONGEST_NOTICE]}".split())
    is_at_rcpt = AT_RCPT.search(moment) is not None
    about_address = any(_is_about_address(code) for code in codes)
    if not about_address and AFTER_RCPT.search(moment) is not None:
        return False
    is_own_code = reply.enhanced is not None and _is_about_address(_numbers(reply.enhanced))
    if not (is_own_code and is_at_rcpt) and not any(_says_dead(text) for text in (diagnostic, notice[:_LONGEST_NOTICE])):
        return False
    if kind is ReplyClass.INVALID_DOMAIN:
        return True
    if not about_address and not is_at_rcpt:
        return False
    return not any(pattern.search(notice[:_LONGEST_NOTICE].lower()) for pattern in ALIVE)


def _numbers(enhanced: str) -> tuple[int, ...]:
    return tuple(map(int, enhanced.split(".")))


def _is_about_address(code: tuple[int, ...]) -> bool:
    return code[1] == 1 and 1 <= code[2] <= 10


def _says_dead(text: str) -> bool:
    kind = _words_of(text)
    return kind is not None and kind.suppresses


def _particular(enhanced: str) -> bool:
    subject, detail = _numbers(enhanced)[1:]
    return (subject, detail) in _BY_ENHANCED or (detail != 0 and (subject, None) in _BY_ENHANCED)


def _is_sure(reply: Reply) -> bool:
    return reply.enhanced is not None and _numbers(reply.enhanced)[1:] in _SURE


def _without_noise(told: str) -> str:
    return NOISE.sub(_replace_noise, told)


def _replace_noise(found: re.Match[str]) -> str:
    """What an address or a link leaves behind: that somebody was named, what the link is about."""
    return f" {found[1] or found[2] or ('@' if '@' in found[0] else '')} "


def _words_of(text: str) -> ReplyClass | None:
    return _by_words(_without_noise(_one_line(text).lower())) if text else None


def _by_words(words: str) -> ReplyClass | None:
    return next((ReplyClass(kind) for kind, pattern in ORDERED_WORDS if pattern.search(words)), None)


def _by_code(reply: Reply) -> ReplyClass:
    if reply.enhanced is not None:
        digit, subject, detail = _numbers(reply.enhanced)
        kind = _BY_ENHANCED.get((subject, detail)) or _BY_ENHANCED.get((subject, None))
        if kind is not None and (digit == 5 or kind is not ReplyClass.INVALID_DOMAIN):
            return kind
    if reply.code == 552:
        return ReplyClass.MAILBOX_FULL  # RFC 5321 §4.2.3: exceeded storage allocation
    return ReplyClass.POLICY if reply.is_permanent else ReplyClass.TRANSIENT
