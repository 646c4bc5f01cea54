"""Versions in memory: so many letters of sources, not so many versions; defaults are variables like others."""

from __future__ import annotations

from typing import Any, cast
from uuid import UUID, uuid4

import pytest

from app.accounts.templates import TemplateBook, TemplateUse, Version, _filled_by, _invalid
from app.delivery.filling import TemplateInterrupted
from app.errors import InvalidMessage
from app.mail.template import Fault, FrozenSet, TemplateFault


def version(letters: int, template_id: UUID | None = None) -> Version:
    frozen = FrozenSet("t", {"t": "x" * letters}, {"t": ""}, derived=False, proven=False)
    return Version(template_id or uuid4(), 1, {"a": "x" * 500}, frozen, defaults_bytes=508)


async def test_versions_are_kept_by_their_size(monkeypatch: pytest.MonkeyPatch) -> None:
    book = TemplateBook(cast(Any, None), cast(Any, None))
    monkeypatch.setattr("app.accounts.templates._KEPT_LETTERS", 1_000_000)

    async def load(_account_id: int, template_id: UUID, _number: int) -> Version:
        return version(90_000, template_id)

    monkeypatch.setattr(book, "_load", load)
    ids = [uuid4() for _ in range(30)]
    for one in ids:
        assert await book.fixed(1, one, 1) is book.kept(1, one, 1)
    assert [book.kept(1, one, 1) is not None for one in ids] == [False] * 20 + [True] * 10


def test_defaults_count_as_variables_do() -> None:
    assert _filled_by(version(1), TemplateUse("t", None, {"b": 1}, None, 7))[2] == 7 + 508


@pytest.mark.parametrize(
    ("code", "kind"), [("too_slow", TemplateInterrupted), ("too_much", TemplateInterrupted), ("wrong_value", InvalidMessage)]
)
def test_what_took_too_much_may_do_better_another_time(code: str, kind: type[InvalidMessage]) -> None:
    assert type(_invalid(TemplateFault(Fault(code, "…")))) is kind
