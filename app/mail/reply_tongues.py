"""The words in which hosts refuse mail in other languages than English, by what they mean.

Each language is one table of word families: what is spoken of (`who`, `domain`, `letter`, `sender`) and what is said of it (`missing`,
`full`, `shut`, `big`). A refusal is one of the first and one of the second within a few words of each other, in either order: so a
language is known by its vocabulary and not by sentences. `later` and `refused` stand for themselves. Only stems are given, with and
without accents, for hosts write ASCII where they can.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

_NEAR: Final = r"[^\n]{0,40}?"
_CLOSE: Final = r"[^\n]{0,12}?"  # the other way round: a predicate first


@dataclass(frozen=True, slots=True)
class Tongue:
    who: str
    domain: str
    letter: str
    sender: str
    missing: str
    full: str
    shut: str
    big: str
    later: str
    refused: str


_TONGUES: Final = (
    Tongue(  # German
        who=r"benutzer|empf(?:ä|ae)nger|postfach|mailkonto|\bkonto|adresse|mailbox|teilnehmer",
        domain=r"\bdom(?:ain|äne|aene)|zielserver|rechnername",
        letter=r"nachricht|\be-?mail\b|\bmail\b|anhang|brief",
        sender=r"absender",
        missing=r"unbekannt|nicht (?:be|er)kannt|nicht (?:vorhanden|gefunden|existent|g(?:ü|ue)ltig|angelegt|mehr g)"
        r"|existier\w* (?:\w+ )?nicht|gibt es (?:\w+ )?nicht|ung(?:ü|ue)ltig",
        full=r"\bvoll\b|(?:ü|ue)berf(?:ü|ue)llt|(?:ü|ue)berschritten|ersch(?:ö|oe)pft|zu ?viele",
        shut=r"gesperrt|deaktiviert|stillgelegt|geschlossen|inaktiv|abgeschaltet",
        big=r"zu gro(?:ß|ss)|(?:ü|ue)berschreitet",
        later=r"sp(?:ä|ae)ter|vor(?:ü|ue)bergehend|zeitweilig|(?:ü|ue)berlastet",
        refused=r"abgelehnt|nicht angenommen|verweiger|zur(?:ü|ue)ckgewiesen|unerw(?:ü|ue)nscht",
    ),
    Tongue(  # French
        who=r"utilisateur|destinataire|adresse|bo[iî]te|compte|abonn[eé]",
        domain=r"domaine|\bh[oô]te\b",
        letter=r"message|courrier|courriel|pi[eè]ce jointe",
        sender=r"exp[eé]diteur|[eé]metteur",
        missing=r"inconnu|inexistant|n['’ ]existe|existe (?:pas|plus)|non (?:trouv|valide)|invalide|introuvable|erron[eé]e",
        full=r"pleine?\b|satur[eé]|d[eé]pass[eé]|\bquota\b",
        shut=r"d[eé]sactiv|suspendu|bloqu[eé]|ferm[eé]e?\b|inacti[fv]|r[eé]sili",
        big=r"trop (?:volumineu|gros|grand|lourd)|d[eé]passe",
        later=r"plus tard|temporaire|r[eé]essay|momentan",
        refused=r"refus|rejet[eé]|ind[eé]sirable|interdit|non autoris",
    ),
    Tongue(  # Italian
        who=r"utente|destinatari|casella|indirizzo|account",
        domain=r"dominio",
        letter=r"messaggio|allegato|\bposta\b|\bmail\b",
        sender=r"mittente",
        missing=r"sconosciut|inesistent|non (?:\w+ )?(?:esist|trovat|valid|presente|riconosciut)|errat[oa]",
        full=r"pien[ao]\b|esaurit|insufficiente|\bquota\b|superato",
        shut=r"disabilitat|disattivat|sospes[oa]|bloccat|chius[oa]|scadut|inattiv",
        big=r"troppo grande|dimension\w* massim|supera la",
        later=r"riprova|pi[uù]['’`]? tardi|temporane|momentane",
        refused=r"rifiutat|respint|indesiderat|non (?:autorizzat|consentit|accettat)",
    ),
    Tongue(  # Spanish
        who=r"usuario|destinatari|buz[oó]n|cuenta|direcci[oó]n|casilla",
        domain=r"dominio",
        letter=r"mensaje|correo|adjunto",
        sender=r"remitente",
        missing=r"no (?:\w+ )?existe|desconocid|inexistente|no (?:se |fue |ha sido )?(?:encontr|v[aá]lid|reconocid|registrad)|inv[aá]lid",
        full=r"llen[ao]\b|excedi|cuota|sin espacio|superado",
        shut=r"suspendid|deshabilitad|inhabilitad|desactivad|bloquead|inactiv|cancelad|cerrad",
        big=r"demasiado grande|tamaño|supera el",
        later=r"m[aá]s tarde|temporal|int[eé]nte",
        refused=r"rechazad|no deseado|denegad|prohibid|no (?:permitid|autorizad|aceptad)",
    ),
    Tongue(  # Portuguese
        who=r"usu[aá]rio|utilizador|destinat[aá]ri|caixa|\bconta\b|endere[cç]o",
        domain=r"dom[ií]nio",
        letter=r"mensagem|\be-?mail\b|anexo",
        sender=r"remetente",
        missing=r"n[aã]o (?:\w+ )?(?:exist|encontrad|cadastrad|localizad|reconhecid)|inexistente|desconhecid|inv[aá]lid",
        full=r"chei[ao]\b|lotad|cota\b|quota\b|excedid|sem espa[cç]o",
        shut=r"bloquead|suspens[ao]|desativad|desabilitad|inativ|cancelad|encerrad",
        big=r"muito grande|tamanho|grande demais",
        later=r"mais tarde|temporari|tente novamente",
        refused=r"rejeitad|recusad|negad[ao]|indesejad|n[aã]o (?:permitid|autorizad|aceit)",
    ),
    Tongue(  # Dutch
        who=r"gebruiker|ontvanger|geadresseerde|postvak|mailbox|\badres|account",
        domain=r"domein",
        letter=r"bericht|bijlage|\bmail\b",
        sender=r"afzender",
        missing=r"onbekend|bestaat (?:\w+ )?niet|niet (?:gevonden|bekend|geldig)|ongeldig",
        full=r"\bvol\b|overschreden|onvoldoende ruimte",
        shut=r"geblokkeerd|uitgeschakeld|opgeschort|gedeactiveerd|gesloten|opgeheven",
        big=r"te groot",
        later=r"later opnieuw|tijdelijk",
        refused=r"geweigerd|afgewezen|ongewenst|niet toegestaan",
    ),
    Tongue(  # Swedish, Danish, Norwegian
        who=r"användare|mottagare|brugere?n?\b|modtager|mottaker|postkasse|postlåda|brevlåda|\badresse?n?\b|\bkonto",
        domain=r"domäne?n?\b|domæne|domene",
        letter=r"meddeland|beskede?n?\b|meldinge?n?\b|\bmail\b",
        sender=r"avsändare|afsender|avsender",
        missing=r"okänd|ukendt|ukjent|finns inte|findes ikke|eksisterer ikke|finnes ikke|existerar inte|ogiltig|ugyldig",
        full=r"\bfull\b|\bfuld\b|överskrid|overskred",
        shut=r"spärrad|spærret|sperret|inaktiv|avstängd|lukket|stengt|deaktivere",
        big=r"för stor|for stor",
        later=r"senare|senere|tillfällig|midlertidig",
        refused=r"avvisa|avvist|afvist|nekad|nægtet",
    ),
    Tongue(  # Polish, Czech
        who=r"użytkownik|uzytkownik|odbiorc|adresat|\badres|skrzynk|kont[oa]\b|uživatel|příjemc|schránk|účet",
        domain=r"domen[aey]\b|doména",
        letter=r"wiadomoś|wiadomosc|przesyłk|załącznik|zpráv|\bmail\b",
        sender=r"nadawc|odesílatel",
        missing=r"nie istnieje|nieznan|nie (?:został\w* )?(?:znalezion|odnalezion)|nie ma\b|nieprawidłow|niepoprawn"
        r"|neexistuje|neznám|nenalezen",
        full=r"pełn|przepełnion|przekrocz|brak miejsca|zapełnion|pln[áýé]|překroč",
        shut=r"zablokowan|zawieszon|nieaktywn|wyłączon|zamknięt|zablokov|pozastaven|deaktivov",
        big=r"zbyt (?:duż|wielk)|za duż|příliš velk",
        later=r"później|pozniej|tymczasow|spróbuj|později|dočasn",
        refused=r"odrzucon|odmow|odmówi|niedozwolon|odmítn|zamítn",
    ),
    Tongue(  # Russian, Ukrainian
        who=r"пользовател|получател|адресат|адрес|ящик|аккаунт|уч[её]тн|користувач|одержувач|скриньк",
        domain=r"домен",
        letter=r"письм|сообщени|вложени|лист\b",
        sender=r"отправител|відправник",
        missing=r"не (?:существует|найден|зарегистрирован|обнаружен|известен|існує|знайден)|несуществующ|неизвест|неверн|нет так|невідом",
        full=r"переполнен|заполнен|квот|нет места|недостаточно места|переповнен",
        shut=r"заблокирован|отключ[её]н|приостановлен|неактивн|закрыт|заблокован",
        big=r"слишком (?:больш|велик)|превыша|занадто велик",
        later=r"позже|позднее|временн|попробуйте|повторите|пізніше|тимчасов",
        refused=r"отклон|отказ|запрещ|спам|ч[её]рн\w+ спис|відхилен",
    ),
    Tongue(  # Turkish
        who=r"kullanıcı|alıcı|posta kutusu|\badres|hesa[bp]",
        domain=r"alan adı|etki alanı",
        letter=r"ileti|mesaj|posta\b",
        sender=r"gönderen",
        missing=r"bulunamadı|mevcut değil|\byok|geçersiz|bilinmiyor|bilinmeyen",
        full=r"dolu|kota",
        shut=r"askıya|devre dışı|kapalı|kilitl|kapatıl",
        big=r"çok büyük",
        later=r"daha sonra|geçici",
        refused=r"reddedil|engellen|istenmeyen",
    ),
    Tongue(  # Japanese
        who=r"ユーザ|宛先|アドレス|受信者|アカウント|メールボックス|利用者",
        domain=r"ドメイン|ホスト",
        letter=r"メール|メッセージ|添付",
        sender=r"送信者|差出人|送信元",
        missing=r"存在し(?:ない|ませ)|見つか(?:ら|りませ)|不明|ありません|無効な|正しくあり",
        full=r"容量|いっぱい|一杯|満杯|フル",
        shut=r"停止|凍結|ロック|無効化|休止|解約",
        big=r"大きすぎ|サイズ",
        later=r"一時的|しばらく|後ほど|後で|再送|再試行|混雑",
        refused=r"拒否|迷惑|スパム|ブロック|禁止|許可されて",
    ),
    Tongue(  # Chinese, both scripts
        who=r"收件人|收件者|收信人|用户|用戶|使用者|邮箱|郵箱|信箱|[帐账帳][号號户戶]|地址",
        domain=r"域名|主机|主機|網域",
        letter=r"邮件|郵件|信件|附件",
        sender=r"发件人|發件人|寄件者|发信人",
        missing=r"不存在|未找到|找不到|[无無]此|没有此|查[无無]|[无無]效|未开通|不正确",
        full=r"[已爆][满滿]|空[间間]不足|容量|超限|超容|已超",
        shut=r"[禁停]用|冻结|凍結|[锁鎖]定|[暂暫]停|停止|休眠|注销",
        big=r"[过過太]大|超[过過出]",
        later=r"稍[后後]|[暂暫][时時]|繁忙|重[试試]",
        refused=r"拒[绝絕收]|垃圾|屏蔽|禁止|黑名[单單]|不接受",
    ),
    Tongue(  # Korean
        who=r"사용자|수신자|받는 ?사람|계정|메일함|사서함|편지함|주소",
        domain=r"도메인|호스트",
        letter=r"메일|메시지|첨부",
        sender=r"발신자|보낸 ?사람",
        missing=r"존재하지 않|없는|없습니다|찾을 수 없|잘못된|알 수 없",
        full=r"용량|가득|초과|부족",
        shut=r"중지|정지|휴면|잠[금겼]|비활성|해지",
        big=r"크기|너무 [큽큰]",
        later=r"잠시|일시|나중|다시 시도",
        refused=r"거부|거절|스팸|차단|금지",
    ),
)


def _said_of(subject: str, predicate: str) -> str:
    return rf"(?:{subject}){_NEAR}(?:{predicate})|(?:{predicate}){_CLOSE}(?:{subject})"


def _words() -> Iterator[tuple[str, str]]:
    """Pairs of a class and its words. The sender's faults go first, as in English; then what is sure to be of a living mailbox."""
    yield from (("policy", _said_of(one.sender, f"{one.missing}|{one.shut}|{one.refused}")) for one in _TONGUES)
    yield from (("too_large", _said_of(one.letter, one.big)) for one in _TONGUES)
    yield from (("mailbox_full", _said_of(one.who, one.full)) for one in _TONGUES)
    yield from (("mailbox_disabled", _said_of(one.who, one.shut)) for one in _TONGUES)
    yield from (("invalid_domain", _said_of(one.domain, one.missing)) for one in _TONGUES)
    yield from (("transient", one.later) for one in _TONGUES)
    yield from (("invalid_mailbox", _said_of(one.who, one.missing)) for one in _TONGUES)
    yield from (("policy", one.refused) for one in _TONGUES)


def _in_order() -> tuple[tuple[str, re.Pattern[str]], ...]:
    """One expression for each class in turn."""
    joined: list[tuple[str, list[str]]] = []
    for kind, words in _words():
        if not joined or joined[-1][0] != kind:
            joined.append((kind, []))
        joined[-1][1].append(words)
    return tuple((kind, re.compile("|".join(words))) for kind, words in joined)


TONGUE_WORDS: Final = _in_order()
# Words that an address is known where they stand beside others that it is not.
TONGUES_ALIVE: Final = tuple(pattern for kind, pattern in TONGUE_WORDS if kind in ("mailbox_full", "mailbox_disabled"))
