"""Who may be connected: so many in all, so many from one address, and strangers go first.

A stranger is who has not logged in. Where there is no room, the stranger who is here longest has to leave for the newcomer: a good
client logs in within a second, so thousands who connect and say nothing drive out each other, not it. Only where all have logged in is the
newcomer turned away. An IPv6 client has a whole /64 at hand: that counts as one address.

Nobody who logged in has more connections than are left for all others, from however many addresses: an account alone half of them.
"""

from __future__ import annotations

from collections import Counter
from typing import Protocol

from app.ip import address_of, network_of
from app.smtpd.replies import Refusal


class Guest(Protocol):
    """A session, as the crowd sees it."""

    place: str

    def leave_for_another(self) -> None: ...

    def close_soon(self) -> None: ...

    def abort(self) -> None: ...


class Crowd:
    """The sessions of one process."""

    def __init__(self, most: int, most_per_place: int) -> None:
        self._most = most
        self._most_per_place = most_per_place
        self._strangers: dict[Guest, None] = {}  # in the order in which they came
        self._by_place: dict[str, dict[Guest, None]] = {}
        self._holders: dict[Guest, str] = {}  # of those who are no strangers
        self._held: Counter[str] = Counter()
        self.guests: set[Guest] = set()

    def enter(self, guest: Guest) -> None:
        """Let one in; raises Refusal when there is no room."""
        here = self._by_place.get(guest.place, {})
        if len(here) >= self._most_per_place and not self._make_room(here):
            raise Refusal(f"421 4.7.0 There are {self._most_per_place} connections from your address: close some")
        if len(self.guests) >= self._most and not self._make_room(self._strangers):
            raise Refusal("421 4.3.2 Too many connections: try again in a minute")
        self.guests.add(guest)
        self._strangers[guest] = None
        self._by_place.setdefault(guest.place, {})[guest] = None

    def introduce(self, guest: Guest, holder: str) -> None:
        """It is no stranger any more: it is one of `holder`'s. Told twice does no harm; raises Refusal when those are too many."""
        if guest in self._holders:
            return
        if self._held[holder] >= self._most - len(self._holders):
            raise Refusal(f"421 4.3.2 You have {self._held[holder]} connections, and no more are left: close some")
        self._strangers.pop(guest, None)
        self._holders[guest] = holder
        self._held[holder] += 1

    def leave(self, guest: Guest) -> None:
        """It is gone; told twice does no harm."""
        self.guests.discard(guest)
        self._strangers.pop(guest, None)
        holder = self._holders.pop(guest, None)
        if holder is not None:
            self._held[holder] -= 1
            if not self._held[holder]:
                del self._held[holder]
        here = self._by_place.get(guest.place)
        if here is not None:
            here.pop(guest, None)
            if not here:
                del self._by_place[guest.place]

    def _make_room(self, among: dict[Guest, None]) -> bool:
        oldest = next((guest for guest in among if guest in self._strangers), None)
        if oldest is None:
            return False
        self.leave(oldest)
        oldest.leave_for_another()
        return True


def place_of(peer: object) -> tuple[str, str]:
    """(the IP address of a socket's peer, what counts as one address for limits)."""
    text = str(peer[0]) if isinstance(peer, tuple) and peer else ""
    ip = address_of(text)
    if ip is None:
        return text, text
    return str(ip), str(ip) if ip.version == 4 else network_of(text, v6=64)
