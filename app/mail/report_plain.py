"""The recipients of a notice in words, as hosts write that follow no standard (or beside it), and what is said of each.

Every line of the notice (the quoted mail cut off) that names an address is ranked by how it names it; the best rank that occurs wins:

    5   it begins a line at the margin and a colon or reason follows          <ada@example.com>: host mx said: 550 …
    4   it stands alone, begins a line, or a label names it                   Recipient: ada@example.com
    3   it stands in a sentence about failure                                 Your message to ada@example.com could not be delivered
    2   it stands in the dialogue                                             550 <ada@example.com>... User unknown
    1   it is named at all
    0   the header of the mail names it, as the notice repeats it             To: ada@example.com

Addresses of those who write and of those who can be asked are none of these; neither is the address that the notice came to, unless
it is the only one. What is said of a recipient is what stands from his line to the next one's.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from app.mail.report_status import address_in
from app.mail.report_words import FAILURE, QUOTED

LISTED: Final = 4  # from this rank on a recipient is named as one, and not in passing
_LONGEST_LINE: Final = 1000
_MOST_LINES: Final = 2000
_MOST_RECIPIENTS: Final = 500
_LONGEST_SAYING: Final = 1500

_ADDRESS: Final = r"[\w.!#$%&'*+/=?^`{|}~\-]{1,64}@[A-Za-z0-9\u00a1-\uffff\-_]{1,63}(?:\.[A-Za-z0-9\u00a1-\uffff\-_]{1,63}){0,8}"
_ANYWHERE = re.compile(rf"(?<![\w.+\-@/])(?:smtp[=:])?({_ADDRESS})(?![\w@])", re.IGNORECASE)
_COLUMN = re.compile(rf"[\"'<]{{0,2}}({_ADDRESS})[\"'>]{{0,2}}[ \t]*(?::|;|\.\.\.|\t|[ \t]{{2,}}\S|[ \t]\(|[ \t]\[)")
_BEGINS = re.compile(
    rf"[\s>*\-<\"'(\[•]{{0,40}}({_ADDRESS})[\"'>)\]]{{0,3}}(?:[ \t]*$|[ \t]*[:;,(\[]|\.{{3}}|[ \t]+(?:on|was|is|has|-|\S+ \S+))"
)
_LABEL = re.compile(
    r"[\s*>\-]{0,20}(?:[\w\-]{1,20} ){0,3}?(?:recipients?|rcpt|address(?:ee)?|addresses|user|mailbox|e?-?mail(?: address)?|failed"
    r"|destinat\w{1,8}|empf\w{1,8}|ontvanger|mottagare|modtager|odbiorca|получател\w{1,3}|受信者|宛先|送信先|收件人|收件者|받는 ?사람)"
    rf"(?:\(s\)|\(es\))?(?: to)?[ \t]*[:=：][ \t]*.{{0,60}}?[<\"']?({_ADDRESS})",
    re.IGNORECASE,
)
_NEXT_LISTED = re.compile(rf"[\s,;<>\"']{{1,20}}({_ADDRESS})")
_WITH_NAME = re.compile(rf"[\s>*\-]{{0,20}}(?:\"[^\"]{{0,80}}\"|[\w .,'\-]{{1,60}})[ \t]{{0,4}}<({_ADDRESS})>[ \t]*$")
_DIALOGUE = re.compile(r"rcpt to|^[\s<>\-]{0,8}[45]\d\d[ \-]|\.\.\. |<<<", re.IGNORECASE)
_HEADER = re.compile(r"[\s>]{0,20}(?:to|cc|subject|sent|date)[ \t]*:", re.IGNORECASE)
# Lines about who wrote, who asks, who can be asked.
_OTHERS = re.compile(
    r"mail from|from:|\bfrom\b[ \t]*[:<]|sender|expanded from|envelope-from|return-path|reply-to|message-id|\bid\b:|contact|assist|question"
    r"|complain|\bhelp\b|support|please (?:send|write|e?-?mail|forward|reply|notify|call)|for more information"
    r"|received from|reply to|mailto:|on behalf of|administrator|references:|in-reply-to|\bcc:|\bwas received\b|^\s*from\s",
    re.IGNORECASE,
)
_STAFF = re.compile(r"^(?:mailer-daemon|postmaster|abuse|support|helpdesk|hostmaster|admin(?:istrator)?|noc|security)$", re.IGNORECASE)
_QUOTE = re.compile(r"^(?:>[ \t]?){1,9}(?=\S)")


@dataclass(frozen=True, slots=True)
class Named:
    """A recipient and what the notice says of him."""

    address: str
    rank: int
    saying: str


def cut_notice(text: str) -> str:
    """The notice without the mail that it quotes."""
    lines = text.split("\n", _MOST_LINES)[:_MOST_LINES]
    said = False
    for number, line in enumerate(lines):
        if said and QUOTED.match(line[:200]) is not None:
            return "\n".join(lines[:number])
        said = said or bool(line.strip())
    return "\n".join(lines)


def read_notice(notice: str, own: Sequence[str]) -> list[Named]:
    """The recipients that a notice names. `own`: addresses of those that the notice is from and to."""
    lines = [_QUOTE.sub("", line[:_LONGEST_LINE]) for line in notice.split("\n")]
    ranked = _rank(lines)
    known = {address.lower() for address in own}
    others = [one for one in ranked if one[2].lower() not in known and not (one[0] < 4 and _STAFF.match(one[2].partition("@")[0]))]
    if not others:
        others = [one for one in ranked if one[0] >= 3]
    best = max((rank for rank, _, _ in others), default=0)
    chosen = [(number, address) for rank, number, address in others if rank == best]
    return _sayings(lines, chosen, best)


def _rank(lines: Sequence[str]) -> list[tuple[int, int, str]]:
    """Rank, number of the line, address."""
    found: list[tuple[int, int, str]] = []
    before = ""
    for number, line in enumerate(lines):
        if "@" in line and len(found) < _MOST_RECIPIENTS:
            found += [(rank, number, address) for rank, address in _rank_line(line, before)]
        # An empty line ends a sentence, but not what ends with a colon.
        before = line if line.strip() else before if before.rstrip().endswith(":") else ""
    return found


def _rank_line(line: str, before: str) -> list[tuple[int, str]]:
    for rank, pattern in ((5, _COLUMN), (4, _BEGINS), (4, _LABEL), (4, _WITH_NAME)):
        named = pattern.match(line)
        if named is not None and not (pattern is _LABEL and _OTHERS.search(line[: named.start(1)])):
            addresses = [address_in(named[1]), *(_listed_after(line, named.end(1)) if rank == 4 else ())]
            return [(rank, address) for address in addresses if address]
    addresses = [address for one in _ANYWHERE.findall(line) if (address := address_in(one))]
    if _HEADER.match(line) is not None:
        return [(0, address) for address in addresses]
    if _OTHERS.search(line) is not None:
        return []
    sentence = f"{before} {line}".lower()
    rank = 2 if _DIALOGUE.search(line) is not None else 3 if FAILURE.search(sentence) is not None else 1
    return [(rank, address) for address in addresses]


def _listed_after(line: str, place: int) -> Iterator[str]:
    """The addresses that follow with nothing but commas and the like between."""
    while (found := _NEXT_LISTED.match(line, place)) is not None:
        yield address_in(found[1])
        place = found.end(1)


def _sayings(lines: Sequence[str], chosen: Sequence[tuple[int, str]], rank: int) -> list[Named]:
    said: dict[str, list[str]] = {}
    spelled: dict[str, str] = {}
    for place, (number, address) in enumerate(chosen):
        end = next((later for later, _ in chosen[place + 1 :] if later > number), len(lines))
        spelled.setdefault(address.lower(), address)
        said.setdefault(address.lower(), []).append(_saying(lines[number : min(end, number + 40)]))
    return [Named(spelled[key], rank, "\n".join(sayings)[:_LONGEST_SAYING]) for key, sayings in said.items()]


def _saying(lines: Sequence[str]) -> str:
    """These lines, each by itself: a reply ends with its line, a paragraph with an empty one."""
    return "\n".join(" ".join(line.split()) for line in lines).strip()[:_LONGEST_SAYING]
