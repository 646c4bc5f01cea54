import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.mail.location import location_of, with_query_as_sent


@pytest.mark.parametrize(
    ("url", "location"),
    [
        ("https://x.it", "https://x.it"),
        ("https://x.it/a?b=c&d=%20#e", "https://x.it/a?b=c&d=%20#e"),
        ("HTTP://X.it/", "http://X.it/"),
        (" https://x.it/\n", "https://x.it/"),
        ("ht\ntps://x\t.it/", "https://x.it/"),
        ('https://x.it/a b"<é>', "https://x.it/a%20b%22%3C%C3%A9%3E"),
        ("https://münchen.de/", "https://xn--mnchen-3ya.de/"),
        ("https://☃.net/", "https://%E2%98%83.net/"),
        ("https://x.it/\r\nSet-Cookie: y", "https://x.it/Set-Cookie:%20y"),
        ("https://x.it/\0", "https://x.it/"),
        ("https://x.it/\x01/", "https://x.it/%01/"),
        ("https://a:b@x.it:8080/", "https://a:b@x.it:8080/"),
        ("https://a@b@x.it/", "https://a%40b@x.it/"),
        ("https://x.it\\@y.it/", "https://x.it/@y.it/"),
        ("https://x.it/a\\b?c\\d", "https://x.it/a/b?c\\d"),
        ("https://[::1]/", "https://[::1]/"),
        ("https:///x.it/", "https://x.it/"),
        ("http://\\/a@x.it/", "http://a@x.it/"),
        ("https://x.it/{a}?`b`^|", "https://x.it/{a}?`b`^|"),
        (b"https://x.it/\xc3\xa9", "https://x.it/%C3%A9"),
    ],
)
def test_a_web_address_is_written_so_that_all_read_it_alike(url: str | bytes, location: str) -> None:
    assert location_of(url) == location


@pytest.mark.parametrize(
    "url",
    [
        *(
            "",
            "x",
            "/x",
            "//x.it",
            "javascript:alert(1)",
            "data:text/html,x",
            "mailto:a@b.co",
            "ftp://x.it",
            "https:",
            "http://",
            "https:///",
        ),
        *(
            "https://a b/",
            "https://x.it:99999/",
            "https://x.it:y/",
            "https://<x>/",
            "https://%/",
            "https://[::1",
            "\x00javascript:x",
            b"https://x/\xff",
        ),
        *("https://@/", "https://:80/", "https://?x", "https://#x", "httpsx://x.it", "https://x\u3000é/"),
    ],
)
def test_what_is_no_web_address_has_no_location(url: str | bytes) -> None:
    assert location_of(url) is None


@given(
    st.text("htps:/\\@?#[]%.é☃x1 \t\r\n\0<", max_size=30).map("https://x".__add__) | st.text(max_size=30).map("http://".__add__) | st.text()
)
def test_a_location_is_one_line_of_ascii_and_its_own_location(url: str) -> None:
    location = location_of(url)
    if location is not None:
        assert location.isascii() and location.isprintable() and " " not in location
        assert location.startswith(("http://", "https://"))
        assert location_of(location) == location


@pytest.mark.parametrize(
    ("url", "charset", "sent"),
    [
        ("https://x.it/€?€=1", "iso-8859-1", "https://x.it/€?%80=1"),
        ("https://x.it/?q=日本ソ", "windows-31j", "https://x.it/?q=%93%FA%96{%83\\"),
        ("https://x.it/?q=ไ☃&r", "windows-874", "https://x.it/?q=%E4%26%239731%3B&r"),
        ("https://x.it/?q=é", "punycode", "https://x.it/?q=é"),
        ("https://x.it/é?é=☃#é", "iso-8859-1", "https://x.it/é?%E9=%26%239731%3B#é"),
        ("https://x.it/?é", "utf-8", "https://x.it/?é"),
        ("https://x.it/#?é", "iso-8859-1", "https://x.it/#?é"),
        ("https://x.it/?é", "no-such-charset", "https://x.it/?é"),
    ],
)
def test_a_query_is_sent_in_the_charset_of_its_page(url: str, charset: str, sent: str) -> None:
    assert with_query_as_sent(url, charset) == sent
