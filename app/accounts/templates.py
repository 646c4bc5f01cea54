"""Templates of an account as the hot path asks for them, and how a version comes to be.

A version is frozen when it is made: its layouts and partials are the published ones of that moment, and stay so. So a version means
the same mail for ever, whatever is published later; to take a new layout up, a new version is made of the same sources.

The TemplateBook answers from memory (accounts.memory): what is published elsewhere is used here within KNOWN_SECONDS. Versions themselves
never change and are kept as long as there is room.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from dataclasses import asdict, dataclass
from typing import Any
from uuid import UUID
from weakref import WeakValueDictionary

import orjson
from sqlalchemy.ext.asyncio import AsyncConnection

from app import store
from app.accounts.memory import Remembered
from app.errors import FieldError, InvalidMessage, pointer_to
from app.mail.header import check_text
from app.mail.template import DEFAULT_LOCALE, Fault, FrozenSet, Rendered, Source, TemplateFault, UnknownNames
from app.mail.words import is_encodable
from app.rendering import Checked, Renderer, RenderInterrupted
from app.store.ids import parse_public_id
from app.store.templates import NewVersion

# Letters of sources, and what a version has besides.
_KEPT_LETTERS = 16_000_000
_LETTERS_OF_VERSION = 2_000
# A layout that names a partial that names …: each step is a question to the database.
_MOST_STEPS = 8
_MOST_NAMED = 50


@dataclass(slots=True)
class TemplateUse:
    """What a submission asks for: `template` is an id (tpl_…) or a name; `size_bytes` that of the variables as JSON."""

    template: str
    number: int | None
    variables: dict[str, Any]
    locale: str | None
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Version:
    """A version ready to be rendered."""

    template_id: UUID
    number: int
    defaults: dict[str, Any]
    frozen: FrozenSet
    defaults_bytes: int = 0

    @property
    def key(self) -> tuple[UUID, int]:
        return self.template_id, self.number

    @property
    def letters(self) -> int:
        """What it takes in memory, about."""
        sources = (*self.frozen.html.values(), *self.frozen.text.values())
        return _LETTERS_OF_VERSION + self.defaults_bytes + sum(map(len, sources))

    @property
    def has_texts(self) -> bool:
        return self.frozen.main in self.frozen.html or self.frozen.main in self.frozen.text


class TemplateInterrupted(InvalidMessage):
    """The render was ended for its time or memory: what was small enough once may be so again, on a machine that is less busy."""


class TemplateBook:
    """Versions as the hot path asks for them, and their rendering."""

    def __init__(self, database: store.db.Database, renderer: Renderer) -> None:
        self._database = database
        self._renderer = renderer
        # (account, what was asked for) → which version that is now.
        self._named = Remembered(self._name)
        self._versions: OrderedDict[tuple[int, UUID, int], Version] = OrderedDict()
        self._kept_letters = 0
        self._loading: WeakValueDictionary[tuple[int, UUID, int], asyncio.Lock] = WeakValueDictionary()

    async def render(self, account_id: int, use: TemplateUse) -> Rendered:
        """Fill the template that a submission names. InvalidMessage points at what is wrong with it or with the variables."""
        return await self.render_version(account_id, await self.resolve(account_id, use), use)

    async def resolve(self, account_id: int, use: TemplateUse) -> Version:
        """The version that a submission means, now and for ever after; InvalidMessage when there is none."""
        version = await self.find(account_id, use.template, use.number)
        if version is None:
            pointer, asked = ("#/template", "published template") if use.number is None else ("#/template_version", "version")
            hint = " It is one when a version of it is published." if use.number is None else ""
            raise InvalidMessage.of_field(pointer, "unknown_template", f"This account has no such {asked}.{hint}")
        return version

    async def check_version(self, account_id: int, version: Version, use: TemplateUse) -> Checked:
        """Whether `render_version` would fill it later; InvalidMessage as that has."""
        try:
            checked = await self._renderer.check(account_id, version.key, version.frozen, *_filled_by(version, use))
        except TemplateFault as error:
            raise _invalid(error) from error
        _check_rendered(checked.whole or Rendered(checked.subject, None, None))
        return checked

    async def render_version(self, account_id: int, version: Version, use: TemplateUse) -> Rendered:
        """Fill a version that is known. TemplateInterrupted when it took too much this time."""
        try:
            made = await self._renderer.render(account_id, version.key, version.frozen, *_filled_by(version, use))
        except TemplateFault as error:
            raise _invalid(error) from error
        _check_rendered(made)
        return made

    def render_at_once(self, account_id: int, version: Version, use: TemplateUse) -> Rendered | None:
        """The same without waiting for another process; None when it must."""
        try:
            made = self._renderer.render_here((account_id, *version.key), version.frozen, *_filled_by(version, use))
        except TemplateFault as error:
            raise _invalid(error) from error
        if made is not None:
            _check_rendered(made)
        return made

    async def find(self, account_id: int, template: str, number: int | None) -> Version | None:
        """The version that is meant: the published one when no number is given."""
        named = await self._named.find((account_id, template, number)) if _may_be_name(template) else None
        return await self.fixed(account_id, *named) if named is not None else None

    async def fixed(self, account_id: int, template_id: UUID, number: int) -> Version | None:
        """A version by its number, published or not, archived or not: mail that was accepted with it has a right to it."""
        version = self.kept(account_id, template_id, number)
        if version is not None:
            return version
        key = (account_id, template_id, number)
        async with self._loading.setdefault(key, asyncio.Lock()):  # a batch asks for its version all at once
            version = self.kept(*key)
            if version is None:
                version = await self._load(*key)
                if version is not None:
                    self._versions[key] = version
                    self._kept_letters += version.letters
                    while self._kept_letters > _KEPT_LETTERS:
                        self._kept_letters -= self._versions.popitem(last=False)[1].letters
        return version

    def kept(self, account_id: int, template_id: UUID, number: int) -> Version | None:
        """The same out of memory."""
        return self._versions.get((account_id, template_id, number))

    def forget(self, account_id: int) -> None:
        """Something of this account was published or archived here."""
        self._named.forget_all(lambda asked: asked[0] == account_id)

    async def _name(self, asked: tuple[int, str, int | None]) -> tuple[UUID, int] | None:
        account_id, template, number = asked
        async with store.db.refusing_while_away("nothing was accepted"), self._database.reading() as connection:
            row = await store.templates.find_template(connection, account_id, *read_reference(template))
        if row is None or (number or row.published) is None:
            return None
        return row.id, number or row.published

    async def _load(self, account_id: int, template_id: UUID, number: int) -> Version | None:
        async with store.db.refusing_while_away("nothing was accepted"), self._database.reading() as connection:
            row = await store.templates.find_version(connection, account_id, template_id, number)
        if row is None:
            return None
        return Version(template_id, number, row.defaults, FrozenSet(**row.frozen), len(orjson.dumps(row.defaults)))


async def make_version(
    database: store.db.Database, renderer: Renderer, account_id: int, name: str, source: Source, defaults: dict[str, Any]
) -> NewVersion:
    """Freeze what somebody wrote, with the layouts and partials that it names. TemplateFault when something is wrong with it."""
    sources = {name: source}
    uses: dict[str, int] = {}
    for _ in range(_MOST_STEPS):
        try:
            frozen = await renderer.freeze(account_id, name, sources)
        except UnknownNames as unknown:
            async with database.reading() as connection:
                added = await _load_named(connection, account_id, unknown.names, sources)
            uses |= {one: number for one, (number, _) in added.items()}
            sources |= {one: written for one, (_, written) in added.items()}
        else:
            return NewVersion(source.subject, source.html, source.text, defaults, asdict(frozen), uses)
    raise TemplateFault(Fault("recursion", "Layouts and partials name each other too deep."))


async def _load_named(
    connection: AsyncConnection, account_id: int, names: frozenset[str], known: dict[str, Source]
) -> dict[str, tuple[int, Source]]:
    """The published versions of these names, of this account alone; TemplateFault for one that is not there."""
    wanted = sorted(names - known.keys())
    # A name that is in the set and still not found lacks the part that asks for it.
    lacking = sorted(names & known.keys())
    asked = [one for one in wanted[:_MOST_NAMED] if _may_be_name(one)]
    rows = await store.templates.find_published(connection, account_id, asked) if asked else ()
    found = {row.name: (row.number, Source(None, row.html, row.text)) for row in rows}
    missing = [one for one in wanted if one not in found]
    if missing or lacking or len(known) + len(found) > _MOST_NAMED:
        name = (missing or lacking or ["…"])[0]
        lack = "has not the part that names it" if name in lacking else "is not published in this account"
        raise TemplateFault(Fault("unknown_template", f"The layout or partial {_plain(name)} {lack}."))
    return found


def read_reference(template: str) -> tuple[UUID | None, str | None]:
    """(id, None) of tpl_…, else (None, name)."""
    some_id = parse_public_id("tpl", template)
    return (some_id, None) if some_id is not None else (None, template)


def _plain(name: str) -> str:
    return name[:100] if _may_be_name(name) else "of that name"


def _may_be_name(template: str) -> bool:
    """Whether it can be asked for at all: what a string of a template or a body can hold, a column may not."""
    return template.isascii() and template.isprintable()


def _filled_by(version: Version, use: TemplateUse) -> tuple[dict[str, Any], str, int]:
    """(variables with the version's defaults, locale, size), as the renderer takes them."""
    variables = {**version.defaults, **use.variables} if version.defaults else use.variables
    return variables, use.locale or DEFAULT_LOCALE, use.size_bytes + version.defaults_bytes


def _check_rendered(made: Rendered) -> None:
    """What variables, or escapes in a template's strings, may have brought in and no mail carries."""
    try:
        check_text(made.subject or "", "subject")
        for part in (made.html, made.text):
            if part is not None and ("\0" in part or not is_encodable(part)):
                raise ValueError("The text contains NUL or half of a surrogate pair.")
    except ValueError as error:
        raise InvalidMessage.of_field("#/variables", "invalid_text", str(error)) from error


def _invalid(error: TemplateFault) -> InvalidMessage:
    kind = TemplateInterrupted if isinstance(error, RenderInterrupted) or error.fault.code in ("too_slow", "too_much") else InvalidMessage
    return kind.of_fields([_field_of_use(error.fault)])


def _field_of_use(fault: Fault) -> FieldError:
    """Where in a submission the fault lies."""
    if fault.code in ("missing_variable", "wrong_value"):
        return FieldError(pointer_to(("variables", *fault.variable)), fault.code, fault.sentence)
    place = "locale" if fault.code == "unknown_locale" else "template"
    return FieldError(f"#/{place}", fault.code, fault.sentence)
