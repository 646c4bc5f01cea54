"""The text part out of the HTML."""

from __future__ import annotations

import pytest

from app.mail.template_text import derive_text, tidy_text


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("<p>One</p><p>Two  words\n here</p>", "One\n\nTwo words here\n"),
        ("<h1>Title</h1>text<br>more", "Title\n\ntext\nmore\n"),
        ("<ul><li>a</li><li>b</li></ul>", "- a\n- b\n"),
        ("<table><tr><td>a</td><td>b</td></tr><tr><td>c</td></tr></table>", "a b\nc\n"),
        ("<a href='https://x.test/?a=1&amp;b=2'>Here</a>.", "Here (https://x.test/?a=1&b=2).\n"),
        ("<a href='https://x.test'>https://x.test</a>", "https://x.test\n"),
        ("<a href='mailto:a@x.test'>a@x.test</a> <a href='#top'>up</a>", "a@x.test up\n"),
        ("<a href='https://x.test'><img src=x alt='Logo'></a>", "Logo (https://x.test)\n"),
        ("<a href='https://x.test'><img src=x></a>", "https://x.test\n"),
        ("<div style='display: none'>pre<div>header</div></div>a<p hidden>b</p>", "a\n"),
        ("<head><title>t</title></head><style>p{}</style><script>x</script><!-- c -->a", "a\n"),
        ("1 &lt; 2 &amp;&nbsp;3 &eacute;", "1 < 2 & 3 é\n"),
        ("a<b>b</b>c <i>d</i>", "abc d\n"),
        ("a<hr>b", "a\n---\nb\n"),
        # End tags that HTML lets authors leave out.
        ("<html><head><title>t</title><meta charset=utf-8><body><p>Hello</p></body></html>", "Hello\n"),
        ("<html><head><style>p{}</style><p>Hello", "Hello\n"),
        ("<p hidden>pre<b>head<p>Hello<p>World", "Hello\n\nWorld\n"),
        ("<p hidden>pre<div>Hello</div>", "Hello\n"),
        ("<ul><li hidden>x<ul><li>y</ul>z<li>One<li>Two</ul>", "- One\n- Two\n"),
        ("<ul><li>One<li hidden>x</ul>after", "- One\n\nafter\n"),
        ("<dl><dt hidden>x<dd>Shown</dl>", "Shown\n"),
        ("<table><tr><td style='display:none'>pre<td>Shown<tr><td>too</table>", "Shown\ntoo\n"),
        ("<table><tr hidden><td>a<table><tr><td>b</table>c<tr><td>Shown</table>", "Shown\n"),
        ("<table><tr><td><span hidden>pre</td><td>Shown</td></table>", "Shown\n"),
        ("<div hidden><p>a</p>b</p>c<div>d</div>e</div>Shown", "Shown\n"),
        ("<div hidden><b>a</b></i>b</div>Shown", "Shown\n"),
    ],
)
def test_what_html_says(html: str, text: str) -> None:
    assert tidy_text(derive_text(html)) == text


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("<p>{{ a }}</p>", "\n\n{{ a }}\n\n"),
        ("<a href='{{ u }}'>x</a>", "x ({{ u }})"),
        ("<p {% if a %}class='b'{% endif %}>x</p>", "\n\nx\n\n"),
        ('{{ "<b>" }}', '{{ "<b>" }}'),
        ('{{ "}}" }}', '{{ "}}" }}'),
        ("&#123;{ a }}", "{{ '{' }}{ a }}"),
        ("{# c #}a", "a"),
        ("<style>{{ a }}</style>b", "b"),
    ],
)
def test_tags_of_jinja_stay(html: str, text: str) -> None:
    assert derive_text(html) == text


def test_any_text_is_taken() -> None:
    for html in (
        "<" * 500,
        "{{" * 500,
        "<a " * 500,
        "{{ '" * 500,
        "<p>" * 500,
        "{% x " * 500,
        "</p>" * 500,
        "<a href='" * 500,
        "\ue0005\ue001",
    ):
        assert isinstance(derive_text(html), str)


def test_gaps_are_closed_however_long_they_are() -> None:
    assert tidy_text("  a \n b   \n\n \n\n\n c\t\n d " + " " * 60_000 + "\n" * 60_000 + "e ") == "a\n b\n\n c\t\n d\n\ne\n"
