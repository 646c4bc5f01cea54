"""Money, numbers and dates as readers of a language write them (CLDR, through Babel).

    {{ order.total|money("EUR") }}      1.234,50 €      in it_IT
    {{ order.weight|number(2) }}        0,75
    {{ order.date|date("long") }}       24 novembre 2026
    {{ order.paid_at|datetime("short", "Europe/Rome") }}

Amounts are JSON numbers or strings that hold one; what is a float there is taken as it is written (19.99 is 19.99). Times are
ISO 8601 strings (RFC 3339 §5.6). Babel reads the pattern of a language once; writing a number by it is done here, because it is
asked for dozens of times in a mail and Babel takes 30 µs each. What is unusual (other digits, other groups) goes to Babel all the same.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from decimal import Decimal, InvalidOperation, localcontext
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo

from babel import Locale, UnknownLocaleError, localedata
from babel import dates as babel_dates
from babel import numbers as babel_numbers

DEFAULT_LOCALE = "en_US"
_LONGEST_NUMBER = 40
_HASHED = frozenset((int, float, str, Decimal))
_MOST_DIGITS = 10
# Numbers of which it is plain that they can be written.
_PLAIN_NUMBERS = frozenset((int, float))
_LARGEST_PLAIN = 10**15
_LENGTHS = ("short", "medium", "long", "full")
_LONGEST_PATTERN = 100
_NO_NUMBER = "What |money or |number was given is not a number; numbers are like 1299.9."
_NO_DATE = "What |date or |datetime was given is not a date; dates are strings like 2026-11-24 or 2026-11-24T09:30:00+01:00."


class FormatError(ValueError):
    """A value that cannot be written so; the sentence is for the author of the template. `value`: what it is about, where that is known."""

    def __init__(self, sentence: str, *value: Any) -> None:
        super().__init__(sentence)
        self.value = value


@lru_cache(maxsize=256)
def read_locale(name: str) -> Locale:
    """The language of "it", "it_IT" or "it-IT"; FormatError when there is none of that name."""
    try:
        if len(name) > 40:
            raise ValueError
        return Locale.parse(name.replace("-", "_"))
    except (UnknownLocaleError, ValueError, TypeError) as error:
        raise FormatError("There is no such locale; use a name like it_IT.") from error


class Formats:
    """How one language writes; made once for each."""

    def __init__(self, locale: Locale) -> None:
        self.locale = locale
        self._symbols = _read_symbols(locale)

    def money(self, value: Any, currency: str = "EUR") -> str:
        """An amount with its currency (ISO 4217), in the currency's own number of decimals."""
        if not isinstance(currency, str):
            raise FormatError("The currency is a code of three letters, like EUR.")
        if type(value) not in _HASHED:
            raise FormatError(_NO_NUMBER, value)
        return _money(self, value, currency)

    def number(self, value: Any, decimals: int | None = None) -> str:
        """A number, with so many decimals, or with those that it has (three at most)."""
        if decimals is not None and not (type(decimals) is int and 0 <= decimals <= _MOST_DIGITS):
            raise FormatError(f"The number of decimals is 0 to {_MOST_DIGITS}.")
        if type(value) not in _HASHED:
            raise FormatError(_NO_NUMBER, value)
        return _number(self, value, decimals)

    def check_money(self, value: Any, currency: str = "EUR") -> str:
        """Refuse what `money` would, and write nothing."""
        if type(value) not in _PLAIN_NUMBERS or not -_LARGEST_PLAIN < value < _LARGEST_PLAIN or currency not in _known_currencies():
            self.money(value, currency)
        return ""

    def check_number(self, value: Any, decimals: int | None = None) -> str:
        """Refuse what `number` would, and write nothing."""
        is_known = decimals is None or (type(decimals) is int and 0 <= decimals <= _MOST_DIGITS)
        if type(value) not in _PLAIN_NUMBERS or not -_LARGEST_PLAIN < value < _LARGEST_PLAIN or not is_known:
            self.number(value, decimals)
        return ""

    def date(self, value: Any, form: str = "medium") -> str:
        """A day: `form` is short, medium, long, full, or a pattern of CLDR ("d MMMM")."""
        return _date(self, _read_text(value), form)

    def datetime(self, value: Any, form: str = "medium", zone: str | None = None) -> str:
        """A point in time, on the clock of `zone` ("Europe/Rome") if it is given, else as it was written."""
        return _datetime(self, _read_text(value), form, zone)


@lru_cache(maxsize=256)
def formats_of(name: str) -> Formats:
    """The formats of a locale by its name."""
    return Formats(read_locale(name))


def forget_locales() -> None:
    """Give back what the languages take that were loaded: Babel keeps each for good, some 400 KB of it."""
    for kept in (read_locale, formats_of, _read_symbols, _currency_form, _number, _money, _date, _datetime):
        kept.cache_clear()
    localedata._cache.clear()


def _read_number(value: Any) -> Decimal:
    kind = type(value)
    if kind is float or kind is str or kind is int:
        written = repr(value) if kind is float else value
        try:
            if kind is int or len(written) <= _LONGEST_NUMBER:
                number = Decimal(written)
                if number.is_finite() and number.adjusted() < _LONGEST_NUMBER:
                    return number
        except InvalidOperation:
            pass
    elif kind is Decimal:
        return _read_number(str(value))
    raise FormatError(_NO_NUMBER, value)


def _read_text(value: Any) -> str:
    if not isinstance(value, str) or len(value) > 40:
        raise FormatError(_NO_DATE, value)
    return value if type(value) is str else str(value)


# --- numbers


@lru_cache(maxsize=256)
def _read_symbols(locale: Locale) -> tuple[str, str] | None:
    """(group, decimal); None when the language writes other digits or other groups."""
    system = locale.default_numbering_system
    pattern = locale.decimal_formats[None]
    if system != "latn" or pattern.grouping != (3, 3) or pattern.prefix != ("", "-") or pattern.suffix != ("", ""):
        return None
    symbols = locale.number_symbols["latn"]
    return symbols["group"], symbols["decimal"]


def _write(number: Decimal, decimals: int, symbols: tuple[str, str]) -> str:
    """The digits of the amount of a number; its sign is the caller's."""
    group, decimal = symbols
    with localcontext() as context:
        context.prec = 100
        written = f"{abs(number):,.{decimals}f}"  # half to even, as Babel rounds
    return written.replace(",", "\0").replace(".", decimal).replace("\0", group)


@lru_cache(maxsize=20_000, typed=True)
def _number(formats: Formats, value: Any, decimals: int | None) -> str:
    number = _read_number(value)
    symbols = formats._symbols
    if symbols is None:
        pattern = None if decimals is None else "#,##0" + ("." + "0" * decimals if decimals else "")
        return babel_numbers.format_decimal(number, pattern, locale=formats.locale)
    if decimals is None:
        exponent = number.as_tuple().exponent
        assert isinstance(exponent, int)
        written = _write(number, min(max(-exponent, 0), 3), symbols)
        if symbols[1] in written:
            written = written.rstrip("0").removesuffix(symbols[1])
    else:
        written = _write(number, decimals, symbols)
    return f"-{written}" if number < 0 else written


@lru_cache(maxsize=1)
def _known_currencies() -> frozenset[str]:
    return frozenset(read_locale("en").currencies)


@lru_cache(maxsize=2_000)
def _currency_form(locale: Locale, currency: str) -> tuple[str, str, str, str, int]:
    """What stands (before, after) a positive and (before, after) a negative amount, and the decimals."""
    if currency not in _known_currencies():
        raise FormatError("The currency is a code of three letters, like EUR.")
    decimals = babel_numbers.get_currency_precision(currency)
    probe = Decimal(1)
    forms = []
    for number in (probe, -probe):
        written = babel_numbers.format_currency(number, currency, locale=locale)
        shown = babel_numbers.format_decimal(probe, "0" + ("." + "0" * decimals if decimals else ""), locale=locale)
        before, found, after = written.partition(shown)
        if not found:
            raise LookupError(currency)
        forms += [before, after]
    return forms[0], forms[1], forms[2], forms[3], decimals


@lru_cache(maxsize=20_000, typed=True)
def _money(formats: Formats, value: Any, currency: str) -> str:
    number = _read_number(value)
    symbols = formats._symbols
    try:
        before, after, minus_before, minus_after, decimals = _currency_form(formats.locale, currency)
    except LookupError:
        symbols = None
    if symbols is None:
        return babel_numbers.format_currency(number, currency, locale=formats.locale)
    if number < 0:
        before, after = minus_before, minus_after
    return before + _write(number, decimals, symbols) + after


# --- dates


@lru_cache(maxsize=5_000)
def _date(formats: Formats, text: str, form: str) -> str:
    _check_form(form)
    try:
        day = date.fromisoformat(text[:10])
        if len(text) > 10:
            day = datetime.fromisoformat(text).date()
    except ValueError as error:
        raise FormatError(_NO_DATE, text) from error
    # A pattern that asks for hours gets those of midnight, in no zone of ours.
    return _babel(lambda: babel_dates.format_date(day, form, locale=formats.locale))


@lru_cache(maxsize=5_000)
def _datetime(formats: Formats, text: str, form: str, zone: str | None) -> str:
    _check_form(form)
    try:
        at = datetime.fromisoformat(text)
    except ValueError as error:
        raise FormatError("It is not a time; times are strings like 2026-11-24T09:30:00+01:00.", text) from error
    if zone is not None:
        at = at.replace(tzinfo=at.tzinfo or UTC)
        shown_in: Any = read_zone(zone)
    else:
        shown_in = at.tzinfo
        if shown_in is None:
            at = datetime.combine(at.date(), at.time() or time(), UTC)
            shown_in = UTC
    return _babel(lambda: babel_dates.format_datetime(at, form, tzinfo=shown_in, locale=formats.locale))


@lru_cache(maxsize=256)
def read_zone(name: str) -> ZoneInfo:
    """A time zone by its name in the IANA database; FormatError when there is none."""
    try:
        if not isinstance(name, str) or len(name) > 60:
            raise ValueError
        return ZoneInfo(name)
    except (ValueError, OSError, LookupError) as error:
        raise FormatError("There is no such time zone; use a name like Europe/Rome.") from error


def _check_form(form: str) -> None:
    if not isinstance(form, str) or (form not in _LENGTHS and len(form) > _LONGEST_PATTERN):
        raise FormatError(f"The form is one of {', '.join(_LENGTHS)}, or a pattern.")


def _babel(write: Any) -> str:
    try:
        return str(write())
    except (ValueError, LookupError, AttributeError, TypeError, OverflowError) as error:
        raise FormatError("The date cannot be written by this pattern.") from error
