"""Which language somebody reads: the one that he likes most among ours, by the language ranges of a header field."""

from __future__ import annotations

from collections.abc import Container

_MOST_RANGES = 20


def choose_language(ranges: str, ours: Container[str]) -> str | None:
    """The best of "it-IT, en;q=0.5" (RFC 9110 §12.5.4; in mail RFC 3282) among our languages; None when there is none."""
    best, best_weight = None, 0.0
    for part in ranges.split(",")[:_MOST_RANGES]:
        tag, _, parameter = part.partition(";")
        language = tag.strip().lower().partition("-")[0]
        weight = _weight(parameter)
        if weight > best_weight and language in ours:
            best, best_weight = language, weight
    return best


def _weight(parameter: str) -> float:
    name, _, value = parameter.partition("=")
    if name.strip().lower() != "q":
        return 1.0
    try:
        return min(float(value), 1.0)
    except ValueError:
        return 0.0
