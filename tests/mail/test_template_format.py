"""Numbers, money and dates against Babel, in every language that it knows."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from babel.localedata import locale_identifiers
from babel.numbers import format_currency, format_decimal

from app.mail.template_format import FormatError, formats_of

_NUMBERS = (0, 1, -1, 12, 1234, 12345.5, -1234567.891, 0.005, "2.675", 1000, 999.999, 123456789, "-0.5")


@pytest.mark.parametrize("name", sorted(locale_identifiers()))
def test_it_writes_what_babel_writes(name: str) -> None:
    formats = formats_of(name)
    for number in _NUMBERS:
        exact = Decimal(str(number))
        assert formats.number(number) == format_decimal(exact, locale=name)
        assert formats.number(number, 2) == format_decimal(exact, "#,##0.00", locale=name)
        for currency in ("EUR", "USD", "JPY"):
            assert formats.money(number, currency) == format_currency(exact, currency, locale=name)


@pytest.mark.parametrize(
    ("locale", "written", "expected"),
    [
        ("it_IT", ("money", 1234.5), "1.234,50\xa0€"),
        ("it-IT", ("money", -3, "USD"), "-3,00\xa0USD"),
        ("en_US", ("money", "1234.5", "EUR"), "€1,234.50"),
        ("de_CH", ("money", 1234.5, "CHF"), "CHF\xa01’234.50"),
        ("hi_IN", ("money", 12345678, "INR"), "₹1,23,45,678.00"),
        ("it_IT", ("number", 0.75), "0,75"),
        ("it_IT", ("number", 1234, 0), "1.234"),
        ("it_IT", ("date", "2026-11-24", "long"), "24 novembre 2026"),
        ("it_IT", ("date", "2026-11-24T23:30:00-05:00"), "24 nov 2026"),
        ("it_IT", ("date", "2026-11-24", "EEEE d MMMM"), "martedì 24 novembre"),
        ("it_IT", ("datetime", "2026-11-24T09:30:00Z", "short", "Europe/Rome"), "24/11/26, 10:30"),
        ("it_IT", ("datetime", "2026-11-24T09:30:00+05:00", "short"), "24/11/26, 09:30"),
        ("en_GB", ("datetime", "2026-11-24T09:30", "HH:mm"), "09:30"),
    ],
)
def test_it_writes(locale: str, written: tuple[Any, ...], expected: str) -> None:
    kind, *given = written
    assert getattr(formats_of(locale), kind)(*given) == expected


@pytest.mark.parametrize(
    ("kind", "given"),
    [
        ("money", ("x",)),
        ("money", (None,)),
        ("money", (True,)),
        ("money", ([],)),
        ("money", (float("inf"),)),
        ("money", (10**60,)),
        ("money", ("1" * 50,)),
        ("money", (1, "XXXX")),
        ("money", (1, "eur")),
        ("money", (1, 5)),
        ("number", (1, 99)),
        ("number", (1, "2")),
        ("date", (5,)),
        ("date", ("2026-13-01",)),
        ("date", ("2026-11-24", "y" * 200)),
        ("date", ("2026-11-24", 5)),
        ("datetime", ("2026-11-24 25:00",)),
        ("datetime", ("2026-11-24T10:00", "short", "../etc/passwd")),
        ("datetime", ("2026-11-24T10:00", "short", "Nowhere/City")),
    ],
)
def test_what_is_no_number_and_no_date(kind: str, given: tuple[Any, ...]) -> None:
    with pytest.raises(FormatError):
        getattr(formats_of("en_US"), kind)(*given)


@pytest.mark.parametrize("name", ["xx", "", "it_IT_x_y_z", "../it", "i" * 100, "it\0"])
def test_what_is_no_locale(name: str) -> None:
    with pytest.raises(FormatError):
        formats_of(name)
