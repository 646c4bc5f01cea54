"""A browser's reading of HTML, by a parser that is not ours (tinyhtml5): which web links its tokenizer meets while the tree is built."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from tinyhtml5.constants import Token
from tinyhtml5.parser import HTMLParser
from tinyhtml5.tokenizer import HTMLTokenizer

_WEB = re.compile(r"https?://[/\\]*[^/\\?#\s]", re.IGNORECASE)
_AROUND = "".join(map(chr, range(0x21)))


class _Listening(HTMLTokenizer):  # type: ignore[misc]
    """The tree tells the tokenizer what is text (raw text, foreign content), so both run."""

    heard: list[str]

    def __iter__(self) -> Iterator[Any]:
        self.heard = []
        for token in super().__iter__():
            if token["type"] == Token.START_TAG and token["name"] in ("a", "area"):
                self.heard += [value for name, value in dict(token["data"]).items() if name == "href"]
            yield token


class _Parser(HTMLParser):  # type: ignore[misc]
    def main_loop(self) -> None:
        self.tokenizer.__class__ = _Listening
        super().main_loop()


def web_links(html: str) -> list[str]:
    """The targets of all <a> and <area> that lead to http or https, as WHATWG URL begins to read them."""
    parser = _Parser()
    parser.parse(html)
    urls = [value.strip(_AROUND).translate({9: None, 10: None, 13: None}) for value in parser.tokenizer.heard]
    return [url for url in urls if _WEB.match(url)]
