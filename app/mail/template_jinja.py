"""Where the tags of Jinja lie in a source, for those who must work around them."""

from __future__ import annotations

import re

from app.mail.markup import repeated


def _repeated(expression: str) -> str:
    return repeated(expression.encode()).decode()


_DOUBLE, _SINGLE = _repeated(r'\\.|[^"\\]'), _repeated(r"\\.|[^'\\]")
_STRING = f"""(?:"{_DOUBLE}"|'{_SINGLE}')"""
_IN_EXPRESSION, _IN_STATEMENT = _repeated(_STRING + r"|(?!\}\})."), _repeated(_STRING + r"|(?!%\}).")
_IN_COMMENT = _repeated(r"[^#]++|#(?!\})")
# An expression or a statement ends at the first closing mark that is not inside a string; a comment at its own mark.
TAG = re.compile(rf"\{{\{{{_IN_EXPRESSION}\}}\}}|\{{%{_IN_STATEMENT}%\}}|\{{#{_IN_COMMENT}#\}}", re.DOTALL)
_STATEMENT = re.compile(r"""\{%[-+]?\s*(\w+)\s*(?:["']([^"']*)["']|(\w+))?""")


def statement_of(tag: str) -> tuple[str, str] | None:
    """(keyword, the name or string that follows) of a statement; None for an expression or a comment."""
    found = _STATEMENT.match(tag)
    return (found[1], found[2] or found[3] or "") if found is not None else None
