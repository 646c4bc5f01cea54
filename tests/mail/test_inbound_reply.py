"""A person's own words in an answer, as mail programs of many kinds and languages set them among others."""

from __future__ import annotations

import pytest

from app.mail.inbound_reply import strip_quotes, strip_reply

WORDS = "Yes, please.\n\nThe blue one."


@pytest.mark.parametrize(
    "rest",
    [
        "On Mon, Jan 5, 2026 at 10:11 AM Shop <orders@shop.example> wrote:\n> Thank you\n> for your order",
        "On Mon, Jan 5, 2026 at 10:11 AM Shop with a long name\n<orders@shop.example> wrote:\n\n> Thank you",
        "On Jan 5, 2026, at 10:11, Shop <orders@shop.example> wrote:\n\nThank you (unquoted)",
        "Il giorno lun 5 gen 2026 alle ore 10:11 Negozio <orders@shop.example>\nha scritto:\n\n> Grazie",
        "Il 05/01/2026 10:11, Negozio ha scritto:\n> Grazie",
        "Am 05.01.26 um 10:11 schrieb Laden:\n> Danke",
        "Am Mo., 5. Jan. 2026 um 10:11 Uhr schrieb Laden <\norders@shop.example>:\n\n> Danke",
        "Le lun. 5 janv. 2026 à 10:11, Boutique <orders@shop.example> a écrit :\n> Merci",
        "El lun, 5 ene 2026 a las 10:11, Tienda (<orders@shop.example>) escribió:\n\n> Gracias",
        "Em seg., 5 de jan. de 2026 às 10:11, Loja <orders@shop.example> escreveu:\n> Obrigado",
        "Op ma 5 jan 2026 om 10:11 schreef Winkel <orders@shop.example>:\n> Bedankt",
        "Den mån 5 jan. 2026 kl 10:11 skrev Butik <orders@shop.example>:\n> Tack",
        "pon., 5 sty 2026 o 10:11 Sklep <orders@shop.example> napisał(a):\n> Dziękujemy",
        "5 янв. 2026 г., 10:11 Магазин <orders@shop.example> написал:\n> Спасибо",
        "2026-01-05 10:11 GMT+01:00 Shop <orders@shop.example>:\n> Thank you",
        "-----Original Message-----\nFrom: Shop <orders@shop.example>\nSent: Monday\n\nThank you",
        "-----Messaggio originale-----\nDa: Negozio",
        "-------- Ursprüngliche Nachricht --------\nVon: Laden",
        "________________\nFrom: Shop <orders@shop.example>\nSent: Monday, 5 January 2026\nTo: Ada\nSubject: Order\n\nThanks",
        "From: Shop <orders@shop.example>\nDate: Monday, 5 January 2026 at 10:11\nTo: Ada <ada@x.test>\nSubject: Order\n\nThanks",
        "*Von:* Laden <orders@shop.example>\n*Gesendet:* Montag\n*An:* Ada\n*Betreff:* Bestellung\n\nDanke",
        "Da: Negozio <orders@shop.example>\nInviato: lunedì\nA: Ada\nOggetto: Ordine\n\nGrazie",
        "-- \nAda Lovelace\n+44 20 0000 0000",
        "Sent from my iPhone",
        "Inviato da iPhone\n\nIl giorno 5 gen 2026 alle ore 10:11, Negozio ha scritto:\n> Grazie",
        "Von meinem iPhone gesendet",
        "> Thank you\n> for your order",
    ],
)
def test_what_is_quoted_and_what_signs_goes(rest: str) -> None:
    assert strip_reply(f"{WORDS}\n\n{rest}\n") == WORDS


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("> When?\nTomorrow.\n> Where?\nHere.\n", "Tomorrow.\nHere."),
        ("On 5 Jan 2026, Shop wrote:\n> Thank you\n\nI answer below.\n", "I answer below."),
        ("On the whole I like it.\nMy friend wrote:\nfine\n", "On the whole I like it.\nMy friend wrote:\nfine"),
        ("From: the bottom of my heart\nthank you\n", "From: the bottom of my heart\nthank you"),
        ("a\n----------\nb\n", "a\n----------\nb"),
        ("Price -- 5 euro\n--\nAda", "Price -- 5 euro"),
        ("> all of it\n", ""),
        ("", ""),
    ],
)
def test_what_is_kept(text: str, words: str) -> None:
    assert strip_reply(text) == words


@pytest.mark.parametrize(
    "mark",
    [
        '<div class="gmail_quote">',
        '<div class="gmail_quote gmail_quote_container">',
        '<blockquote type="cite">',
        "<div id=appendonsend>",
        '<div id="divRplyFwdMsg" dir="ltr">',
        '<div class="moz-cite-prefix">',
        '<div id="mail-editor-reference-message-container">',
    ],
)
def test_where_pages_are_cut(mark: str) -> None:
    assert strip_quotes(f'<p class="x">words</p>{mark}old</div>') == '<p class="x">words</p>'
    assert strip_quotes('<p class="cited_by">words</p>') == '<p class="cited_by">words</p>'
