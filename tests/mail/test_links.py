import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.mail.links import read_links
from app.mail.markup import read_attribute

RAW = ("script", "style", "title", "textarea", "xmp", "iframe", "noembed", "noframes", "plaintext")


def urls(html: str) -> list[str]:
    return [link.url for link in read_links(html.encode()).links]


@pytest.mark.parametrize(
    "tag",
    [
        '<a href="https://x.it/">',
        "<a href='https://x.it/'>",
        "<a href=https://x.it/>",
        '<A\n\tHREF = "https://x.it/" >',
        '<a title="a > b" href="https://x.it/">',
        "<a class=x/href=y href=https://x.it/ >",
        '<a/href="https://x.it/"/>',
        '<a href="https://x.it/" href="https://y.it/">',
        '<a =href="y" href="https://x.it/">',
        '<a b="c"href="https://x.it/">',
        '<a b= c href="https://x.it/">',
        '<area shape="rect" href="https://x.it/">',
        '<a href="\n https://x.it/ ">',
        '<a href="&#104;ttps&colon;//x.it/">',
        '<noscript><a href="https://x.it/"></noscript>',
        '<!--[if !mso]><!--><a href="https://x.it/"><!--<![endif]-->',
        '<![if !mso]><a href="https://x.it/"><![endif]>',
        '<!--><a href="https://x.it/">',
        '<!---><a href="https://x.it/">',
        '<!-- -- --!><a href="https://x.it/">',
        '<?php ?><a href="https://x.it/">',
        '</ a="><a href="https://x.it/">',
        'a < b <a href="https://x.it/">',
        '<style>a > b</style ><a href="https://x.it/">',
        '<title><a href="https://y.it/"></title><a href="https://x.it/">',
        '<script>"</scripty>"</SCRIPT\n><a href="https://x.it/">',
        '<p title=it\'s><a href="https://x.it/">',
        '<img alt=\'<a href="https://y.it/">\'><a href="https://x.it/">',
        '</p title="<a href=\'https://y.it/\'>"><a href="https://x.it/">',
        '<p x="y"="><a href="https://x.it/">',
        '<p="><a href="https://x.it/">',
        '<a href="ht\ntps://x\t.it/">',
        '<a href="\0https://n.it/"><a href="https://x.it/&#1;">',
        '<script><!--<script></script><a href="https://y.it/">--></script><a href="https://x.it/">',
        '<script><!-- --><script></script><a href="https://x.it/">',
        '<script><!--></script><a href="https://x.it/">',
        '<svg><a href="https://x.it/"></svg>',
        '<svg><style><a href="https://x.it/"></svg>',
        '<svg><style></svg><a href="https://x.it/">',
        '<svg><![CDATA[<a href="https://y.it/">]]></svg><a href="https://x.it/">',
        '<svg><foreignObject><title><a href="https://y.it/"></title></foreignObject></svg><a href="https://x.it/">',
        '<math><mtext><style><a href="https://y.it/"></style></mtext><a href="https://x.it/">',
        '<td><svg></td><title><a href="https://y.it/"></title><a href="https://x.it/">',
        '<svg><p><style><a href="https://y.it/"></style><a href="https://x.it/">',
        '<svg/><style><a href="https://y.it/"></style><a href="https://x.it/">',
        '<a data-track="on" href="https://x.it/">',
        # an end tag reaches out of no element that holds HTML, but for those of tables
        '<a><svg><desc></a></desc><style><a href="https://x.it/"></style></svg>',
        '<div><svg><foreignObject></div></foreignObject><script><a href="https://x.it/"></script></svg>',
        '<table><tr><td><svg><desc></td><style><a href="https://n.it/"></style><a href="https://x.it/">',
        '<a href="https://x.it/" title="data-track=off">',
    ],
)
def test_a_link_that_a_browser_sees_is_found(tag: str) -> None:
    assert urls(tag) == ["https://x.it/"]


@pytest.mark.parametrize(
    "html",
    [
        '<!-- <a href="https://x.it/"> -->',
        '<!--[if mso]><a href="https://x.it/"><![endif]-->',
        '<!-- <a href="https://x.it/">',
        *[f'<{name}><a href="https://x.it/"></{name}>' for name in RAW],
        '<plaintext></plaintext><a href="https://x.it/">',
        '<link href="https://x.it/">',
        '<abbr href="https://x.it/">',
        '<a-b href="https://x.it/">',
        '</a href="https://x.it/">',
        '<a data-href="https://x.it/">',
        '<a href="https://x.it/"',
        '<a href="https://x.it/',
        "<a href=>https://x.it/",
        '<a href="https://x.it/" x="<p>',
        '<a href="" href="https://x.it/">',
        '<a title="href=https://x.it/">',
        '<a href="https://x.it/" data-staffetta-track="off">',
        '<a DATA-TRACK=OFF href="https://x.it/">',
        '<a clicktracking="off" href="https://x.it/">',
        '<a href="https://x.it/" ses:no-track>',
        '<a data-pm-no-track href="https://x.it/">',
        "<svg><![CDATA[<a href=https://x.it/>",
        *[
            f'<a href="{url}">'
            for url in ("#", "mailto:a@b.co", "/x", "//x.it", "ftp://x.it", "javascript:x", "{{url}}", "http://", "http:///", "tel:1")
        ],
    ],
)
def test_what_is_no_web_link_to_a_browser_is_left(html: str) -> None:
    assert urls(html) == []


@pytest.mark.parametrize(
    ("value", "read"),
    [
        ("a&amp;b", "a&b"),
        ("?a=1&copy=2&reg;&para", "?a=1&copy=2®¶"),
        ("&notit;&not;&not-", "&notit;¬¬-"),
        ("&#x26;&#38;&#38", "&&&"),
        ("&unknown;&;&", "&unknown;&;&"),
        ("&#0;&#xD800;&#x110000;&#99999999999;", "\ufffd" * 4),
        ("&#" + "9" * 5000, "\ufffd"),
        ("&#0000000000065;&#x80;&#1;", "A€\x01"),
        ("&amp;amp;&ampé", "&amp;&é"),
    ],
)
def test_character_references_are_read_as_in_an_attribute(value: str, read: str) -> None:
    assert read_attribute(value) == read


@pytest.mark.parametrize(
    ("octets", "charset", "url"),
    [
        ('<a href="https://x.it/é">'.encode(), "utf-8", "https://x.it/é"),
        ('<a href="https://x.it/é">'.encode("latin-1"), "iso-8859-1", "https://x.it/é"),
        ('<a href="https://x.it/€">'.encode("cp1252"), "iso-8859-1", "https://x.it/€"),
        ('<a href="https://x.it/é">'.encode(), "us-ascii", "https://x.it/é"),
        ('<a href="https://x.it/é">'.encode("latin-1"), "no-such-charset", "https://x.it/é"),
        ('<a href="https://x.it/日">'.encode("shift_jis"), "shift_jis", "https://x.it/日"),
        # the letters of these words are "<a href=…>" when they are read as ASCII
        (b'\x1b$B<a href="https://n.it/">\x1b(B<a href="https://x.it/">', "iso-2022-jp", "https://x.it/"),
        ('<a href="https://x.it/日">'.encode("iso2022_jp"), "iso-2022-jp", "https://x.it/日"),
        ('<a href="https://x.it/">'.encode("utf-16-le"), "utf-16", None),
        (b'<a href="https://x.it/">', "utf-7", None),
        ('<a href="https://x.it/">'.encode("utf-16-le"), "utf-8", None),
    ],
)
def test_the_charset_decides_what_is_a_letter(octets: bytes, charset: str, url: str | None) -> None:
    assert [link.url for link in read_links(octets, charset).links] == ([] if url is None else [url])


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("<p>x", "</body></html>"),
        ("<p>x", "</BODY\n>"),
        ("<!-- </body> --><p title='</body>'>x<style></body></style>", "</body>"),
        ("<body>x</body><a href='https://x.it/'>x</a>", ""),
        ("x", ""),
        ("x", "<!-- </body>"),
        ("x", "<style></body>"),
        ("x", "<style></body></style"),
        ("x", "<a href='https://x.it/</body>"),
        ("x", "<svg><![CDATA[</body>"),
    ],
)
def test_the_pixel_stands_before_the_end_and_never_within_what_is_open(before: str, after: str) -> None:
    assert read_links((before + after).encode()).pixel == len(before)


def test_there_is_no_place_for_a_pixel_in_what_cannot_be_read() -> None:
    assert read_links(b"x", "utf-16").pixel is None


PIECES = st.sampled_from(
    [
        *[
            "<a ",
            "<A\n",
            "<area/",
            "<p ",
            "</a ",
            "</p>",
            "<",
            ">",
            "/",
            "=",
            " ",
            '"',
            "'",
            "<!--",
            "-->",
            "--!>",
            "--",
            "-",
            "<!",
            "<?",
            "</",
        ],
        *[
            'href="https://x.it/1"',
            "href='http://x.it/2'",
            "href=https://x.it/3",
            "href = ",
            "HREF",
            "title",
            "x",
            "é",
            "\f",
            "\x0b",
            "</style>",
        ],
        *[
            "<style>",
            "</style",
            "<title ",
            "</title >",
            "<script/>",
            "</script\n>",
            "<plaintext>",
            "<!-->",
            "<!DOCTYPE html>",
            "<abbr ",
            "https://y.it",
        ],
    ]
)


@given(st.lists(PIECES, max_size=40).map("".join))
def test_spans_are_those_of_a_state_machine_written_from_the_standard(html: str) -> None:
    octets = html.encode()
    spans = read_links(octets).links
    assert [octets[span.start : span.end].decode() for span in spans] == [value for value in hrefs(html) if value.strip()[:4] == "http"]


def test_more_slashes_than_two_are_as_good_as_two() -> None:
    assert urls('<a href="http:///x.it/"><a href="https://\\x.it/">') == ["http:///x.it/", "https://\\x.it/"]


@pytest.mark.parametrize("end", ["</x>", "</g>", "</td>"])
def test_many_end_tags_in_a_deep_drawing_take_no_longer_than_others(end: str) -> None:
    html = "<td><svg>" + "<g>" * 100 + end * 100_000
    started = time.process_time()
    read_links(html.encode())
    assert time.process_time() - started < 2


@pytest.mark.parametrize(
    "piece", ["<a ", "<", "<!--", '<a href="', "<p x='", "<style>", "</", "<a href=https://x.it/>", "<p a=b ", "=", "<a =", "&"]
)
def test_no_text_takes_long(piece: str) -> None:
    started = time.process_time()
    read_links((piece * 400_000)[:400_000].encode())
    assert time.process_time() - started < 1


def hrefs(html: str) -> list[str]:
    """The first href of every a and area, by the tokenizer's states of WHATWG HTML §13.2.5, one character at a time."""
    found: list[str] = []
    place = 0
    while (place := html.find("<", place)) >= 0:
        rest = html[place:]
        if rest.startswith("<!--"):
            place = comment_end(html, place)
        elif rest[1:2] in ("!", "?") or (rest[1:2] == "/" and not is_letter(rest[2:3])):
            place = html.find(">", place) + 1 or len(html)
        elif rest[1:2] == "/" or is_letter(rest[1:2]):
            closing = rest[1] == "/"
            name, attributes, place = read_tag(html, place + 1 + closing)
            if place < 0:
                break
            if not closing and name in ("a", "area") and attributes.get("href"):
                found.append(attributes["href"])
            if not closing and name in RAW:
                place = raw_end(html, place, name)
        else:
            place += 1
    return found


def is_letter(character: str) -> bool:
    return character.isascii() and character.isalpha()


def comment_end(html: str, place: int) -> int:
    for short in ("<!-->", "<!--->"):
        if html.startswith(short, place):
            return place + len(short)
    ends = [(html.find(end, place + 4), len(end)) for end in ("-->", "--!>")]
    return min((at + length for at, length in ends if at >= 0), default=len(html))


def raw_end(html: str, place: int, name: str) -> int:
    while name != "plaintext" and (place := html.lower().find(f"</{name}", place)) >= 0:
        if html[place + 2 + len(name) : place + 3 + len(name)] in ("\t", "\n", "\f", " ", "/", ">"):
            return place
        place += 1
    return len(html)


def read_tag(html: str, place: int) -> tuple[str, dict[str, str], int]:
    """Name, attributes, and the place after ">"; -1 if the text ends first."""
    space = "\t\n\f\r "
    start = place
    while place < len(html) and html[place] not in space + "/>":
        place += 1
    name, attributes = html[start:place].lower(), {}
    while place < len(html):
        if html[place] == ">":
            return name, attributes, place + 1
        if html[place] in space + "/":
            place += 1
            continue
        start, place = place, place + 1  # a first "=" belongs to the name
        while place < len(html) and html[place] not in space + "/>=":
            place += 1
        key, value, after = html[start:place].lower(), "", place
        while after < len(html) and html[after] in space:
            after += 1
        if html[after : after + 1] == "=":
            place = after + 1
            while place < len(html) and html[place] in space:
                place += 1
            if (quote := html[place : place + 1]) in ("'", '"') and quote:
                end = html.find(quote, place + 1)
                if end < 0:
                    return name, attributes, -1
                value, place = html[place + 1 : end], end + 1
            else:
                start = place
                while place < len(html) and html[place] not in space + ">":
                    place += 1
                value = html[start:place]
        attributes.setdefault(key, value)
    return name, attributes, -1
