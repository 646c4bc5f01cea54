"""Does a DKIM signature (RFC 6376, RFC 8463) verify? By dkimpy, which has no line in common with our signer."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from dataclasses import dataclass

import dkim
from dkim.util import InvalidTagValueList, parse_tag_value

from app.mail.words import decode_text

_SIGNATURE = re.compile(rb"^dkim-signature[ \t]*:((?:[^\r\n]|\r?\n[ \t])*)", re.IGNORECASE | re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Signature:
    """One DKIM-Signature field and what came of it; `reason` says why it failed."""

    passed: bool
    domain: str
    selector: str
    algorithm: str
    reason: str
    final: bool = True  # False: the key was missing or could not be asked for


def find_signatures(head: bytes) -> list[bytes]:
    """The values of the DKIM-Signature fields in a header block, topmost first."""
    found: list[bytes] = _SIGNATURE.findall(head)
    return found


def verify_signature(raw: bytes, number: int, field: bytes, find_key: Callable[[str, str], str | None]) -> Signature:
    """The verdict on the signature `number` (from 0, topmost first) of a message, whose DKIM-Signature value is `field`."""
    complaints = _Complaints()
    missing = ""

    def look_up(name: bytes, timeout: float = 0) -> bytes | None:  # noqa: ARG001  (dkimpy's shape of a DNS look-up)
        nonlocal missing
        selector, _, domain = decode_text(name).rstrip(".").partition("._domainkey.")
        try:
            record = find_key(selector, domain)
        except Exception as error:  # whatever asks for the key may fail as it likes
            missing = f"the key could not be asked for ({type(error).__name__})"
            return None
        if record is None:
            missing = f"no key is known here for {selector}._domainkey.{domain}"
        return None if record is None else record.encode()

    try:
        passed = bool(dkim.DKIM(raw, logger=complaints.logger).verify(number, look_up))
        reason = "" if passed else complaints.text or "the signature does not match the signed headers"
    except dkim.DKIMException as error:
        passed, reason = False, str(error)
    except Exception as error:  # dkimpy trips over some malformed fields
        passed, reason = False, f"the signature cannot be read ({type(error).__name__})"
    tags = read_tags(field)
    return Signature(
        passed=passed,
        domain=tags.get("d", ""),
        selector=tags.get("s", ""),
        algorithm=tags.get("a", ""),
        reason=missing or re.sub(r"\bb'([^']*)'", r"\1", reason)[:300],
        final=not missing,
    )


class _Complaints(logging.Handler):
    """What dkimpy logs when it only answers False."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.text = ""
        self.logger = logging.Logger("dkim", logging.ERROR)  # its own, not one of the process's tree
        self.logger.addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        self.text = self.text or record.getMessage()


def read_tags(field: bytes) -> dict[str, str]:
    """The tags of a signature as text to show; nothing when it is no tag list."""
    try:
        tags = parse_tag_value(field)
    except InvalidTagValueList:
        return {}
    return {decode_text(name): decode_text(value)[:255] for name, value in tags.items()}
