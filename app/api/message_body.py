"""The bodies of POST /v1/messages and /v1/messages/batch, and their answers, as types.

These types check the shape: names, kinds, lengths. What the values mean for mail (addresses, headers, times) is `drafting`.
They are strict: a number is no string, an unknown field is refused.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag

from app.api.problems import Problem
from app.intake.labels import (
    IDEMPOTENCY_KEY,
    LONGEST_IDEMPOTENCY_KEY,
    LONGEST_LOCALE,
    LONGEST_STREAM,
    LONGEST_TAG,
    LONGEST_TEMPLATE,
    MOST_METADATA,
    MOST_TAGS,
)

MOST_BATCH_ITEMS = 1000
Stream = Annotated[str, Field(min_length=1, max_length=LONGEST_STREAM, examples=["transactional", "bulk"])]
Kind = Literal["to", "cc", "bcc"]
State = Literal[
    "scheduled",
    "ready",
    "claimed",
    "deferred",
    "held",
    "delivered",
    "bounced",
    "expired",
    "suppressed",
    "cancelled",
    "failed",
    "bounced_late",
]
DateTime = Annotated[str, Field(max_length=40, json_schema_extra={"format": "date-time"}, examples=["2030-06-01T09:00:00+02:00"])]

# The steps that pydantic puts into the path of an error to tell the forms of an address field apart; not in the body.
ADDRESS_MARKS = frozenset({"<text>", "<object>", "<list>", "<one>"})


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class AddressBody(_Body):
    """A mailbox and the name shown for it."""

    email: Annotated[str, Field(max_length=1000, examples=["ada@example.com"])]
    name: Annotated[str, Field(max_length=1000, examples=["Ada Lovelace"])] = ""


def _form_of_one(value: Any) -> str:
    return "<text>" if isinstance(value, str) else "<object>"


def _form(value: Any) -> str:
    return "<list>" if isinstance(value, list) else "<one>"


_Text = Annotated[str, Field(max_length=2000, examples=["Ada Lovelace <ada@example.com>"])]
One = Annotated[Annotated[_Text, Tag("<text>")] | Annotated[AddressBody, Tag("<object>")], Discriminator(_form_of_one)]
# Fail fast: a list of a million wrong things is one error, not a million.
_List = Annotated[list[One], Field(max_length=5000, fail_fast=True), Tag("<list>")]
Many = Annotated[Annotated[One, Tag("<one>")] | _List, Discriminator(_form)]


class AttachmentBody(_Body):
    """A file. With `content_id` it is shown inside the HTML, as `<img src="cid:…">`."""

    filename: Annotated[str, Field(min_length=1, max_length=255, examples=["invoice.pdf"])]
    content: Annotated[str, Field(description="The file as base64.", json_schema_extra={"contentEncoding": "base64"})]
    content_type: Annotated[
        str | None, Field(max_length=255, description="Media type; told from the file name when left out.", examples=["application/pdf"])
    ] = None
    content_id: Annotated[str | None, Field(max_length=202, examples=["logo"])] = None
    disposition: Annotated[
        Literal["attachment", "inline"] | None, Field(description="`inline` needs a content_id; it is told from that when left out.")
    ] = None


class TrackBody(_Body):
    """Whether opens and clicks of this message are tracked; what is left out is as the stream says."""

    opens: bool | None = None
    clicks: bool | None = None


class MessageBody(_Body):
    """One message. At least one recipient (to, cc or bcc), and a subject with html or text, or a template, are needed."""

    model_config = ConfigDict(extra="forbid", strict=True, title="Message")
    from_: Annotated[One, Field(alias="from", description="Who it is from; the domain must be one of the account's.")]
    to: Annotated[Many, Field(description="Recipients named in To.", default_factory=list)]
    cc: Annotated[Many, Field(description="Recipients named in Cc.", default_factory=list)]
    bcc: Annotated[Many, Field(description="Recipients that are named nowhere.", default_factory=list)]
    reply_to: Annotated[Many, Field(description="Where answers go.", default_factory=list)]
    subject: Annotated[str | None, Field(max_length=20_000, description="Needed, unless the template has one.")] = None
    html: Annotated[str | None, Field(description="The HTML body.")] = None
    text: Annotated[str | None, Field(description="The plain text body.")] = None
    template: Annotated[
        str | None,
        Field(
            min_length=1,
            max_length=LONGEST_TEMPLATE,
            description="A template of the account, by name or id, instead of html and text. Its version is fixed now; in a batch, "
            "and on a stream of class bulk, it is filled when the mail is delivered.",
        ),
    ] = None
    template_version: Annotated[int | None, Field(ge=1, le=2**31 - 1, description="A version of it; else the published one.")] = None
    variables: Annotated[
        dict[str, Any] | None, Field(description="What fills the template: any JSON, 64 KB and 16 levels of it at most.")
    ] = None
    locale: Annotated[
        str | None, Field(max_length=LONGEST_LOCALE, description="The language that money and dates are written in.", examples=["it_IT"])
    ] = None
    attachments: Annotated[list[AttachmentBody], Field(max_length=100, fail_fast=True, default_factory=list)]
    headers: Annotated[
        dict[str, Annotated[str, Field(max_length=10_000)]],
        Field(
            max_length=100,
            description="Further header fields, each once; those that the relay or other fields of this body write are refused.",
            default_factory=dict,
        ),
    ]
    tags: Annotated[
        list[Annotated[str, Field(min_length=1, max_length=LONGEST_TAG)]],
        Field(max_length=MOST_TAGS, description="Words to find and count messages by.", default_factory=list),
    ]
    metadata: Annotated[
        dict[str, str],
        # Defaults are made, not copied: pydantic copies a mutable one deeply for every message.
        Field(
            max_length=MOST_METADATA,
            description="Your own facts, given back with every event; 4 KB together, not sent in the mail.",
            default_factory=dict,
        ),
    ]
    stream: Annotated[Stream, Field(description="The kind of mail, one of the account's streams.")] = "transactional"
    track: Annotated[TrackBody | None, Field(description="Tracking of this message, where it differs from the stream's.")] = None
    send_at: Annotated[
        DateTime | None, Field(description="Not before this time (RFC 3339 with offset), at most 366 days ahead; a past one means now.")
    ] = None
    expires_at: Annotated[DateTime | None, Field(description="Give up after this time (RFC 3339 with offset).")] = None


class BatchItem(MessageBody):
    """A message of a batch. Without a key of its own it gets `<Idempotency-Key>/<place>` when the request has one."""

    model_config = ConfigDict(extra="forbid", strict=True, title="BatchItem")
    idempotency_key: Annotated[str | None, Field(min_length=1, max_length=LONGEST_IDEMPOTENCY_KEY, pattern=IDEMPOTENCY_KEY)] = None


class BatchBody(BaseModel):
    """Many messages; each is accepted or refused on its own. Only the documentation is made from this type."""

    model_config = ConfigDict(extra="forbid", title="Batch")
    messages: Annotated[list[BatchItem], Field(min_length=1, max_length=MOST_BATCH_ITEMS)]


class AcceptedRecipient(BaseModel):
    """One address of a message: the unit of delivery and status."""

    model_config = ConfigDict(extra="forbid")
    id: Annotated[str, Field(pattern="^rcp_[0-9a-f]{32}$")]
    email: str
    kind: Kind
    state: State
    reason: Annotated[str | None, Field(description="Why it is suppressed or held.")]


class AcceptedMessage(BaseModel):
    """The durable yes: the message is committed, and every recipient will reach exactly one final state."""

    model_config = ConfigDict(extra="forbid")
    id: Annotated[str, Field(pattern="^msg_[0-9a-f]{32}$")]
    message_id: Annotated[str, Field(description="The Message-ID header of the mail.")]
    recipients: list[AcceptedRecipient]


class CancelledMessage(BaseModel):
    """What the recipients are now: those that waited are cancelled."""

    model_config = ConfigDict(extra="forbid")
    id: Annotated[str, Field(pattern="^msg_[0-9a-f]{32}$")]
    recipients: list[AcceptedRecipient]


class AcceptedItem(AcceptedMessage):
    """The item was accepted."""

    status: Literal["accepted"]


class RefusedItem(BaseModel):
    """The item was refused; nothing of it is kept."""

    model_config = ConfigDict(extra="forbid")
    status: Literal["refused"]
    problem: Problem


class BatchResult(BaseModel):
    """The result of each item, at its place."""

    model_config = ConfigDict(extra="forbid")
    accepted: int
    refused: int
    results: list[Annotated[AcceptedItem | RefusedItem, Field(discriminator="status")]]


# Every name that may stand in a body, to offer the nearest one to who misspelt it.
FIELD_NAMES = frozenset(
    field.alias or name for body in (BatchItem, AddressBody, AttachmentBody, TrackBody) for name, field in body.model_fields.items()
)

EXAMPLE: dict[str, Any] = {
    "from": "Shop <orders@shop.example.test>",
    "to": [{"email": "ada@example.com", "name": "Ada Lovelace"}],
    "subject": "Your order 1042",
    "html": "<p>Thank you, Ada. <a href='https://shop.example.test/orders/1042'>Your order</a> is on its way.</p>",
    "text": "Thank you, Ada. Your order is on its way.",
    "tags": ["order-confirmation"],
    "metadata": {"order": "1042"},
}
ACCEPTED_EXAMPLE: dict[str, Any] = {
    "id": "msg_019a6d3e8f2c7b1499d1a0b3c4d50000",
    "message_id": "<019a6d3e8f2c7b1499d1a0b3c4d50000@shop.example.test>",
    "recipients": [
        {"id": "rcp_019a6d3e8f2c7b1499d1a0b3c4d50001", "email": "ada@example.com", "kind": "to", "state": "ready", "reason": None}
    ],
}
