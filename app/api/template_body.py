"""The bodies of /v1/templates and its answers, as types; what they mean for mail is `mail.template`."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from app.api.message_body import DateTime

MOST_SOURCE_BYTES = 512 * 1024
SHOWN_VERSIONS = 100
EXAMPLE = {
    "name": "order-confirmation",
    "subject": "Your order {{ order.number }}",
    "html": "<p>Thank you, {{ name|default('dear customer') }}.</p><p>Total: {{ order.total|money('EUR') }}</p>",
    "publish": True,
}
NEXT_EXAMPLE = {"subject": "Your order {{ order.number }} is on its way", "publish": True}
PREVIEW_EXAMPLE = {"variables": {"order": {"number": "1042", "total": 59.9}}, "locale": "it_IT"}


Name = Annotated[str, Field(max_length=100, description="Lower-case letters, digits, `.`, `_` and `-`; unique in the account.")]
Subject = Annotated[str | None, Field(max_length=10_000, description="The subject; layouts and partials have none.")]
Html = Annotated[str | None, Field(max_length=MOST_SOURCE_BYTES, description="The HTML part. Rules of <style> are written into it.")]
Text = Annotated[str | None, Field(max_length=MOST_SOURCE_BYTES, description="The text part; made from the HTML when left out.")]
Defaults = Annotated[dict[str, Any], Field(description="Variables for messages that do not bring them.", default_factory=dict)]
Publish = Annotated[bool, Field(description="Let messages use it from now on.")]


class TemplateBody(BaseModel):
    """A template to make, with its first version."""

    model_config = ConfigDict(extra="forbid", strict=True, title="NewTemplate")
    name: Name
    subject: Subject = None
    html: Html = None
    text: Text = None
    defaults: Defaults
    publish: Publish = False


class VersionBody(BaseModel):
    """A new version. What is left out is as in the last one; null takes it away. Layouts and partials are those published now."""

    model_config = ConfigDict(extra="forbid", strict=True, title="NewTemplateVersion")
    subject: Subject = None
    html: Html = None
    text: Text = None
    defaults: Defaults
    publish: Publish = False


class PublishBody(BaseModel):
    """The version that messages get."""

    model_config = ConfigDict(extra="forbid", strict=True, title="PublishTemplate")
    version: Annotated[int, Field(ge=1, le=2**31 - 1)]


class PreviewBody(BaseModel):
    """What to fill the template with."""

    model_config = ConfigDict(extra="forbid", strict=True, title="PreviewTemplate")
    version: Annotated[int | None, Field(ge=1, le=2**31 - 1, description="The newest one when left out.")] = None
    variables: Annotated[dict[str, Any], Field(default_factory=dict)]
    locale: Annotated[str | None, Field(max_length=40)] = None


class TemplateVersion(BaseModel):
    """A version of a template."""

    model_config = ConfigDict(extra="forbid")
    version: int
    created_at: DateTime
    uses: Annotated[dict[str, int], Field(description="The layouts and partials in it, with the version that each has here.")]


class TemplateSource(TemplateVersion):
    """A version, as it was written."""

    subject: str | None
    html: str | None
    text: str | None
    defaults: dict[str, Any]


class Template(BaseModel):
    """A template."""

    model_config = ConfigDict(extra="forbid")
    id: Annotated[str, Field(pattern="^tpl_[0-9a-f]{32}$")]
    name: Name
    published: Annotated[int | None, Field(description="The version that messages get; null: none yet.")]
    newest: int
    created_at: DateTime
    updated_at: DateTime


class TemplateDetail(Template):
    """A template with its newest version and the list of those before it."""

    source: TemplateSource
    versions: Annotated[list[TemplateVersion], Field(description=f"The newest {SHOWN_VERSIONS} of them.")]


class TemplateList(BaseModel):
    model_config = ConfigDict(extra="forbid")
    templates: list[Template]
    next: Annotated[str | None, Field(description="Give it as `cursor` for the next page.")]


class TemplatePreview(BaseModel):
    """What a message would say."""

    model_config = ConfigDict(extra="forbid")
    version: int
    subject: str | None
    html: str | None
    text: str | None


BODIES = (TemplateBody, VersionBody, PublishBody, PreviewBody)
