"""The X-Staffetta-* fields of a finished mail: what the JSON API says beside the mail, said by header. They never leave the house.

    X-Staffetta-Stream             a stream of the account
    X-Staffetta-Tag                one tag; the field may come ten times
    X-Staffetta-Metadata           a JSON object of texts, or name=value; the field may come often
    X-Staffetta-Track              opens, clicks, both with a comma between, or off: these are tracked and nothing else
    X-Staffetta-Send-At            RFC 3339, with offset
    X-Staffetta-Expires-At         RFC 3339, with offset
    X-Staffetta-Report-To          an address of the account: who is told by mail of failures, in place of the envelope's sender
    X-Staffetta-Idempotency-Key    1 to 255 visible ASCII characters
    X-Staffetta-Template           a template of the account, whose texts take the place of the mail's own
    X-Staffetta-Template-Version   a version of it; else the published one
    X-Staffetta-Variables          a JSON object that fills it
    X-Staffetta-Locale             the language that money and dates are written in

Any other of the name is refused: a typing error must not be obeyed in silence by being forgotten.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

import orjson

from app.accounts.templates import TemplateUse
from app.errors import FieldError, InvalidMessage, pointer_to
from app.intake.admission import Track
from app.intake.labels import (
    LONGEST_LOCALE,
    LONGEST_STREAM,
    LONGEST_TAG,
    LONGEST_TEMPLATE,
    MOST_METADATA,
    MOST_TAGS,
    check_metadata_size,
    check_metadata_text,
    check_variables,
    is_idempotency_key,
)
from app.mail.address import parse_mailbox
from app.mail.fields import Field
from app.mail.header import check_text
from app.mail.times import read_time
from app.mail.words import decode_words

PREFIX = "X-Staffetta-"
_OFTEN = frozenset(("tag", "metadata"))
_TRACKS = {"opens": Track(opens=True, clicks=False), "clicks": Track(opens=False, clicks=True), "off": Track(opens=False, clicks=False)}
_BOTH = Track(opens=True, clicks=True)
_Read = TypeVar("_Read")


@dataclass(slots=True)
class Controls:
    """What the fields say; None or nothing where they say nothing."""

    stream: str | None = None
    tags: tuple[str, ...] = ()
    metadata: dict[str, str] | None = None
    track: Track | None = None
    send_at: datetime | None = None
    expires_at: datetime | None = None
    report_to: str | None = None
    idempotency_key: str | None = None
    template: TemplateUse | None = None


_NONE = Controls()


def pointer_to_header(name: str) -> str:
    """A JSON Pointer to a header field, as a problem document has it."""
    return pointer_to(("headers", name))


def read_controls(fields: Sequence[Field]) -> Controls:
    """What the control fields of a mail ask for; raises InvalidMessage with a pointer to each that is wrong."""
    if not fields:
        return _NONE
    faults: list[FieldError] = []
    given: dict[str, list[str]] = {}
    for field in fields:
        name = field.name.removeprefix(PREFIX.lower())
        if name not in _NAMES:
            _blame(faults, field.name, "unknown_field", f"There is no header field {_shown(name)}.")
        elif name in given and name not in _OFTEN:
            _blame(faults, field.name, "too_many", "The header field occurs more than once.")
        else:
            given.setdefault(name, []).append(field.value)
    read = _Reading(given, faults)
    made = Controls(
        read.one("stream", _stream),
        read.all("tag", _tags) or (),
        read.all("metadata", _metadata),
        read.one("track", _track),
        read.one("send-at", read_time),
        read.one("expires-at", read_time),
        read.one("report-to", parse_mailbox),
        read.one("idempotency-key", _key),
        read.template(),
    )
    if faults:
        raise InvalidMessage.of_fields(faults)
    return made


class _Reading:
    """The values of the fields, by name, and what is wrong with them so far."""

    def __init__(self, given: dict[str, list[str]], faults: list[FieldError]) -> None:
        self._given = given
        self._faults = faults

    def one(self, name: str, read: Callable[[str], _Read]) -> _Read | None:
        return self.all(name, lambda values: read(values[0]))

    def all(self, name: str, read: Callable[[list[str]], _Read]) -> _Read | None:
        if name not in self._given:
            return None
        try:
            return read(self._given[name])
        except ValueError as error:
            *code, detail = error.args
            _blame(self._faults, PREFIX.lower() + name, code[0] if code else "invalid_value", detail)
            return None

    def template(self) -> TemplateUse | None:
        name = self.one("template", _template)
        version, locale = self.one("template-version", _version), self.one("locale", _locale)
        variables = self.one("variables", _variables)
        if "template" not in self._given:
            for other in ("template-version", "variables", "locale"):
                if other in self._given:
                    _blame(self._faults, PREFIX.lower() + other, "contradiction", f"It needs {PREFIX}Template.")
            return None
        filled, size = variables or ({}, 2)
        return TemplateUse(name or "", version, filled, locale, size)


def _stream(value: str) -> str:
    if not 1 <= len(value) <= LONGEST_STREAM:
        raise ValueError("It must be the name of a stream.")
    return value


def _tags(values: list[str]) -> tuple[str, ...]:
    if len(values) > MOST_TAGS:
        raise ValueError("too_many", f"At most {MOST_TAGS} tags are allowed.")
    tags = tuple(map(decode_words, values))
    for tag in tags:
        if not 1 <= len(tag) <= LONGEST_TAG:
            raise ValueError(f"A tag must have 1 to {LONGEST_TAG} characters.")
        check_text(tag, "tag")
    return tags


def _metadata(values: list[str]) -> dict[str, str]:
    metadata: dict[str, str] = {}
    for value in values:
        text = decode_words(value)
        if text.startswith("{"):
            pairs = list(_json_object(text).items())
        else:
            name, equals, said = text.partition("=")
            if not equals or not name.strip():
                raise ValueError("It must be a JSON object, or of the form name=value.")
            pairs = [(name.strip(), said.strip())]
        for name, said in pairs:
            if not isinstance(said, str):
                raise ValueError("wrong_type", "The values of metadata must be texts.")
            if name in metadata:
                raise ValueError("A name of metadata occurs more than once.")
            check_text(name, "name")
            check_metadata_text(said)
            metadata[name] = said
    if len(metadata) > MOST_METADATA:
        raise ValueError("too_many", f"At most {MOST_METADATA} texts of metadata are allowed.")
    check_metadata_size(metadata)
    return metadata


def _track(value: str) -> Track:
    words = [word.strip().lower() for word in value.split(",")]
    if sorted(words) == ["clicks", "opens"]:
        return _BOTH
    if len(words) == 1 and words[0] in _TRACKS:
        return _TRACKS[words[0]]
    raise ValueError("unknown_value", "It must be opens, clicks, `opens, clicks` or off.")


def _key(value: str) -> str:
    if not is_idempotency_key(value):
        raise ValueError("It must be 1 to 255 visible ASCII characters.")
    return value


def _template(value: str) -> str:
    name = decode_words(value)
    if not 1 <= len(name) <= LONGEST_TEMPLATE:
        raise ValueError("It must be the name or the id of a template.")
    return name


def _version(value: str) -> int:
    if not (value.isascii() and value.isdigit() and len(value) < 11 and 1 <= int(value) < 2**31):
        raise ValueError("It must be the number of a version.")
    return int(value)


def _locale(value: str) -> str:
    if not 1 <= len(value) <= LONGEST_LOCALE:
        raise ValueError("It must be a locale, like it_IT.")
    return value


def _variables(value: str) -> tuple[dict[str, Any], int]:
    variables = _json_object(decode_words(value))
    return variables, check_variables(variables)


def _json_object(text: str) -> dict[str, Any]:
    try:
        made = orjson.loads(text)
    except ValueError as error:
        raise ValueError("malformed", "It is not JSON.") from error
    if not isinstance(made, dict):
        raise ValueError("wrong_type", "It must be a JSON object.")
    return made


def _shown(name: str) -> str:
    """The name of a control field as people write it: X-Staffetta-Send-At."""
    return PREFIX + name.title()


def _blame(faults: list[FieldError], field: str, code: str, detail: str) -> None:
    faults.append(FieldError(pointer_to_header(_shown(field.removeprefix(PREFIX.lower()))), code, detail))


_NAMES = frozenset(
    (
        *("stream", "tag", "metadata", "track", "send-at", "expires-at", "report-to", "idempotency-key"),
        *("template", "template-version", "variables", "locale"),
    )
)
