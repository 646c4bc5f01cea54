import pytest

from app.mail.charset import codec_of
from app.mail.markup import decode


@pytest.mark.parametrize(
    "charset", ["punycode", "-Punycode!", "idna", "Unicode Escape", "raw_unicode_escape", "undefined", "no-such", "a\0b", ""]
)
def test_what_is_no_charset_of_mail_has_no_codec(charset: str) -> None:
    assert codec_of(charset) is None


@pytest.mark.parametrize(
    ("octets", "charset", "text"),
    [
        (b"\x80", "ISO-8859-1", "€"),
        (b"\x80", "latin1", "€"),
        (b"\x93\xfa\x96{\x87@", "windows-31j", "日本①"),
        (b"\xe4\xb7\xc2", "windows-874", "ไทย"),
        (b"\xd6\xd0\xce\xc4", "x-gbk", "中文"),
        (b"\xf9\xec", "iso-8859-8-i", "של"),
        (b"\xcf\xf0", "x-cp1251", "Пр"),
        (b"\xc3\xa9", "unicode-1-1-utf-8", "é"),
    ],
)
def test_a_charset_is_the_one_that_readers_of_mail_take_it_for(octets: bytes, charset: str, text: str) -> None:
    assert decode(octets, charset) == text
