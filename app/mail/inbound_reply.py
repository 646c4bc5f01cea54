"""What a person wrote in an answer, without the mail that is quoted below it and without the signature.

`strip_reply` reads lines; what ends the person's own words, whichever comes first:

    1. a line that introduces a quotation ("On … wrote:"), perhaps folded over up to four, in the languages of `_WROTE`. If lines with ">"
       follow, only they go: who answers below or between the lines is not cut off
    2. a rule with a title ("-----Original Message-----"), or one of underscores, before the header of a mail
    3. the header of a mail as Outlook writes it: From, and two of Sent, To, Subject within the next lines
    4. "-- ", or what a telephone writes of itself

It errs on the side of keeping: a line that nobody knows stays. All patterns are bounded, and each line is looked at once or a few times.
`strip_quotes` cuts a page of HTML where mail programs mark what they quote.
"""

from __future__ import annotations

import re
from typing import Final

_LONGEST: Final = 256 * 1024
_MOST_LINES: Final = 10_000
_LONGEST_LINE: Final = 400
_FOLDED_OVER: Final = 4
_NEAR: Final = 6

# How a line begins and ends that says who wrote what follows.
_WROTE: Final = (
    (r"on", r"wrote"),  # English
    (r"am|le|den", r"schrieb(?: [^:]{0,100})?"),  # German, with the name behind the verb
    (r"le", r"a [ée]crit"),  # French
    (r"il(?: giorno)?|in data|on", r"ha scritto"),  # Italian
    (r"el", r"escribi[óo]"),  # Spanish
    (r"em|no dia|a", r"escreveu"),  # Portuguese
    (r"op|on", r"(?:schreef|geschreven)(?: [^:]{0,100})?"),  # Dutch
    (r"den|d\.|på|kl\.?|tors|fre|m[åa]n|tis|ons|l[öo]r|s[öo]n", r"(?:skrev|skrifaði)(?: [^:]{0,100})?"),  # Swedish, Danish, Norwegian
    (r"w dniu|dnia|pon|wt|[śs]r|czw|pt|sob|niedz", r"(?:napisał\(a\)|napisała?|pisze)"),  # Polish
    (r"dne|po|út|st|čt|pá|so|ne", r"napsala?(?:\(a\))?"),  # Czech
    (r"", r"(?:kirjoitti|yazdı|пише(?:т)?|написал(?:\(а\)|а)?|写道|のメール)"),  # Finnish, Turkish, Russian, Chinese, Japanese
)
_INTRODUCTIONS = tuple(re.compile(rf"(?:{begin})\b.{{4,600}}{end}\s?[:：]?", re.IGNORECASE) for begin, end in _WROTE if begin)
_OTHERS = re.compile(rf".{{4,600}}{_WROTE[-1][1]}\s?[:：]?", re.IGNORECASE)
_BEGINS = re.compile(rf"(?:{'|'.join(begin for begin, _ in _WROTE if begin)})\b", re.IGNORECASE)
_DATE_OR_ADDRESS = re.compile(r"[0-9@]")
# "2026-01-05 10:11 GMT+01:00 Shop <orders@shop.example>:"
_NAMED_COLON = re.compile(r"[^<>]{0,200}<[^<>\s]{1,254}@[^<>\s]{1,254}>\s?[:：]")
_TITLE = re.compile(
    r"[-_*\s]{2,60}(?:original (?:message|appointment)|forwarded message|urspr[üu]ngliche nachricht|weitergeleitete nachricht"
    r"|messaggio originale|messaggio inoltrato|message d.origine|message original|mensaje original|mensagem original"
    r"|oorspronkelijk bericht|ursprungligt meddelande|oprindelig meddelelse|opprinnelig melding|wiadomo[śs][ćc] oryginalna"
    r"|p[ůu]vodn[íi] zpr[áa]va|исходное сообщение|元のメッセージ|原始邮件)[-_*\s]{2,60}",
    re.IGNORECASE,
)
_RULE = re.compile(r"[_\-=]{10,400}")
_FROM = re.compile(r"[*\s]{0,4}(?:from|von|de|da|van|från|fra|od|от|差出人|发件人)\s?[:：]\*?\s*\S", re.IGNORECASE)
_OTHER_FIELD = re.compile(
    r"[*\s]{0,4}(?:sent|date|to|cc|subject|gesendet|datum|an|betreff|envoy[ée](?: le)?|[àa]|objet|inviato|data|a|oggetto"
    r"|enviado(?: el| em)?|fecha|para|asunto|assunto|verzonden|aan|onderwerp|skickat|till|[äa]mne"
    r"|sendt|til|emne|wys[łl]ano|do|temat|odesláno|komu|p[řr]edm[ěe]t"
    r"|дата|отправлено|кому|тема|送信日時|宛先|件名|发送时间|收件人|主题)\s?[:：]\*?\s",
    re.IGNORECASE,
)
_SIGNATURE = re.compile(r"--\s?")
_TELEPHONE = re.compile(
    r"(?:sent from (?:my |mail for |outlook|yahoo|proton|the all)|sent with (?:proton|tuta)|get outlook for |gesendet (?:von|mit) mein"
    r"|von meinem .{2,30} gesendet|inviato da(?:l mio)? |inviato dal |envoy[ée] (?:de mon|depuis mon|à partir de)|enviado (?:desde|do) m"
    r"|verzonden (?:vanaf|met) |verstuurd vanaf |skickat fr[åa]n min|sendt fra min|wys[łl]ane z |odesl[áa]no z |отправлено с )",
    re.IGNORECASE,
)
_HTML_MARK = re.compile(
    r"<(?:div|blockquote|section|table|hr|span)\b[^<>]{0,400}?(?:class|id|type|name)\s{0,4}=\s{0,4}[\"']?(?:[\w\- ]{0,80}[\s\"'])?"
    r"(?:gmail_quote|gmail_attr|gmail_extra|yahoo_quoted|moz-cite-prefix|protonmail_quote|tutanota_quote|zmail_extra|divrplyfwdmsg"
    r"|appendonsend|mail-editor-reference-message-container|ms-outlook-mobile-reference-message|cite|isforwardcontent|originalcontent)\b",
    re.IGNORECASE,
)


def strip_reply(text: str) -> str:
    """The person's own words; empty when there are none."""
    lines = [line.rstrip() for line in text[:_LONGEST].split("\n")[:_MOST_LINES]]
    kept: list[str] = []
    place = 0
    while place < len(lines):
        line = lines[place][:_LONGEST_LINE]
        if line.lstrip().startswith(">"):
            place += 1
        elif (after := _introduced(lines, place)) is not None:
            follows = _next_words(lines, after)
            if follows is None or not lines[follows].lstrip().startswith(">"):
                break
            place = follows
        elif _ends_words(lines, place, line):
            break
        else:
            kept.append(lines[place])
            place += 1
    return "\n".join(kept).strip("\n").rstrip()


def strip_quotes(html: str) -> str:
    """A page without what its mail program marks as quoted, and all that follows that."""
    found = _HTML_MARK.search(html)
    return html[: found.start()] if found is not None else html


def _introduced(lines: list[str], place: int) -> int | None:
    """Where the quotation begins that is introduced at `place`; None when none is."""
    first = lines[place].strip()
    if not first or len(first) > _LONGEST_LINE:
        return None
    joined = ""
    for count in range(_FOLDED_OVER):
        if place + count >= len(lines):
            return None
        piece = lines[place + count].strip()
        if not piece or len(piece) > _LONGEST_LINE or piece.startswith(">"):
            return None
        joined = f"{joined} {piece}".strip()
        if _is_introduction(joined, is_quoted=_is_quote(lines, place + count + 1)):
            return place + count + 1
        if count == 0 and _BEGINS.match(first) is None:
            return None
    return None


def _is_introduction(line: str, *, is_quoted: bool) -> bool:
    if _DATE_OR_ADDRESS.search(line) is None:  # a sentence that happens to begin and end so
        return False
    if line.endswith((":", "：")):
        return any(one.fullmatch(line) for one in _INTRODUCTIONS) or _OTHERS.fullmatch(line) is not None or _named(line, is_quoted)
    return is_quoted and any(one.fullmatch(line) for one in _INTRODUCTIONS)


def _named(line: str, is_quoted: bool) -> bool:
    return is_quoted and _NAMED_COLON.fullmatch(line) is not None


def _is_quote(lines: list[str], place: int) -> bool:
    follows = _next_words(lines, place)
    return follows is not None and lines[follows].lstrip().startswith(">")


def _next_words(lines: list[str], place: int) -> int | None:
    """The next line that is not empty, among the next few."""
    return next((at for at in range(place, min(place + _NEAR, len(lines))) if lines[at].strip()), None)


def _ends_words(lines: list[str], place: int, line: str) -> bool:
    stripped = line.strip()
    if not stripped:
        return False
    if _SIGNATURE.fullmatch(line) or _TELEPHONE.match(stripped) or _TITLE.fullmatch(stripped):
        return True
    if _RULE.fullmatch(stripped):
        follows = _next_words(lines, place + 1)
        return follows is not None and _is_mail_header(lines, follows)
    return _is_mail_header(lines, place)


def _is_mail_header(lines: list[str], place: int) -> bool:
    if _FROM.match(lines[place][:_LONGEST_LINE]) is None:
        return False
    near = lines[place + 1 : place + 1 + _NEAR]
    return sum(_OTHER_FIELD.match(f"{line[:_LONGEST_LINE]} ") is not None for line in near) >= 2
