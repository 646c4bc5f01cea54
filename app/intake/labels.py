"""What may be said beside a mail, whichever door it is said at, within limits: tags, metadata, variables of a template, a key."""

from __future__ import annotations

import math
import re
from typing import Any, Final

import orjson

from app.mail.words import is_encodable

# Visible ASCII: what a header field carries as it is.
IDEMPOTENCY_KEY: Final = "^[!-~]+$"
LONGEST_IDEMPOTENCY_KEY: Final = 255
LONGEST_STREAM: Final = 64
LONGEST_TEMPLATE: Final = 100
LONGEST_LOCALE: Final = 40
MOST_TAGS: Final = 10
LONGEST_TAG: Final = 64
MOST_METADATA: Final = 20
MOST_METADATA_BYTES: Final = 4096
MOST_VARIABLES_BYTES: Final = 64 * 1024
_MOST_LEVELS = 16
# Not in a text at all: NUL and the controls that no program shows; tab and line ends are text.
_NOT_TEXT = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_KEY = re.compile(IDEMPOTENCY_KEY)
HALF_A_PAIR: Final = "It contains half of a surrogate pair, which is no character."


def is_idempotency_key(text: str) -> bool:
    return len(text) <= LONGEST_IDEMPOTENCY_KEY and _KEY.fullmatch(text) is not None


def check_metadata_text(text: str) -> None:
    """ValueError when a value of metadata is no text."""
    if not is_encodable(text):
        raise ValueError(HALF_A_PAIR)
    if _NOT_TEXT.search(text) is not None:
        raise ValueError("It contains a control character that is not part of a text.")


def check_metadata_size(metadata: dict[str, str]) -> None:
    if sum(len((name + value).encode("utf-8", "replace")) for name, value in metadata.items()) > MOST_METADATA_BYTES:
        raise ValueError(f"The metadata has more than {MOST_METADATA_BYTES} bytes together.")


def check_variables(variables: dict[str, Any]) -> int:
    """The size of variables as JSON, in bytes; ValueError(code, sentence) when they are too large or no text."""
    try:
        written = orjson.dumps(variables)
    except TypeError as error:
        raise ValueError(
            "invalid_value", "It holds half of a surrogate pair, a number of more than 64 bits, or too many levels."
        ) from error
    if len(written) > MOST_VARIABLES_BYTES:
        raise ValueError("too_long", f"The variables have more than {MOST_VARIABLES_BYTES} bytes as JSON.")
    if b"null" in written and not _is_finite(variables):  # 1e400 is read as infinity, and written as null
        raise ValueError("invalid_value", "It holds a number that is too large.")
    if b"\\u0000" in written:
        raise ValueError("invalid_text", "It contains a NUL character.")
    if written.count(b"{") + written.count(b"[") > _MOST_LEVELS and not _is_shallow(variables, _MOST_LEVELS):
        raise ValueError("too_deep", f"The variables are nested more than {_MOST_LEVELS} deep.")
    return len(written)


def _is_finite(value: Any) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return all(map(_is_finite, inner))


def _is_shallow(value: Any, levels: int) -> bool:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return levels > 0 and all(_is_shallow(one, levels - 1) for one in inner if isinstance(one, dict | list))
