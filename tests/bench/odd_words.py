"""Texts of all scripts and of what is no script: what people write, and what only programs do."""

from __future__ import annotations

import random
import re

# Ranges of Unicode, with what is not assigned in them: it may be tomorrow.
SCRIPTS = {
    "ascii": ((0x20, 0x7E),),
    "latin": ((0xA0, 0x24F), (0x1E00, 0x1EFF)),
    "greek": ((0x370, 0x3FF), (0x1F00, 0x1FFF)),
    "cyrillic": ((0x400, 0x52F),),
    "armenian": ((0x530, 0x58F),),
    "hebrew": ((0x590, 0x5FF), (0xFB1D, 0xFB4F)),
    "arabic": ((0x600, 0x6FF), (0x750, 0x77F), (0xFB50, 0xFDFF), (0xFE70, 0xFEFC)),
    "syriac": ((0x700, 0x74F),),
    "thaana": ((0x780, 0x7BF),),
    "nko": ((0x7C0, 0x7FF),),
    "devanagari": ((0x900, 0x97F),),
    "bengali": ((0x980, 0x9FF),),
    "gurmukhi": ((0xA00, 0xA7F),),
    "gujarati": ((0xA80, 0xAFF),),
    "tamil": ((0xB80, 0xBFF),),
    "telugu": ((0xC00, 0xC7F),),
    "kannada": ((0xC80, 0xCFF),),
    "malayalam": ((0xD00, 0xD7F),),
    "sinhala": ((0xD80, 0xDFF),),
    "thai": ((0xE00, 0xE7F),),
    "lao": ((0xE80, 0xEFF),),
    "tibetan": ((0xF00, 0xFFF),),
    "burmese": ((0x1000, 0x109F),),
    "georgian": ((0x10A0, 0x10FF), (0x1C90, 0x1CBF)),
    "hangul": ((0x1100, 0x11FF), (0xAC00, 0xD7A3)),
    "ethiopic": ((0x1200, 0x137F),),
    "cherokee": ((0x13A0, 0x13FF),),
    "canadian": ((0x1400, 0x167F),),
    "ogham and runes": ((0x1680, 0x16FF),),
    "khmer": ((0x1780, 0x17FF),),
    "mongolian": ((0x1800, 0x18AF),),
    "kana": ((0x3040, 0x30FF), (0xFF66, 0xFF9D)),
    "han": ((0x4E00, 0x9FFF), (0x3400, 0x4DBF)),
    "rare han": ((0x20000, 0x2A6DF), (0x30000, 0x3134A)),
    "yi": ((0xA000, 0xA48F),),
    "vai": ((0xA500, 0xA63F),),
    "old": ((0x10000, 0x1013F), (0x10300, 0x1034F), (0x12000, 0x123FF), (0x13000, 0x1342F)),
    "adlam": ((0x1E900, 0x1E95F),),
    "mathematics": ((0x2200, 0x22FF), (0x1D400, 0x1D7FF)),
    "symbols": ((0x2000, 0x2027), (0x202A, 0x206F), (0x20A0, 0x20CF), (0x2100, 0x214F), (0x2500, 0x27BF)),
    "wide": ((0xFF01, 0xFFEE), (0x3000, 0x303F)),
    "emoji": ((0x1F300, 0x1FAFF),),
    "combining": ((0x300, 0x36F), (0x1AB0, 0x1AFF), (0x20D0, 0x20FF)),
    "private": ((0xE000, 0xF8FF), (0xF0000, 0xFFFFD), (0x100000, 0x10FFFD)),
    "unassigned": ((0x40000, 0x4FFFD), (0x90000, 0x9FFFD), (0xD0000, 0xDFFFD)),
    "tags": ((0xE0000, 0xE007F), (0xE0100, 0xE01EF)),
    "no characters": ((0xFDD0, 0xFDEF), (0xFFFE, 0xFFFF), (0x1FFFE, 0x1FFFF), (0x10FFFE, 0x10FFFF)),
}
SEQUENCES = (
    *("👩🏽‍🚀", "👨‍👩‍👧‍👦", "🏳️‍🌈", "🏴\U000e0067\U000e0062\U000e0073\U000e0063\U000e0074\U000e007f", "🇮🇹", "1️⃣", "❤️‍🔥"),
    *("\u202eturned\u202c", "\u2067שלום\u2069 and مرحبا", "Z̸̛͎a̷̡͝l̴̰̈g̵̱̐o̶͚͝" * 3, "क्षत्रिय", "สวัสดี", "\ufeffbegins with a mark", "ﷺ" * 5),
    *(
        "=?utf-8?q?no_word?=",
        "=?",
        "?=",
        '"',
        "\\",
        '\\"',
        "a  b   c",
        ", ; : <x>",
        "(comment)",
        "=20",
        "=",
        "%41",
        "&amp;",
        "''",
        "utf-8''x",
    ),
)
_IN_NO_HEADER = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def letters(draw: random.Random, script: str, count: int) -> str:
    """So many characters of a script, with spaces now and then."""
    ranges = SCRIPTS[script]
    drawn = []
    for _ in range(count):
        first, last = draw.choice(ranges)
        drawn.append(" " if draw.random() < 0.12 else chr(draw.randint(first, last)))
    return "".join(drawn)


def a_line(draw: random.Random, most: int) -> str:
    """Up to `most` characters that a header may carry: of one script, of several, or of sequences that programs trip over."""
    count = draw.choice((0, 1, 2, draw.randint(3, 30), draw.randint(30, 120), draw.randint(1, most)))
    kind = draw.random()
    if kind < 0.5:
        line = letters(draw, draw.choice(tuple(SCRIPTS)), count)
    elif kind < 0.75:
        line = " ".join(letters(draw, draw.choice(tuple(SCRIPTS)), draw.randint(1, 12)) for _ in range(1 + count // 12))
    elif kind < 0.95:
        line = draw.choice(("", " ", "  ")).join(draw.choice(SEQUENCES) for _ in range(1 + count // 8))
    else:
        line = draw.choice(("\t", " ", "a\tb", " " * draw.randint(1, 2000) + "x", "a" + " " * draw.randint(1, 2000) + "b", "x" * count))
    return _IN_NO_HEADER.sub(lambda found: "\t" if found[0] == "\t" else "", line)[:most]


def a_text(draw: random.Random) -> str:
    """A text body: lines of all kinds, with line ends of all kinds."""
    kind = draw.random()
    if kind < 0.06:
        return draw.choice(("", " ", "\n", "\r\n", "\r", "\t", ".", "..", ".\n", "\n.", " \n \n", "From ", "\x0c", "\x1b[1m", "=\n", "--"))
    if kind < 0.1:
        return draw.choice(
            ("x" * 100_000, "é" * 50_000, " " * 100_000, "." * 100_000, "= " * 50_000, "漢" * 40_000, "a " * 50_000 + "\n" * 999)
        )
    lines = [a_text_line(draw) for _ in range(draw.choice((1, 3, 20, 200)))]
    end = draw.choice(("\n", "\r\n", "\r"))
    return "".join(line + (end if draw.random() < 0.9 else "\n") for line in lines).removesuffix(draw.choice(("", "\n")))


def a_text_line(draw: random.Random) -> str:
    return draw.choice(
        (
            *(
                ".",
                "..",
                ".leading",
                "From the beginning",
                ">From",
                "--",
                "-- ",
                "--=_0abcdef",
                "--=_0" + "0" * 24 + "--",
                "",
                "",
                " ",
                "\t",
            ),
            *("trailing   ", "tab\t", "=", "==", "=3D", "=\t", "begin 644 x", "QUIT", "\x01\x02", "\x0b\x0c\x1f", "\x85\u2028", "a\x7fb"),
            letters(draw, "ascii", draw.choice((10, 75, 76, 77, 78, 150))),
            a_line(draw, 400),
            a_line(draw, 80),
            "word " * draw.randint(1, 300),
        )
    )
