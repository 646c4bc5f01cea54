"""What the inbox has received, in a directory: `<id>.eml`, the exact bytes, beside `<id>.json`, the envelope and a summary.

Files, because a person can open, grep, copy and diff them with what is at hand, and because the house has one SQL dialect.
The index is in memory: there are a thousand messages at most.

* A message exists once its .json does: the .eml is written first, and each file appears whole, by rename.
* Only the newest `max_messages` and `max_bytes` are kept; older ones are deleted.
* Nothing is synced to disk: this is a place to look at mail, not one that answers for it. A restart loses nothing, a power
  cut may.
* Only files named like ours are ever read or deleted; one process at a time uses the directory.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from app.inbox.headers import first_value, read_headers

MAX_MESSAGES = 1000
MAX_BYTES = 200 * 1024 * 1024

_OUR_NAME = re.compile(r"(?P<id>[0-9a-f]{16})\.(?P<kind>eml|json)(?P<part>\.part)?")


@dataclass(frozen=True, slots=True)
class Kept:
    """One received message without its content. Ids sort by arrival."""

    id: str
    received_at: datetime
    peer: str
    mail_from: str
    rcpt_to: tuple[str, ...]
    sender: str  # the From header, decoded
    subject: str
    message_id: str
    size_bytes: int


class Keep:
    """The messages kept in `directory`, which is made when missing."""

    def __init__(self, directory: Path, *, max_messages: int = MAX_MESSAGES, max_bytes: int = MAX_BYTES) -> None:
        self.directory = directory
        self._max_messages = max_messages
        self._max_bytes = max_bytes
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._kept = {kept.id: kept for kept in _load(directory)}  # oldest first
        self._bytes = sum(kept.size_bytes for kept in self._kept.values())
        self._last_id = int(max(self._kept, default="0"), 16)
        self._evict()

    def __len__(self) -> int:
        return len(self._kept)

    def add(self, raw: bytes, *, mail_from: str, rcpt_to: Sequence[str], peer: str, received_at: datetime) -> Kept:
        """Keep a message; raises OSError, with nothing kept, when the disk does not take it."""
        headers = read_headers(raw)
        # Later than every id before it, whatever the clock does.
        self._last_id = max(int(received_at.timestamp() * 1_000_000) * 1000, self._last_id + 1)
        kept = Kept(
            id=f"{self._last_id:016x}",
            received_at=received_at,
            peer=peer,
            mail_from=mail_from,
            rcpt_to=tuple(rcpt_to),
            sender=first_value(headers, "from"),
            subject=first_value(headers, "subject"),
            message_id=first_value(headers, "message-id"),
            size_bytes=len(raw),
        )
        self._write(kept, raw)
        self._kept[kept.id] = kept
        self._bytes += kept.size_bytes
        self._evict()
        return kept

    def find(self, message_id: str) -> Kept | None:
        return self._kept.get(message_id)

    def read(self, kept: Kept) -> bytes | None:
        """The exact bytes received; None when the file is gone."""
        try:
            return self._path(kept.id, "eml").read_bytes()
        except OSError:
            return None

    def newest(self, limit: int, *, to: str | None = None, words: str | None = None, before: str | None = None) -> list[Kept]:
        """Newest first: those for exactly the recipient `to`, with `words` in sender, recipient or subject, older than the id `before`."""
        found: list[Kept] = []
        for kept in reversed(self._kept.values()):
            if len(found) == limit:
                break
            if (before is None or kept.id < before) and _goes_to(kept, to) and _mentions(kept, words):
                found.append(kept)
        return found

    def neighbours(self, message_id: str) -> tuple[Kept | None, Kept | None]:
        """The next newer and the next older message."""
        ids = list(self._kept)
        place = ids.index(message_id)
        newer = self._kept[ids[place + 1]] if place + 1 < len(ids) else None
        older = self._kept[ids[place - 1]] if place > 0 else None
        return newer, older

    def clear(self) -> int:
        """Delete all; how many there were."""
        count = len(self._kept)
        for message_id in list(self._kept):
            self._delete(message_id)
        return count

    def _evict(self) -> None:
        while self._kept and (len(self._kept) > self._max_messages or self._bytes > self._max_bytes):
            self._delete(next(iter(self._kept)))

    def _delete(self, message_id: str) -> None:
        self._bytes -= self._kept.pop(message_id).size_bytes
        # The .json first: without it the message is no more, whatever happens next.
        for kind in ("json", "eml"):
            with contextlib.suppress(OSError):
                self._path(message_id, kind).unlink()

    def _write(self, kept: Kept, raw: bytes) -> None:
        summary = asdict(kept) | {"received_at": kept.received_at.isoformat()}
        parts = {"eml": raw, "json": json.dumps(summary, indent=1).encode("ascii")}
        try:
            for kind, content in parts.items():
                path = self._path(kept.id, kind)
                unfinished = path.with_name(f"{path.name}.part")
                unfinished.write_bytes(content)
                unfinished.replace(path)
        except OSError:
            for kind in parts:
                for path in (self._path(kept.id, kind), self._path(kept.id, f"{kind}.part")):
                    with contextlib.suppress(OSError):
                        path.unlink()
            raise

    def _path(self, message_id: str, kind: str) -> Path:
        return self.directory / f"{message_id}.{kind}"


def _goes_to(kept: Kept, address: str | None) -> bool:
    return address is None or address.strip().lower() in (recipient.lower() for recipient in kept.rcpt_to)


def _mentions(kept: Kept, words: str | None) -> bool:
    if not words:
        return True
    text = " ".join((kept.sender, kept.subject, kept.mail_from, *kept.rcpt_to)).lower()
    return all(word in text for word in words.lower().split())


def _load(directory: Path) -> Iterator[Kept]:
    """The messages of an earlier run, oldest first; what it left unfinished is deleted."""
    files: dict[str, set[str]] = {}
    for path in sorted(directory.iterdir()):
        if ours := _OUR_NAME.fullmatch(path.name):
            files.setdefault(ours["id"], set()).add(path.name)
    for message_id, names in files.items():
        kept = _load_one(directory, message_id) if f"{message_id}.eml" in names else None
        if kept is not None:
            yield kept
        else:
            for name in names:
                with contextlib.suppress(OSError):
                    (directory / name).unlink()


def _load_one(directory: Path, message_id: str) -> Kept | None:
    try:
        summary: dict[str, Any] = json.loads((directory / f"{message_id}.json").read_bytes())
        received_at = datetime.fromisoformat(summary["received_at"]).astimezone(UTC)
        return Kept(**summary | {"id": message_id, "received_at": received_at, "rcpt_to": tuple(summary["rcpt_to"])})
    except (OSError, ValueError, TypeError, KeyError):
        return None
