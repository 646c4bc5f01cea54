"""Every refusal that a caller may see, one tree for HTTP and SMTP.

    RelayError
    ├── InvalidMessage      422 / 554 5.6.0   the submission itself is wrong; `errors` points at the fields
    ├── InvalidRequest      422 / 501 5.5.4   a body or parameter of anything but a message is wrong; `errors` as above
    ├── MalformedRequest    400 / 500 5.5.2   not even readable (no JSON, bad encoding)
    ├── MessageTooLarge     413 / 552 5.3.4
    ├── Unauthenticated     401 / 535 5.7.8
    ├── Forbidden           403 / 550 5.7.1   authenticated, but the key's scopes do not allow it
    ├── AccountPaused       403 / 550 5.7.1   its account may read, but not send
    ├── SenderNotAllowed    403 / 550 5.7.1   a From domain that is not the account's
    ├── DomainNotOwned      403 / 550 5.7.1   the same of a domain that is named elsewhere
    ├── NotFound            404 / 550 5.1.1
    ├── Conflict            409 / 451 4.3.0   the state of the thing does not allow it, or a key is in flight
    ├── Throttled           429 / 451 4.7.1   carries retry_after_seconds
    └── Unavailable         503 / 451 4.3.0   our fault, for now; carries retry_after_seconds

`message` is safe to show to the caller; the cause goes by `raise … from`. A remote server's "no" is never
an exception: it is a value (mail.reply.Reply, delivery.retry.Outcome).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Self
from urllib.parse import quote

MOST_FIELD_ERRORS = 50


@dataclass(frozen=True, slots=True)
class FieldError:
    """One wrong field: `pointer` is a JSON Pointer as URI fragment (RFC 6901 §6), like "#/to/0/email"."""

    pointer: str
    code: str
    detail: str


def pointer_to(path: Iterable[str | int]) -> str:
    """A JSON Pointer as URI fragment. Steps can be keys of the client's making: bounded, and escaped to ASCII."""
    steps = []
    for step in path:
        text = str(step)[:64].replace("~", "~0").replace("/", "~1")
        steps.append(quote(text, safe="~!$&'()*+,;=:@", errors="replace"))
    return "#" + "".join(f"/{step}" for step in steps)


class RelayError(Exception):
    """A refusal with a stable `code`, a sentence for the caller, and what it is in HTTP and in SMTP."""

    code = "internal"
    http_status = 500
    smtp_reply = "451 4.3.0"

    def __init__(
        self,
        message: str,
        *,
        errors: Sequence[FieldError] = (),
        retry_after_seconds: int | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.errors = tuple(errors)
        self.retry_after_seconds = retry_after_seconds

    @classmethod
    def of_fields(cls, errors: Sequence[FieldError]) -> Self:
        """The refusal for these: it says what the only one says, or how many there are, and carries the first of them."""
        detail = errors[0].detail if len(errors) == 1 else f"{len(errors)} fields are wrong."
        return cls(detail, errors=errors[:MOST_FIELD_ERRORS])

    @classmethod
    def of_field(cls, pointer: str, code: str, detail: str) -> Self:
        """The refusal for this one."""
        return cls(detail, errors=(FieldError(pointer, code, detail),))


class InvalidMessage(RelayError):
    code, http_status, smtp_reply = "invalid_message", 422, "554 5.6.0"


class InvalidRequest(RelayError):
    code, http_status, smtp_reply = "invalid_request", 422, "501 5.5.4"


class MalformedRequest(RelayError):
    code, http_status, smtp_reply = "malformed_request", 400, "500 5.5.2"


class MessageTooLarge(RelayError):
    code, http_status, smtp_reply = "message_too_large", 413, "552 5.3.4"


class Unauthenticated(RelayError):
    code, http_status, smtp_reply = "unauthenticated", 401, "535 5.7.8"


class Forbidden(RelayError):
    code, http_status, smtp_reply = "forbidden", 403, "550 5.7.1"


class AccountPaused(RelayError):
    code, http_status, smtp_reply = "account_paused", 403, "550 5.7.1"


class SenderNotAllowed(RelayError):
    code, http_status, smtp_reply = "sender_not_allowed", 403, "550 5.7.1"


class DomainNotOwned(RelayError):
    code, http_status, smtp_reply = "domain_not_owned", 403, "550 5.7.1"


class NotFound(RelayError):
    code, http_status, smtp_reply = "not_found", 404, "550 5.1.1"


class Conflict(RelayError):
    code, http_status, smtp_reply = "conflict", 409, "451 4.3.0"


class Throttled(RelayError):
    code, http_status, smtp_reply = "throttled", 429, "451 4.7.1"


class Unavailable(RelayError):
    code, http_status, smtp_reply = "unavailable", 503, "451 4.3.0"
