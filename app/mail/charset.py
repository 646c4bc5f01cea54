"""Which codec reads a charset that a mail names. The name is a stranger's: some of what Python decodes by a name is no charset of mail."""

from __future__ import annotations

import codecs
from functools import lru_cache

# They compute (punycode's time grows with the square of what it reads), refuse, or make text of another kind.
_NO_CHARSETS = frozenset(("idna", "punycode", "unicode-escape", "raw-unicode-escape", "undefined", "mbcs", "oem"))


@lru_cache(maxsize=256)
def codec_of(charset: str) -> str | None:
    """The name that `bytes.decode` knows it by; None when it is no charset of mail."""
    try:
        # Asked is the codec, not the name: Python passes over case and punctuation, so that "-Punycode!" is punycode too.
        name = codecs.lookup(charset).name
    except (LookupError, ValueError):  # unknown; a NUL in the name is a ValueError
        return None
    return None if name.replace("_", "-") in _NO_CHARSETS else name
