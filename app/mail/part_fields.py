"""What the header of one part says of its file: for any octets, in time proportional to their length.

The standard library reads a parameter in time that grows with the square of their number, so it is given few of them.
"""

from __future__ import annotations

import re
from email.message import Message
from typing import Final

from app.mail.letter import Fields
from app.mail.parts import PARAMETER
from app.mail.words import decode_words

# How the file is called of which nothing says it.
SUFFIXES: Final = {"message/rfc822": ".eml", "text/calendar": ".ics", "text/plain": ".txt", "text/html": ".html"}
_LONGEST_FIELD: Final = 4096
_MOST_PARAMETERS: Final = 50


def file_name(fields: Fields) -> str:
    """The file's name, in every spelling (RFC 2183, RFC 2231, RFC 2047); empty where there is none, or none that can be read."""
    header = Message()
    for name in ("content-disposition", "content-type"):
        if value := fields.first(name):
            header[name] = ";".join(value[:_LONGEST_FIELD].split(";", _MOST_PARAMETERS)[:_MOST_PARAMETERS])
    try:
        return decode_words(header.get_filename("") or "")
    except (ValueError, LookupError, TypeError):  # a parameter that is none
        return ""


def parameters_of(value: str) -> dict[str, str]:
    """The parameters of a field as they stand there (RFC 2045 §5.1), by their names in lower case; the first of a name counts."""
    found: dict[str, str] = {}
    for name, quoted, bare in PARAMETER.findall(value[:_LONGEST_FIELD]):
        found.setdefault(name.lower(), re.sub(r"\\(.)", r"\1", quoted) or bare)
    return found
