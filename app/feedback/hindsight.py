"""Whether a person or a machine did it, by what came before and afterwards. Pure.

The door judges a hit by what its request says of itself (`machines`); a scanner that poses as a browser is known by its company only. The
rules are slow to suspect: a scanner that is missed counts one person too many, but a person who is taken for a scanner is not believed. So
each names what no person does:

at delivery   within two seconds of the receiver's 250, or in the minute before it: nobody had the mail
burst         three links within a second, five in three, eight in ten; or two links and the pixel within one
crowd         one asker follows links of five recipients within five seconds, in the minute after their mail came; or of twenty, whenever
head first    the same asker asked HEAD within ten seconds before: browsers do not
privacy proxy an open out of Apple's own network by a program that names no system

A asker is a network and a program (`asker_of`). Proxies that load a picture for a reader who looks at it are no crowd: opens are not
counted there. What the door called a machine by its own words stays one.
"""

from __future__ import annotations

import hashlib
import ipaddress
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from app.feedback.machines import why_a_machine
from app.ip import address_of, network_of

_BEFORE_DELIVERY = timedelta(seconds=60)
_AFTER_DELIVERY = timedelta(seconds=2)
# So many links within so long.
_BURSTS = ((3, timedelta(seconds=1)), (5, timedelta(seconds=3)), (8, timedelta(seconds=10)))
_AT_ONCE = timedelta(seconds=1)
_AT_ONCE_LINKS = 2
CROWD_SECONDS = 5.0
_CROWD_AT_DELIVERY = 5
_CROWD = 20
_SOON_AFTER_DELIVERY = timedelta(seconds=60)
HEAD_FIRST = "head first"
_HEAD_BEFORE = timedelta(seconds=10)
_WITH_IT = timedelta(seconds=5)
_APPLE = ipaddress.ip_network("17.0.0.0/8")
# Of the door's words the one that cannot be found again from what is kept of a request.
_PREFETCH = "prefetch"


@dataclass(frozen=True, slots=True)
class Seen:
    """A hit as it was told. `told`: why the door took it for a machine; `crowd`: how many recipients its asker followed links of then."""

    number: int
    at: datetime
    is_click: bool
    url: str | None
    ip: str
    agent: str
    told: str | None
    crowd: int = 1


@dataclass(frozen=True, slots=True)
class Head:
    """A HEAD of a link or the pixel, which is told to nobody."""

    at: datetime
    asker: int


@dataclass(frozen=True, slots=True)
class Word:
    """What is said of a hit: why it is a machine's, None for a person's; whether it is the recipient's first of its kind by a person."""

    machine: str | None
    first: bool

    @property
    def by(self) -> str:
        return "machine" if self.machine else "person"


@dataclass(frozen=True, slots=True)
class Correction:
    hit: Seen
    was: Word
    now: Word


def asker_of(ip: str, agent: str) -> int:
    """A network and a program, as a number from which neither can be read: the /24 of IPv4, the /48 of IPv6."""
    digest = hashlib.blake2b(f"{network_of(ip)}\n{agent}".encode("utf-8", "replace"), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)


def judge_again(hits: Sequence[Seen], heads: Sequence[Head], delivered_at: datetime | None) -> dict[int, str | None]:
    """Why each hit of one recipient, by its number, is a machine's; None for a person's. `delivered_at`: None if it is not certain."""
    verdicts = {hit.number: _by_its_words(hit) for hit in hits}
    unsuspected = sorted((hit for hit in hits if verdicts[hit.number] is None), key=lambda hit: (hit.at, hit.number))
    askers = {hit.number: asker_of(hit.ip, hit.agent) for hit in unsuspected}
    bursts = _burst_of(unsuspected, askers)
    crowds = _crowd_of(unsuspected, askers, delivered_at)
    for hit in unsuspected:
        if _at_delivery(hit, delivered_at):
            verdicts[hit.number] = "at delivery"
        elif hit.number in bursts:
            verdicts[hit.number] = "burst"
        elif hit.number in crowds:
            verdicts[hit.number] = "crowd"
        elif any(head.asker == askers[hit.number] and timedelta(0) <= hit.at - head.at <= _HEAD_BEFORE for head in heads):
            verdicts[hit.number] = HEAD_FIRST
        elif _is_apples(hit):
            verdicts[hit.number] = "privacy proxy"
    return verdicts


def correct(hits: Sequence[Seen], words: Mapping[int, Word], verdicts: Mapping[int, str | None]) -> list[Correction]:
    """What is to be said anew of one recipient's hits. `words`: what is said of each now; without a verdict that stays.

    One person's hit of a kind is the first: the one that was, while it is a person's; else the earliest. So it may move to a hit that
    stays what it is.
    """
    return [one for is_click in (False, True) for one in _correct([h for h in hits if h.is_click is is_click], words, verdicts)]


def _correct(hits: Sequence[Seen], words: Mapping[int, Word], verdicts: Mapping[int, str | None]) -> Iterator[Correction]:
    machines = {hit.number: verdicts.get(hit.number, words[hit.number].machine) for hit in hits}
    persons = sorted((hit for hit in hits if machines[hit.number] is None), key=lambda hit: (hit.at, hit.number))
    first = next((hit for hit in persons if words[hit.number].first), persons[0] if persons else None)
    for hit in hits:
        was, now = words[hit.number], Word(machines[hit.number], hit is first)
        # Another reason for the same verdict is no news.
        if (was.by, was.first) != (now.by, now.first):
            yield Correction(hit, was, now)


def _by_its_words(hit: Seen) -> str | None:
    return hit.told if hit.told == _PREFETCH else why_a_machine("GET", hit.agent)


def _at_delivery(hit: Seen, delivered_at: datetime | None) -> bool:
    return delivered_at is not None and -_BEFORE_DELIVERY <= hit.at - delivered_at <= _AFTER_DELIVERY


def _burst_of(hits: Sequence[Seen], askers: Mapping[int, int]) -> set[int]:
    """The clicks of bursts, and the opens of their askers beside them. `hits` in the order of their times."""
    clicks = [hit for hit in hits if hit.is_click]
    found = {number for most_links, span in _BURSTS for number in _crowded(clicks, most_links, span)}
    for opened in hits:
        if opened.is_click:
            continue
        beside = [hit for hit in clicks if abs(hit.at - opened.at) <= _AT_ONCE and askers[hit.number] == askers[opened.number]]
        if any(hit.number in found for hit in beside):
            found.add(opened.number)
        elif within := _crowded(beside, _AT_ONCE_LINKS, _AT_ONCE):
            found |= {opened.number, *within}
    return found


def _crowded(clicks: Sequence[Seen], most_links: int, span: timedelta) -> set[int]:
    """Those of so many links within so long: one window is moved over the clicks."""
    found: set[int] = set()
    window: deque[Seen] = deque()
    links: Counter[str | None] = Counter()
    for click in clicks:
        window.append(click)
        links[click.url] += 1
        while click.at - window[0].at > span:
            gone = window.popleft()
            links[gone.url] -= 1
            if not links[gone.url]:
                del links[gone.url]
        if len(links) >= most_links:
            found.update(hit.number for hit in window)
    return found


def _crowd_of(hits: Sequence[Seen], askers: Mapping[int, int], delivered_at: datetime | None) -> set[int]:
    """The clicks of crowds, and what their askers did beside them."""
    found: set[int] = set()
    for click in hits:
        soon = delivered_at is not None and click.at - delivered_at <= _SOON_AFTER_DELIVERY
        if click.is_click and click.crowd >= (_CROWD_AT_DELIVERY if soon else _CROWD):
            found |= {hit.number for hit in hits if askers[hit.number] == askers[click.number] and abs(hit.at - click.at) <= _WITH_IT}
    return found


def _is_apples(hit: Seen) -> bool:
    address = address_of(hit.ip)
    return not hit.is_click and address is not None and address in _APPLE and "(" not in hit.agent
