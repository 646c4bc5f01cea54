"""Which codec reads a charset that a mail names.

The name is a stranger's: some of what Python decodes by a name is no charset of mail. Many names mean a larger charset than they say to
all who read mail, and some are known to all of them but Python (WHATWG Encoding §4.2).
"""

from __future__ import annotations

import codecs
from functools import lru_cache

# They compute (punycode's time grows with the square of what it reads), refuse, or make text of another kind.
_NO_CHARSETS = frozenset(("idna", "punycode", "unicode-escape", "raw-unicode-escape", "undefined", "mbcs", "oem"))
# By the names that Python has for the smaller ones.
_LARGER = {
    "iso8859-1": "cp1252",
    "iso8859-9": "cp1254",
    "iso8859-11": "cp874",
    "tis-620": "cp874",
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "shift_jis": "cp932",
    "euc_kr": "cp949",
    "big5": "big5hkscs",
}
_OTHER_NAMES = {
    **dict.fromkeys(("x-sjis", "windows-31j"), "cp932"),
    **dict.fromkeys(("windows-874", "dos-874"), "cp874"),
    **dict.fromkeys(("windows-949", "ks_c_5601-1989"), "cp949"),
    **dict.fromkeys(("x-gbk", "csgb2312", "csiso58gb231280"), "gb18030"),
    **{f"x-cp{number}": f"cp{number}" for number in range(1250, 1259)},
    "x-euc-jp": "euc_jp",
    "x-x-big5": "big5hkscs",
    "x-mac-cyrillic": "mac_cyrillic",
    "x-mac-roman": "mac_roman",
    "iso-8859-8-i": "iso8859-8",
    "unicode-1-1-utf-8": "utf-8",
}


@lru_cache(maxsize=256)
def codec_of(charset: str) -> str | None:
    """The name by which `bytes.decode` reads it; None when it is no charset of mail."""
    try:
        # Asked is the codec, not the name: Python passes over case and punctuation, so that "-Punycode!" is punycode too.
        name = codecs.lookup(_OTHER_NAMES.get(charset.lower(), charset)).name
    except (LookupError, ValueError):  # unknown; a NUL in the name is a ValueError
        return None
    return None if name.replace("_", "-") in _NO_CHARSETS else _LARGER.get(name, name)
