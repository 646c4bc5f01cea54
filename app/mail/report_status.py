"""Delivery status notifications (RFC 3464): the fields of each recipient, as they are met.

    message/delivery-status, message/global-delivery-status (RFC 6533)   the part itself
    the same fields within a text                                        of hosts that write them into the notice, or whose MIME is broken

Hosts write the fields of a recipient without an empty line before them, in several groups, with comments, with a type too few; all of
it is read. The recipient is whom the host could not reach: Final-Recipient where it is an address, else Original-Recipient.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from app.mail.letter import Fields, read_fields

STATUS_TYPES: Final = frozenset(("message/delivery-status", "message/global-delivery-status", "message/delivery-report"))
_MOST_RECIPIENTS: Final = 500

_EMPTY_LINES = re.compile(r"\n[ \t]*\n\s*")
_QUOTE = re.compile(r"^(?:>[ \t]?){1,9}", re.MULTILINE)
_ADDRESS = re.compile(r"<\s*([^<>\s]{1,320}@[^<>\s]{1,255})\s*>|([^<>\s;,:()\"']{1,320}@[^<>\s;,()\"']{1,255})")
_KIND_OF_ADDRESS = re.compile(r"(?:smtp|mailto|rfc822)[=:;]", re.IGNORECASE)
_STATUS = re.compile(r"(?<![\d.])([245])\.(\d{1,3})\.(\d{1,3})(?![\d.]*\d)")
_IN_TEXT = re.compile(r"^[ \t>]{0,20}(?:final|original)-recipient[ \t]*:[^\n]*@", re.IGNORECASE | re.MULTILINE)
_STATUS_FIELD = re.compile(
    r"^(?:>[ \t]?)*(?:(?:original|final|x-actual)-recipient|action|status|diagnostic-code|remote-mta|last-attempt-date"
    r"|reporting-mta|arrival-date|received-from-mta|x-[a-z\-]{1,60}|will-retry-until|final-log-id)[ \t]*:",
    re.IGNORECASE,
)
_JSON_RECIPIENT = re.compile(r'\{[^{}]{0,4000}"emailAddress"[^{}]{0,4000}\}')
_JSON_FIELD = re.compile(r'"(emailAddress|action|status|diagnosticCode)"\s*:\s*"((?:[^"\\]|\\.){0,2000})"')


@dataclass(frozen=True, slots=True)
class StatusGroup:
    """What a report says of one recipient. `action` is one of RFC 3464's, or empty."""

    address: str
    action: str
    status: str
    diagnostic: str


def read_status(text: str) -> list[StatusGroup]:
    """The recipients of a delivery status part."""
    found: list[StatusGroup] = []
    fields: list[tuple[str, str]] = []
    for block in _EMPTY_LINES.split(_QUOTE.sub("", text).strip("\n")):
        group = _pairs(block)
        names = {name for name, _ in fields}
        # A second recipient, or a field that was there: the next one's group, also without an empty line before it.
        if fields and not any(name in _RECIPIENT_FIELDS for name, _ in group) and not ("action" in names and _has(group, "action")):
            fields += group
            continue
        found += _groups(fields)
        fields = group
        if len(found) > _MOST_RECIPIENTS:
            break
    found += _groups(fields)
    return found[:_MOST_RECIPIENTS]


def find_status(text: str) -> str:
    """The lines of status fields that stand in a text; empty if it has none of a recipient."""
    if _IN_TEXT.search(text) is None:
        return ""
    kept: list[str] = []
    inside = False
    for line in text.split("\n"):
        bare = _QUOTE.sub("", line)
        inside = _STATUS_FIELD.match(bare) is not None or (inside and bare[:1] in (" ", "\t"))
        if inside or not bare.strip():
            kept.append(bare)
    return "\n".join(kept)


def without_status(text: str) -> str:
    """A text without the lines of such fields."""
    return "\n".join(line for line in text.split("\n") if _STATUS_FIELD.match(line) is None)


def read_notification(text: str) -> list[StatusGroup]:
    """The recipients of a notification in JSON, as providers post and mail them."""
    groups: list[StatusGroup] = []
    for found in _JSON_RECIPIENT.findall(text[: 64 * 1024]):
        values = {name: value.replace('\\"', '"') for name, value in _JSON_FIELD.findall(found)}
        if address := address_in(values.get("emailAddress", "")):
            groups.append(
                StatusGroup(address, action_of(values.get("action", "")), values.get("status", ""), _told(values.get("diagnosticCode", "")))
            )
    return groups[:_MOST_RECIPIENTS]


def address_in(text: str) -> str:
    """The first address in a text, its domain in lower case; empty if there is none."""
    found = _ADDRESS.search(text[:2000])
    if found is None:
        return ""
    local, _, domain = _KIND_OF_ADDRESS.sub("", (found[1] or found[2]).strip("'\"")).rpartition("@")
    return f"{local}@{domain.lower().strip('.')}" if local and domain else ""


def action_of(value: str) -> str:
    word = value.strip().lower()
    for action, beginnings in _ACTIONS:
        if word.startswith(beginnings):
            return action
    return ""


_RECIPIENT_FIELDS = ("original-recipient", "final-recipient", "x-actual-recipient")
_ACTIONS: Final = (
    ("failed", ("fail", "undeliver", "bounce", "expired", "reject")),
    ("delayed", ("delay", "deferr")),
    ("delivered", ("deliver",)),
    ("relayed", ("relay",)),
    ("expanded", ("expand",)),
)


def _has(group: list[tuple[str, str]], wanted: str) -> bool:
    return any(name == wanted for name, _ in group)


def _pairs(block: str) -> list[tuple[str, str]]:
    return list(read_fields(block).pairs)


def _groups(pairs: list[tuple[str, str]]) -> list[StatusGroup]:
    """One group's fields may be those of several recipients, each of which begins with a recipient's field that was there."""
    rounds: list[list[tuple[str, str]]] = [[]]
    for name, value in pairs:
        if name in ("final-recipient", "original-recipient") and _has(rounds[-1], name):
            rounds.append([])
        rounds[-1].append((name, value))
    return [group for one in rounds if (group := _group(Fields(one))) is not None]


def _group(fields: Fields) -> StatusGroup | None:
    addresses = [found for name in _ORDER for value in fields.every(name) if (found := address_in(value))]
    if not addresses:
        return None
    # A host's own name for a mailbox behind it is no address of the world.
    address = next((one for one in addresses if "." in one.rpartition("@")[2]), addresses[0])
    diagnostic = _told(
        " ".join(fields.every("diagnostic-code")) or fields.first("x-supplementary-info", "x-notes", "reason", "x-display-reason")
    )
    status = _STATUS.search(fields.first("status"))
    action = action_of(fields.first("action"))
    if not action and status is not None:
        action = "delivered" if status[1] == "2" else "failed"
    told = status[0] if status is not None else ""
    if not diagnostic and status is None:
        diagnostic = fields.first("status")
    return StatusGroup(address, action, told, diagnostic)


_ORDER: Final = ("final-recipient", "original-recipient", "x-actual-recipient")
_TYPE = re.compile(r"\s*(?:smtp|x-[\w\-]+|unix|x\.?400|dns|lmtp)\s*;\s*", re.IGNORECASE)


def _told(diagnostic: str) -> str:
    found = _TYPE.match(diagnostic)
    return diagnostic[found.end() :] if found is not None else diagnostic
