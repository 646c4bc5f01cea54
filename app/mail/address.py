"""Mail addresses: read, normalised, written into a header.

A mailbox is held as local@domain with the domain as lower-case A-labels (RFC 5890 §2.3.2.1) and the local part as it
was given, because only the receiving host knows whether its case matters (RFC 5321 §2.4). A UTF-8 local part is
allowed (RFC 6531 §3.3); it can only be delivered to hosts that offer SMTPUTF8.

Not accepted: comments, groups, several addresses, source routes, address literals, domains without a dot.
Whether the domain exists or may be mailed is asked elsewhere.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

import idna

from app.mail.header import LINE_AIM, check_text, encode_words

_ATEXT = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~\-]"
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9\-]{0,61}[A-Za-z0-9])?"
_PLAIN = re.compile(rf"{_ATEXT}+(?:\.{_ATEXT}+)*@((?:{_LABEL}\.)+{_LABEL})")
_DOT_ATOM = re.compile(rf"(?:{_ATEXT}|[^\x00-\x7f])+(?:\.(?:{_ATEXT}|[^\x00-\x7f])+)*")
_DOMAIN = re.compile(rf"(?:{_LABEL}\.)+{_LABEL}")
_QUOTED = re.compile(r'"((?:[^"\\\x00-\x1f\x7f]|\\[ -~])*)"')
_NAMED = re.compile(r'(?:"((?:[^"\\]|\\.)*)"|([^"<>,;]*?))\s*<([^<>]*)>')
_ATOMS = re.compile(rf"{_ATEXT}+(?: {_ATEXT}+)*")
_JOINERS = "\u200c\u200d"  # Cf, but Persian and the scripts of India spell with them

LONGEST_NAME = 320


@dataclass(frozen=True, slots=True)
class Address:
    """One mailbox, and the name shown for it. Only `parse_address` and `name_address` make ones that are checked."""

    mailbox: str
    name: str = ""

    @property
    def domain(self) -> str:
        return domain_of(self.mailbox)


def parse_address(text: str) -> Address:
    """Read "a@b", "<a@b>" or "Name <a@b>"; ValueError says in a sentence what is wrong."""
    text = text.strip(" \t")
    if not text.endswith(">"):
        return Address(parse_mailbox(text))
    check_text(text, "address")
    found = _NAMED.fullmatch(text)
    if found is None:
        raise ValueError("The address is not of the form name@example.com or Name <name@example.com>.")
    quoted, bare, mailbox = found.groups()
    name = re.sub(r"\\(.)", r"\1", quoted) if quoted is not None else bare
    return name_address(mailbox, name)


def name_address(mailbox: str, name: str) -> Address:
    """An address of a mailbox and a display name that came apart (as in a JSON object)."""
    check_text(name, "name")
    if len(name) > LONGEST_NAME:
        raise ValueError(f"The name is longer than {LONGEST_NAME} characters.")
    return Address(parse_mailbox(mailbox), re.sub("[ \t]+", " ", name).strip(" "))


def parse_mailbox(text: str) -> str:
    """Normalise "local@domain", or raise ValueError with a sentence."""
    text = text.strip(" \t")
    plain = _PLAIN.fullmatch(text)
    if plain is not None and "xn--" not in (domain := plain[1].lower()):
        at = plain.start(1) - 1
        mailbox = text[: at + 1] + domain
    else:
        local, at_sign, domain = text.rpartition("@")
        if not at_sign:
            raise ValueError("The address has no @ sign.")
        at = len(local := _check_local(local))
        mailbox = f"{local}@{normalise_domain(domain)}"
    if mailbox[mailbox.rindex(".") + 1 :].isdigit():
        raise ValueError("The domain of the address ends in a number.")
    if len(mailbox.encode()) > 254:
        raise ValueError("The address is longer than 254 octets.")  # RFC 5321 §4.5.3.1.3, less the angle brackets
    if len(mailbox[:at].encode()) > 64:
        raise ValueError("The part of the address before the @ is longer than 64 octets.")  # RFC 5321 §4.5.3.1.1
    return mailbox


def normalise_domain(domain: str) -> str:
    """The domain as lower-case A-labels; ValueError says what is wrong."""
    if not domain:
        raise ValueError("The address has no domain after the @ sign.")
    if not domain.isascii():
        try:
            # UTS 46 first, as every browser and mail program does: case, width and look-alike dots are mapped.
            domain = idna.encode(domain, uts46=True, std3_rules=True).decode("ascii")
        except UnicodeError as error:
            raise ValueError("The domain of the address is not a valid international domain name.") from error
    if _DOMAIN.fullmatch(domain) is None or len(domain) > 253:
        raise ValueError(_domain_fault(domain))
    domain = domain.lower()
    for label in domain.split("."):
        if label.startswith("xn--") and not _is_alabel(label):
            raise ValueError("The domain of the address has an xn-- label that stands for nothing.")
    return domain


def domain_of(mailbox: str) -> str:
    """What stands after the last @."""
    return mailbox[mailbox.rindex("@") + 1 :]


def suppression_key(mailbox: str) -> str:
    """One spelling for all that are the same mailbox in practice: hosts that tell Bob from bob are not met."""
    return unicodedata.normalize("NFC", mailbox).lower()


def format_header(address: Address) -> str:
    """The address as it stands in From or To, words apart by spaces where it may be folded; a UTF-8 mailbox stays raw (RFC 6532 §3.2)."""
    if not address.name:
        return address.mailbox
    return f"{_format_name(address.name)} <{address.mailbox}>"


def _format_name(name: str) -> str:
    if not name.isascii() or "=?" in name or "\t" in name or "  " in name or max(map(len, name.split(" "))) > LINE_AIM - 6:
        return encode_words(name, used=len("Reply-To: ")).replace("\r\n", "")
    if _ATOMS.fullmatch(name):
        return name
    escaped = name.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _check_local(local: str) -> str:
    if not local:
        raise ValueError("The address has nothing before the @ sign.")
    for character in local:
        category = unicodedata.category(character)
        if (category[0] == "Z" and character != " ") or (category in ("Cc", "Cf", "Cs", "Co") and character not in _JOINERS):
            raise ValueError(f"The address contains a character that mail does not allow (U+{ord(character):04X}).")
    if _DOT_ATOM.fullmatch(local):
        return local
    quoted = _QUOTED.fullmatch(local)
    if quoted is None:
        raise ValueError(_local_fault(local))
    # RFC 5321 §4.1.2: the quoted form of what needs no quotes is the same mailbox, and is written without.
    plain = re.sub(r"\\(.)", r"\1", quoted[1])
    if _DOT_ATOM.fullmatch(plain):
        return plain
    escaped = plain.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _is_alabel(label: str) -> bool:
    try:
        return not label[4:].encode().decode("punycode").isascii()
    except UnicodeError:
        return False


def _local_fault(local: str) -> str:
    if local.startswith(".") or local.endswith(".") or ".." in local:
        return "The part of the address before the @ begins or ends with a dot, or has two in a row."
    if " " in local:
        return "The address contains a space."
    if "@" in local:
        return "The address has more than one @ sign."
    return "The part of the address before the @ contains a character that must not stand there."


def _domain_fault(domain: str) -> str:
    if domain.startswith("["):
        return "An IP address in place of a domain is not accepted."
    if "." not in domain.strip("."):
        return "The domain of the address has no dot."
    if " " in domain:
        return "The address contains a space."
    return "The domain of the address is not a valid domain name."
