"""DMARC records (RFC 9989): read, and which domain of a walk up the tree is the organisation's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

_MOST_LABELS: Final = 8  # RFC 9989 §4.10: longer names are asked for, and then their last seven labels
_POLICIES: Final = ("none", "quarantine", "reject")


@dataclass(frozen=True, slots=True)
class Record:
    """What a domain asks for. `psd`: y (a public suffix), n (an organisation), or u."""

    policy: str
    subdomain_policy: str
    strict_dkim: bool
    strict_spf: bool
    psd: str


def read_record(texts: Sequence[str]) -> Record | None:
    """The one DMARC record among the TXT records at a name; None when there is none, or more than one."""
    found = [tags for text in texts if (tags := _read_tags(text)) is not None]
    if len(found) != 1:
        return None
    tags = found[0]
    # RFC 9989 §4.7: without a policy, or with one that nobody knows, none is asked for.
    policy = tags.get("p", "").lower()
    policy = policy if policy in _POLICIES else "none"
    subdomain = tags.get("sp", "").lower()
    psd = tags.get("psd", "u").lower()
    strict = {name: tags.get(name, "r").lower() == "s" for name in ("adkim", "aspf")}
    return Record(
        policy, subdomain if subdomain in _POLICIES else policy, strict["adkim"], strict["aspf"], psd if psd in ("y", "n") else "u"
    )


def walk(domain: str) -> list[str]:
    """The domains that are asked for a record, from the given one up (RFC 9989 §4.10)."""
    labels = domain.split(".")
    names = [domain]
    if len(labels) > _MOST_LABELS:
        labels = labels[-_MOST_LABELS:]
    names += [".".join(labels[place:]) for place in range(1, len(labels))]
    return names


def choose_organisation(domain: str, found: Sequence[tuple[str, Record]]) -> str:
    """The organisational domain, from the records that a walk found, lowest first (RFC 9989 §4.10.2)."""
    for name, record in found:
        if record.psd == "n":
            return name
        if record.psd == "y" and name != domain:
            labels = name.count(".") + 1
            return ".".join(domain.split(".")[-labels - 1 :])
    return found[-1][0] if found else domain


def _read_tags(text: str) -> dict[str, str] | None:
    tags: dict[str, str] = {}
    for place, piece in enumerate(text[:4096].split(";")):
        name, equals, value = piece.partition("=")
        name, value = name.strip().lower(), value.strip()
        if place == 0 and (name != "v" or value != "DMARC1"):
            return None
        if equals and name not in tags:
            tags[name] = value
    return tags
