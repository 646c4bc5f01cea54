"""What refusals mean whose words nobody chose for us: other languages, other word orders, and what only looks like a dead address."""

from __future__ import annotations

import time

import pytest

from app.mail import reply_words
from app.mail.reply import ReplyClass, classify, classify_reported, is_proof, parse_reply, read_reply
from app.mail.reply_tongues import TONGUE_WORDS


@pytest.mark.parametrize(
    ("expected", "texts"),
    [
        (
            "invalid_mailbox",
            (
                *("Diesen Empfänger gibt es hier nicht", "Unbekannter Benutzer", "Cette adresse n'existe plus", "Destinataire introuvable"),
                *("Questo indirizzo non esiste", "La dirección indicada no existe", "Conta de e-mail não encontrada", "Adres is ongeldig"),
                *(
                    "Takie konto nie istnieje",
                    "Такой адрес не существует",
                    "このアドレスは存在しません",
                    "此用户不存在",
                    "없는 사용자입니다",
                ),
                *("Böyle bir kullanıcı bulunamadı", "Mottagaren är okänd", "Uživatel neexistuje"),
            ),
        ),
        (
            "mailbox_full",
            (
                *("Das Postfach ist leider voll", "La boîte du destinataire est saturée", "La casella è piena", "El buzón está lleno"),
                *("A caixa do destinatário está lotada", "Het postvak is vol", "Skrzynka jest pełna", "Ящик получателя переполнен"),
                *("受信者のメールボックスが満杯です", "用户邮箱空间不足", "수신자의 메일함이 가득 찼습니다"),
            ),
        ),
        (
            "mailbox_disabled",
            (
                *("Dieses Konto wurde gesperrt", "Le compte est désactivé", "L'account è sospeso", "La cuenta fue suspendida"),
                *(
                    "Esta conta está inativa",
                    "Konto zawieszone",
                    "Аккаунт заблокирован",
                    "このアカウントは停止されています",
                    "该账号已冻结",
                ),
            ),
        ),
        (
            "invalid_domain",
            ("Diese Domain existiert nicht", "Domaine introuvable", "Il dominio non esiste", "El dominio es inexistente", "域名无效"),
        ),
        ("too_large", ("Die Nachricht ist zu groß", "Message trop lourd", "Messaggio troppo grande", "Письмо слишком большое", "邮件过大")),
        ("transient", ("Bitte später erneut versuchen", "Réessayez plus tard", "Riprovare più tardi", "Повторите позже", "系统繁忙")),
        (
            "policy",
            (
                *("Absender unbekannt", "Expéditeur inconnu", "Mittente inesistente", "El remitente no existe", "Отправитель не найден"),
                *("Nachricht abgelehnt", "Message refusé", "Messaggio respinto", "Mensaje rechazado", "受信を拒否しました", "邮件被拒收"),
            ),
        ),
    ],
)
def test_other_languages_are_known_by_their_vocabulary(expected: str, texts: tuple[str, ...]) -> None:
    for text in texts:
        assert classify(parse_reply(550, text), "rcpt") == expected, text


@pytest.mark.parametrize(
    ("expected", "text"),
    [
        ("invalid_mailbox", "550 we have no customer of that name"),
        ("invalid_mailbox", "550 recipient is not in our directory"),
        ("invalid_mailbox", "550 <ada@example.com> is unknown here"),
        ("invalid_mailbox", "550 that mailbox has been removed"),
        ("mailbox_full", "554 message refused: the account is over its quota"),
        ("mailbox_full", "550 too many messages in this mailbox"),
        ("mailbox_disabled", "550 message not accepted: this mailbox is disabled"),
        ("mailbox_disabled", "550 <ada@example.com> is now disabled"),
        ("mailbox_disabled", "550 5.1.1 inactive mbox"),
        ("invalid_domain", "550 recipient domain not found"),
        ("too_large", "554 your attachment is too large"),
        ("transient", "450 the mail system is full"),
        ("transient", "554 the recipient got more than the limit for the number of messages per hour"),
        ("transient", "550 undeliverable address: connect to mx.example.com: timed out"),
        ("transient", "450 user unknown for now, try again later"),  # the directory cannot be asked
        # What only sounds like a dead recipient: it is the sender, or a relay's way to say where a reply came from.
        ("policy", "550 return path: no such user"),
        ("policy", "550 the envelope-from address does not exist"),
        ("policy", "550 unknown user or wrong password"),
        ("policy", "550 invalid address of the sender"),
        ("policy", "550 5.1.7 invalid address"),
        ("policy", "host mx.example.com[192.0.2.1] said: 554 invalid format (in reply to RCPT TO command)"),
        ("policy", "SMTP error from remote mail server after RCPT TO:<ada@example.com>: host mx.example.com [192.0.2.1]: 550 wrong"),
        ("policy", "192.0.2.1 does not like recipient. Remote host said: 550 illegal"),
        ("policy", "550 this mailbox does not want your mail"),
        ("policy", "550 TLS is required here"),
    ],
)
def test_what_is_said_in_other_words(expected: str, text: str) -> None:
    assert classify(read_reply(text)) == expected


NOT_DEAD = (
    *(
        "550 rejected",
        "550 your host is on a list",
        "550 no access for this user",
        "550 the account is locked",
        "550 no room in the mailbox",
    ),
    *("550 relaying denied", "550 greylisted", "550 the sender is unknown", "550 this user takes mail of friends only", "554 go away"),
)


@pytest.mark.parametrize("said", NOT_DEAD)
@pytest.mark.parametrize("status", ["5.1.1", "5.0.0", ""])
def test_a_relays_status_alone_proves_nothing(said: str, status: str) -> None:
    notice = f"<ada@example.com>: host mx.example.com[192.0.2.1] said: {said} (in reply to RCPT TO command)"
    for diagnostic in (said, notice):
        kind = classify_reported(diagnostic, status, notice)
        assert not is_proof(kind, diagnostic, status, notice)


def test_the_hosts_own_code_at_rcpt_proves() -> None:
    notice = "<ada@example.com>: host mx said: 550 5.1.1 rejected (in reply to RCPT TO command)"
    assert is_proof(ReplyClass.INVALID_MAILBOX, "550 5.1.1 rejected", "5.1.1", notice)


def test_of_a_notice_the_reply_goes_before_what_stands_around_it() -> None:
    said = "ada@example.com\n550 no such user\n\nPlease try again later. Our spam policy applies."
    assert classify_reported(said, "", said) is ReplyClass.INVALID_MAILBOX
    footer = "ada@example.com: the mailbox is full\n\nThis mail is confidential; it was filtered for viruses, misuse is prohibited."
    assert classify_reported(footer, "", footer) is ReplyClass.MAILBOX_FULL
    assert classify_reported("ada@example.com\n250 ok\n550 no", "", "Try again later.") is ReplyClass.POLICY


_PIECES = ("user ", "user!", "@ ", "a@", "<a@", "http://", "host a[", "sender ", "not in our ", "temporary a ", "邮箱", "адрес ", "a", " ")


@pytest.mark.parametrize("piece", _PIECES)
def test_no_expression_takes_quadratic_time(piece: str) -> None:
    text = piece * 20_000
    named = [pattern for _, pattern in (*reply_words.ORDERED_WORDS, *TONGUE_WORDS)]
    for pattern in (*named, reply_words.PASSING, reply_words.BOILERPLATE, reply_words.BEFORE_RCPT):
        small, large = (_seconds(pattern.search, text[:length]) for length in (2_000, 16_000))
        assert large < max(0.1, 20 * small), pattern.pattern[:100]  # eight times the text, not 64 times the time


def _seconds(search: object, text: str) -> float:
    started = time.process_time()
    search(text)  # type: ignore[operator]
    return time.process_time() - started
