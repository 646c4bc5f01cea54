"""Does a DKIM signature (RFC 6376, RFC 8463) verify? By dkimpy and what stands here, which have no line in common with our signer.

Mail and key are anybody's, and some of dkimpy's steps cost the square or the cube of what they are given, or a hundred times its memory,
in one call that holds up the whole process. So it is given the signature and the fields that it names, and nothing that could cost much:

    the header     at most 256 KB and 1,000 fields, parted here
    the signature  at most 16 KB, no long run of blanks, at most 500 names in h=
    the key        no longer than RSA needs with 4096 bits (RFC 8301 §3.2)
    the body       is hashed here

What exceeds that has failed, and the reason says so. So has a signature over the beginning of the body alone (l=): whoever passed the mail
on may have added what the reader sees (RFC 6376 §8.2).
"""

from __future__ import annotations

import base64
import hashlib
import logging
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import dkim
from dkim.util import InvalidTagValueList, parse_tag_value

from app.mail.words import decode_text, in_one_line

_LONGEST_HEAD: Final = 256 * 1024
_MOST_FIELDS: Final = 1000
_LONGEST_SIGNATURE: Final = 16 * 1024
_MOST_NAMES: Final = 500
_LONGEST_KEY: Final = 1200
_LONGEST_REASON: Final = 300

_SIGNATURE = re.compile(rb"^dkim-signature[ \t]*:((?:[^\r\n]|\r?\n[ \t])*)", re.IGNORECASE | re.MULTILINE)
_HEAD_END = re.compile(rb"(?:\A|\r?\n)\r?\n")
_LAST_LINE_END = re.compile(rb"(?:\r?\n)?\Z")
_FIELD_END = re.compile(rb"\r?\n(?![ \t])")
_FIELD_NAME = re.compile(rb"[!-9;-~]+")
_LONG_BLANK = re.compile(rb"\s{100}")
_ALGORITHMS: Final = (b"rsa-sha256", b"ed25519-sha256")  # RFC 8301 §3.1: rsa-sha1 proves nothing any more

FindKey = Callable[[str, str], str | None]


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


def verify_signature(raw: bytes, number: int, field: bytes, find_key: FindKey) -> Signature:
    """The verdict on the signature `number` (from 0, topmost first) of a message, whose DKIM-Signature value is `field`."""
    key = _Key(find_key)
    try:
        reason = _fault(raw, number, key)
    except dkim.DKIMException as error:
        reason = str(error)
    except Exception as error:  # dkimpy trips over some malformed fields
        reason = f"the signature cannot be read ({type(error).__name__})"
    tags = read_tags(field)
    return Signature(
        passed=not reason and not key.missing,
        domain=tags.get("d", ""),
        selector=tags.get("s", ""),
        algorithm=tags.get("a", ""),
        reason=in_one_line(key.missing or re.sub(r"\bb'([^']*)'", r"\1", reason))[:_LONGEST_REASON],
        final=not key.missing,
    )


def read_tags(field: bytes) -> dict[str, str]:
    """The tags of a signature as text to show; nothing when it is no tag list."""
    try:
        tags = parse_tag_value(field)
    except InvalidTagValueList:
        return {}
    return {decode_text(name): in_one_line(decode_text(value))[:255] for name, value in tags.items()}


def _fault(raw: bytes, number: int, key: _Key) -> str:
    """Why a signature does not hold; nothing when it does."""
    fields, body = _parted(raw)
    values = [value for name, value in fields if name.lower() == b"dkim-signature"]
    value = values[number] if number < len(values) else b""
    if len(value) > _LONGEST_SIGNATURE or _LONG_BLANK.search(value) is not None:
        return "the signature is too long to be read"
    complaints = _Complaints()
    verifier = dkim.DKIM(logger=complaints.logger)
    verifier.headers = fields
    tags, names, signatures = verifier.verify_headerprep(number)
    if len(names) > _MOST_NAMES:
        return "the signature names too many header fields"
    if tags[b"a"] not in _ALGORITHMS:
        return f"unknown signature algorithm: {tags[b'a'].decode()}"
    without_body = {name: value for name, value in tags.items() if name != b"bh"}
    if not verifier.verify_sig(without_body, names, signatures[number], key.look_up):
        return key.fault or complaints.text or "the signature does not match the signed headers"
    return _body_fault(tags, body)


def _body_fault(tags: dict[bytes, bytes], body: bytes) -> str:
    is_relaxed = tags.get(b"c", b"").endswith(b"/relaxed")
    canonical = canonical_form(_with_line_ends(body), is_relaxed=is_relaxed)
    if b"l" in tags and int(tags[b"l"]) < len(canonical):
        return "the signature covers only the beginning of the body"
    expected = base64.b64decode(b"".join(tags[b"bh"].split()))
    got = hashlib.sha256(canonical).digest()
    return "" if got == expected else f"body hash mismatch (got {base64.b64encode(got).decode()}, expected {tags[b'bh'].decode()})"


def canonical_form(body: bytes, *, is_relaxed: bool) -> bytes:
    """A body whose line ends are all CRLF as it is hashed (RFC 6376 §3.4.3, §3.4.4), in steps of the kind that need little memory."""
    if is_relaxed:
        body = body.replace(b"\t", b" ")
        while b"  " in body:
            body = body.replace(b"  ", b" ")
        body = body.replace(b" \r\n", b"\r\n")
    if body.endswith(b"\r\n"):
        kept = len(body.rstrip(b"\r\n"))
        kept += body[kept:].rfind(b"\r\r") + 1  # a CR that ends no line is none
        body = body[:kept]
    return b"" if is_relaxed and not body else body + b"\r\n"


def _parted(raw: bytes) -> tuple[list[list[bytes]], bytes]:
    """Header fields in the form that dkimpy has of its own reading, which costs the square of a field's folds; and the body as it is."""
    end = _HEAD_END.search(raw, 0, _LONGEST_HEAD)
    if end is None and len(raw) > _LONGEST_HEAD:
        raise dkim.MessageFormatError("the header is too long to be read")
    if end is None:
        end = _LAST_LINE_END.search(raw)  # a mail may be all header
        assert end is not None
    head, body = raw[: end.start()], raw[end.end() :]
    lines = _FIELD_END.split(_with_line_ends(head)) if head else []
    if len(lines) > _MOST_FIELDS:
        raise dkim.MessageFormatError("the header has too many fields")
    fields = []
    for line in lines:
        name, colon, value = line.partition(b":")
        if colon and _FIELD_NAME.fullmatch(name) is not None:
            fields.append([name, value + b"\r\n"])
        elif not line.startswith(b"From "):  # as mailboxes of Unix begin a mail
            raise dkim.MessageFormatError("a line of the header is no field")
    return fields, body


def _with_line_ends(octets: bytes) -> bytes:
    """Every line end CRLF; a CR alone is none."""
    if octets.count(b"\n") == octets.count(b"\r\n"):
        return octets
    return octets.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")


class _Key:
    """Asks for the key, and remembers why there was none (`missing`) or why it is not used (`fault`)."""

    def __init__(self, find_key: FindKey) -> None:
        self._find_key = find_key
        self.missing = ""
        self.fault = ""

    def look_up(self, name: bytes, timeout: float = 0) -> bytes | None:  # noqa: ARG002  (dkimpy's shape of a DNS look-up)
        selector, _, domain = decode_text(name).rstrip(".").partition("._domainkey.")
        try:
            record = self._find_key(selector, domain)
        except Exception as error:  # whatever asks for the key may fail as it likes
            self.missing = f"the key could not be asked for ({type(error).__name__})"
            return None
        if record is None:
            self.missing = f"no key is known here for {selector}._domainkey.{domain}"
            return None
        if len(record) > _LONGEST_KEY:
            self.fault = "the key is too long to be used"
            return None
        return record.encode()


class _Complaints(logging.Handler):
    """What dkimpy logs when it only answers False."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.text = ""
        self.logger = logging.Logger("dkim", logging.ERROR)  # its own, not one of the process's tree
        self.logger.addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        self.text = self.text or record.getMessage()
