"""What stands behind MAIL FROM: and RCPT TO:, read strictly where a mistake would change the mail, mildly where it would not.

Mild: spaces around the path, a path without its angle brackets, source routes (RFC 5321 §4.1.2: accepted, stripped).
Strict: the mailbox, and every parameter (SIZE, BODY, SMTPUTF8, and of RFC 3461 RET, ENVID, NOTIFY, ORCPT); an unknown one is refused.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from app.mail.address import parse_mailbox
from app.smtpd.replies import Refusal

_PATH = re.compile(r'[ \t]*(?:<((?:"(?:[^"\\]|\\.)*"|[^<>"])*)>|([^<>\s]+))(?:[ \t]+(.*))?', re.DOTALL)
_SOURCE_ROUTE = re.compile(r"@[^:<>]{1,253}:")
_PARAMETER = re.compile(r"([A-Za-z0-9][A-Za-z0-9\-]*)(?:=([^\s=\x00-\x1f\x7f]+))?")
# RFC 3461 §4: xtext is printable but for + and =, which are written as +2B and +3D.
_XTEXT = re.compile(r"(?:[!-*,-<>-~]|\+[0-9A-F]{2})*")
_ORIGINAL = re.compile(r"([A-Za-z0-9][A-Za-z0-9.\-]{0,63});(.+)")
_NOTIFY = frozenset({"SUCCESS", "FAILURE", "DELAY"})
_LONGEST_ENVELOPE_ID = 100  # RFC 3461 §4.4
_LONGEST_ORIGINAL = 500  # RFC 3461 §5.2 (b)


@dataclass(frozen=True, slots=True)
class MailFrom:
    """MAIL FROM. `address` is empty for the null sender."""

    address: str
    size_bytes: int | None = None
    utf8: bool = False
    ret: str | None = None
    envelope_id: str | None = None


@dataclass(frozen=True, slots=True)
class RcptTo:
    """RCPT TO. `original` is ORCPT decoded: "rfc822;ada@example.com"."""

    address: str
    notify: frozenset[str] = frozenset()
    original: str | None = None


def read_mail(argument: str) -> MailFrom:
    """The argument of MAIL; raises Refusal."""
    path, given = _split("FROM:", argument)
    values = dict[str, str | None](given)
    size = values.pop("SIZE", None)
    if "SIZE" in given and (size is None or not size.isdecimal() or not size.isascii() or len(size) > 20):
        raise Refusal("501 5.5.4 SIZE must be a number of octets")
    body = values.pop("BODY", "7BIT")
    if body is None or body.upper() not in {"7BIT", "8BITMIME"}:
        raise Refusal("501 5.5.4 BODY must be 7BIT or 8BITMIME")
    utf8 = "SMTPUTF8" in values
    if values.pop("SMTPUTF8", None) is not None:
        raise Refusal("501 5.5.4 SMTPUTF8 takes no value")
    ret = values.pop("RET", None)
    if "RET" in given and (ret is None or ret.upper() not in {"FULL", "HDRS"}):
        raise Refusal("501 5.5.4 RET must be FULL or HDRS")
    envelope_id = values.pop("ENVID", None)
    if "ENVID" in given:
        envelope_id = _decode_xtext("ENVID", envelope_id or "", _LONGEST_ENVELOPE_ID)
    # RFC 4954 §5: who offers AUTH takes the parameter; whoever logged in is believed, not it.
    values.pop("AUTH", None)
    _refuse_unknown(values)
    return MailFrom(_mailbox(path, utf8) if path else "", int(size) if size else None, utf8, ret.upper() if ret else None, envelope_id)


def read_rcpt(argument: str, *, utf8: bool) -> RcptTo:
    """The argument of RCPT; raises Refusal. `utf8`: the transaction was begun with SMTPUTF8."""
    path, given = _split("TO:", argument)
    values = dict[str, str | None](given)
    if not path:
        raise Refusal("501 5.1.3 RCPT TO needs an address")
    notify = _read_notify(values.pop("NOTIFY", None)) if "NOTIFY" in given else frozenset[str]()
    original = _read_original(values.pop("ORCPT", None)) if "ORCPT" in given else None
    _refuse_unknown(values)
    return RcptTo(_mailbox(path, utf8), notify, original)


def _split(keyword: str, argument: str) -> tuple[str, dict[str, str | None]]:
    command = "MAIL FROM" if keyword == "FROM:" else "RCPT TO"
    found = _PATH.fullmatch(argument[len(keyword) :]) if argument[: len(keyword)].upper() == keyword else None
    if found is None:
        raise Refusal(f"501 5.5.4 The command must be {command}:<address>")
    path = found[1] if found[1] is not None else found[2]
    parameters: dict[str, str | None] = {}
    for word in (found[3] or "").split():
        parameter = _PARAMETER.fullmatch(word)
        if parameter is None:
            raise Refusal("501 5.5.4 A parameter is not of the form NAME or NAME=value")
        name = parameter[1].upper()
        if name in parameters:
            raise Refusal(f"501 5.5.4 The parameter {name[:32]} is given twice")
        parameters[name] = parameter[2]
    return _SOURCE_ROUTE.sub("", path, count=1) if path.startswith("@") else path, parameters


def _mailbox(path: str, utf8: bool) -> str:
    if not path.isascii() and not utf8:
        # RFC 6531 §3.5
        raise Refusal("553 5.6.7 The address is not ASCII: begin the transaction with the parameter SMTPUTF8")
    try:
        return parse_mailbox(path)
    except ValueError as error:
        raise Refusal(f"553 5.1.3 {error}") from error


def _read_notify(value: str | None) -> frozenset[str]:
    wanted = [word.upper() for word in (value or "").split(",")]
    # RFC 3461 §4.1: NEVER stands alone.
    if wanted == ["NEVER"]:
        return frozenset(wanted)
    if not _NOTIFY.issuperset(wanted) or len(set(wanted)) != len(wanted):
        raise Refusal("501 5.5.4 NOTIFY must be NEVER, or some of SUCCESS, FAILURE, DELAY, parted by commas")
    return frozenset(wanted)


def _read_original(value: str | None) -> str:
    found = _ORIGINAL.fullmatch(value or "")
    if found is None:
        raise Refusal("501 5.5.4 ORCPT must be a type and an address, like rfc822;ada@example.com")
    # RFC 6533 §3: an address of the type utf-8 may come as UTF-8, where xtext would have to encode it.
    if found[1].lower() == "utf-8":
        if len(found[2]) > _LONGEST_ORIGINAL or not found[2].isprintable():
            raise Refusal("501 5.5.4 ORCPT is too long, or not printable")
        return f"utf-8;{found[2]}"
    return f"{found[1].lower()};{_decode_xtext('ORCPT', found[2], _LONGEST_ORIGINAL)}"


def _decode_xtext(name: str, value: str, longest: int) -> str:
    if not value or len(value) > longest or _XTEXT.fullmatch(value) is None:
        raise Refusal(f"501 5.5.4 {name} must be xtext (RFC 3461) of 1 to {longest} characters")
    decoded = re.sub(r"\+([0-9A-F]{2})", lambda found: chr(int(found[1], 16)), value)
    # It will stand in the header of a report: nothing that could end a line, or is no ASCII.
    if not decoded.isascii() or not decoded.isprintable():
        raise Refusal(f"501 5.5.4 {name} must stand for printable ASCII")
    return decoded


def _refuse_unknown(values: dict[str, str | None]) -> None:
    if values:
        raise Refusal(f"555 5.5.4 The parameter {next(iter(values))[:32]} is not known here")
