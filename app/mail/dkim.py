"""DKIM signatures (RFC 6376), RSA-2048 and Ed25519 (RFC 8463), relaxed/relaxed.

Rules: the header fields that a reader sees or a program obeys are listed once more than they occur, so that nobody
can add another and keep the signature (RFC 6376 §8.15). No l= (it lets anybody append), no x= (mail may lie in a
queue or a mailbox for long). The canonical form is made once for all keys; a key is parsed once, by
`load_signing_key`, and kept by the caller, because parsing costs more than signing.

What is signed must be what is sent: `Signatures` takes head and body as they go out, and the caller changes nothing after it. How long
the signatures will be is known before they are made, which is the dearest part of a mail.
Verifying is `dkim_verify`.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256

Algorithm = Literal["rsa-sha256", "ed25519-sha256"]

# Signed once more than they occur, also if they do not occur at all.
_SEALED = (
    *("From", "To", "Cc", "Reply-To", "Subject", "Date", "Message-ID", "MIME-Version", "Content-Type", "Content-Transfer-Encoding"),
    *("List-Unsubscribe", "List-Unsubscribe-Post"),
)
# Signed if they occur. Not sealed, because lists and forwarders add theirs.
_SIGNED = (
    "Sender",
    "In-Reply-To",
    "References",
    "List-Id",
    "List-Help",
    "Feedback-ID",
    "Auto-Submitted",
    "Content-Disposition",
    "Content-ID",
)

_NAMES = {name.lower().encode(): name for name in (*_SEALED, *_SIGNED)}
_SEALED_NAMES = frozenset(name.lower().encode() for name in _SEALED)
_PADDING = PKCS1v15()
_SHA256 = SHA256()
_RSA_BITS = 2048  # RFC 8301 §3.2; 4096 does not fit one DNS string and is refused by some receivers
_SPACES = re.compile(rb"  +")
_FIELD_END = re.compile(rb"\r\n(?![ \t])")
_FOLD = "\r\n "
_NAME, _END = "DKIM-Signature: ", f";{_FOLD}b="  # of a signature's field; of what stands before the signature itself
_HASH_LETTERS = 44  # of SHA-256 as base64
_LETTERS_OF_LINE = 72
_WHITESPACE = re.compile(rb"[ \t]+")


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A parsed private key and the name under which its public half stands in the DNS."""

    domain: str
    selector: str
    algorithm: Algorithm
    private_key: RSAPrivateKey | Ed25519PrivateKey

    @property
    def signature_letters(self) -> int:
        """How long its signatures are, as base64."""
        octets = (self.private_key.key_size + 7) // 8 if isinstance(self.private_key, RSAPrivateKey) else 64
        return -(-octets // 3) * 4

    def sign(self, octets: bytes) -> bytes:
        if isinstance(self.private_key, RSAPrivateKey):
            return self.private_key.sign(octets, _PADDING, _SHA256)
        return self.private_key.sign(hashlib.sha256(octets).digest())  # RFC 8463 §3: the hash itself is the signed message


def generate_signing_key(algorithm: Algorithm) -> tuple[bytes, str]:
    """A new private key as PEM (PKCS #8), and the TXT record that publishes it."""
    private_key: RSAPrivateKey | Ed25519PrivateKey
    if algorithm == "rsa-sha256":
        private_key = generate_private_key(public_exponent=65537, key_size=_RSA_BITS)
    else:
        private_key = Ed25519PrivateKey.generate()
    pem = private_key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return pem, public_record(private_key)


def load_signing_key(domain: str, selector: str, pem: bytes) -> SigningKey:
    """Parse a private key; ValueError if it is neither RSA of at least 1024 bits nor Ed25519."""
    # The keys are our own: proving their primes anew costs as much as eighty signatures.
    private_key = serialization.load_pem_private_key(pem, password=None, unsafe_skip_rsa_key_validation=True)
    if isinstance(private_key, Ed25519PrivateKey):
        return SigningKey(domain, selector, "ed25519-sha256", private_key)
    if isinstance(private_key, RSAPrivateKey) and private_key.key_size >= 1024:
        return SigningKey(domain, selector, "rsa-sha256", private_key)
    raise ValueError("The key is neither RSA of at least 1024 bits nor Ed25519.")


def public_record(private_key: RSAPrivateKey | Ed25519PrivateKey) -> str:
    """The TXT record of the key's public half (RFC 6376 §3.6.1, RFC 8463 §4)."""
    if isinstance(private_key, RSAPrivateKey):
        der = private_key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        return f"v=DKIM1; k=rsa; p={base64.b64encode(der).decode()}"
    raw = private_key.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    return f"v=DKIM1; k=ed25519; p={base64.b64encode(raw).decode()}"


class Signatures:
    """The DKIM-Signature fields of all keys, to stand before `head`, which is as it goes out. `size`: of all of them, in octets."""

    __slots__ = ("_beginnings", "_fields", "_keys", "size")

    def __init__(self, head: bytes, keys: Sequence[SigningKey], *, timestamp: int) -> None:
        names, self._fields = _signed_fields(head) if keys else ((), b"")
        self._keys = keys
        self._beginnings = [_beginning(key, names, timestamp) for key in keys]
        self.size = sum(_size_of(key, beginning) for key, beginning in zip(keys, self._beginnings, strict=True))

    def write(self, body: bytes) -> bytes:
        """Sign head and body."""
        if not self._keys:
            return b""
        body_hash = base64.b64encode(hashlib.sha256(canonical_body(body)).digest()).decode()
        unsigned = [f"{beginning}{body_hash}{_END}" for beginning in self._beginnings]
        return b"".join([_signature(key, one, self._fields) for key, one in zip(self._keys, unsigned, strict=True)])


def canonical_body(body: bytes) -> bytes:
    """Relaxed (RFC 6376 §3.4.4) form of a body whose line ends are all CRLF."""
    if b"\t" in body:
        body = body.replace(b"\t", b" ")
    if b"  " in body:
        body = b" ".join(_SPACES.split(body))  # many times faster than a substitution
    body = body.replace(b" \r\n", b"\r\n")
    if not body.endswith(b"\r\n") or body.endswith(b"\r\n\r\n"):
        body = body.removesuffix(b" ").rstrip(b"\r\n") + b"\r\n"
    return b"" if body == b"\r\n" else body


def _signed_fields(head: bytes) -> tuple[tuple[str, ...], bytes]:
    """The names for h=, and the fields they stand for in relaxed form (RFC 6376 §3.4.2), in that order."""
    present: dict[bytes, list[bytes]] = {}
    odd_spaces = b"\v" in head or b"\f" in head
    for field in _FIELD_END.split(head):
        name, _, value = field.partition(b":")
        name = name.rstrip(b" \t").lower()
        if name in _NAMES:
            relaxed = b" ".join(value.split()) if not odd_spaces else _relax(value)
            present.setdefault(name, []).append(b"%b:%b\r\n" % (name, relaxed))
    names: list[str] = []
    fields: list[bytes] = []
    for lower, name in _NAMES.items():
        found = present.get(lower, ())
        names += [name] * (len(found) + (lower in _SEALED_NAMES))
        fields += reversed(found)  # RFC 6376 §5.4.2: several of a name are taken from the bottom up
    return tuple(names), b"".join(fields)


def _relax(value: bytes) -> bytes:
    """As the join and split above, which take VT and FF for spaces; DKIM does not."""
    return _WHITESPACE.sub(b" ", value.replace(b"\r\n", b"")).strip(b" ")


@lru_cache(maxsize=256)
def _folded_names(names: tuple[str, ...]) -> str:
    lines = ["h="]
    for number, name in enumerate(names):
        word = name + (":" if number < len(names) - 1 else ";")
        if len(lines[-1]) + len(word) > 74:
            lines.append("")
        lines[-1] += word
    return "\r\n ".join(lines)


def _beginning(key: SigningKey, names: tuple[str, ...], timestamp: int) -> str:
    """A signature's value up to the hash of the body."""
    first = f"v=1; a={key.algorithm}; c=relaxed/relaxed; d={key.domain};"
    return _FOLD.join((first, f"s={key.selector}; t={timestamp};", _folded_names(names), "bh="))


def _size_of(key: SigningKey, beginning: str) -> int:
    letters = key.signature_letters
    folds = (letters - 1) // _LETTERS_OF_LINE
    return len(_NAME) + len(beginning) + _HASH_LETTERS + len(_END) + letters + folds * len(_FOLD) + 2


def _signature(key: SigningKey, unsigned: str, fields: bytes) -> bytes:
    # RFC 6376 §3.7: the field signs itself with an empty b= and without its line end.
    itself = f"dkim-signature:{unsigned.replace(_FOLD, ' ')}".encode()
    signature = base64.b64encode(key.sign(fields + itself)).decode()
    folded = _FOLD.join([signature[start : start + _LETTERS_OF_LINE] for start in range(0, len(signature), _LETTERS_OF_LINE)])
    return f"{_NAME}{unsigned}{folded}\r\n".encode()
