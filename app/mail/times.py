"""Times in requests and answers: RFC 3339, in with any offset, out as UTC."""

from __future__ import annotations

import re
from datetime import UTC, datetime

_RFC3339 = re.compile(r"\d{4}-\d{2}-\d{2}[Tt ]\d{2}:\d{2}:\d{2}(?:\.\d{1,9})?(?:[Zz]|[+-]\d{2}:\d{2})", re.ASCII)


def read_time(text: str) -> datetime:
    """An RFC 3339 time with its offset, as UTC; ValueError says what is wrong."""
    if _RFC3339.fullmatch(text) is None:
        raise ValueError("It must be a time with its offset, like 2030-06-01T09:00:00+02:00.")
    try:
        return datetime.fromisoformat(text.upper()).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise ValueError("There is no such time.") from error


def show_time(at: datetime) -> str:
    """As orjson writes it with OPT_UTC_Z."""
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")
