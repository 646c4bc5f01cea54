"""The words by which mail that comes back is known: in lower case, general turns of phrase of many systems and languages.

Between two words of a phrase at most a few others may stand, so that no pattern takes long on any text.
"""

from __future__ import annotations

import re
from typing import Final


def _any(*phrases: str) -> re.Pattern[str]:
    return re.compile("|".join(f"(?:{phrase})" for phrase in phrases))


_NOT = r"(?:not|n['’]t|never)"
_DELIVERED = r"(?:deliver(?:ed|able)?|sent|routed|relayed|forwarded|processed|received|reach(?:ed)?|transmitted|transferred)"

# Mail that could not be delivered: in a subject, or in the notice itself.
FAILURE: Final = _any(
    r"un-?deliver|non-?deliver|failure notice|delivery (?:\S+ ){0,3}?(?:fail|error|problem|unsuccessful|impossible)",
    r"failed (?:e-?)?mail\b|fail(?:ed|ure)?\W+(?:\S+\s+){0,3}?deliver|deliver\w*\W+(?:\S+\s+){0,6}?(?:failed|failure|unsuccessful|aborted)",
    rf"{_NOT} (?:be |been |yet )?(?:\w+ ){{0,2}}?{_DELIVERED}\b",
    r"(?:unable|failed|failure|problems?|errors?|impossible) (?:\w+ ){0,2}?(?:to )?deliver",
    r"(?:error|failure|problem)s? (?:\w+ ){0,3}?(?:while )?(?:in )?(?:deliver|sending|processing|trying)",
    r"cannot (?:be )?(?:deliver|sen[dt])",
    r"return(?:ed|ing) (?:your |the |e-?)*(?:mail|message)|mail (?:system )?error|(?:mail|message) (?:was |has been |is |being )*returned",
    r"permanent(?:ly)? (?:fatal |delivery )?(?:error|fail)|(?:addresse?s?|recipients?)(?:\(e?s\))? (?:\w+ )?(?:failed|had)\b",
    r"(?:failed|bad|invalid|unknown|rejected|missed) (?:recipient|address)|user (?:is )?unknown|unknown user",
    r"no such (?:user|mailbox|recipient)",
    r"(?:message|mail|e-?mail|delivery) (?:was |has been |is )?(?:bounced|rejected|refused|blocked|undeliverable)|could not send",
    r"status: failed|action: fail|delivery report \(fail|does not exist|mail loop|too many hops|over quota|mailbox (?:is )?full",
    # German, Dutch, Scandinavian
    r"unzustellbar|nicht (?:\w+ ){0,2}?zu(?:ge|zu)?stell|zustellung (?:\w+ ){0,3}?(?:fehl|nicht)|zustellfehler|onbestelbaar",
    r"niet (?:\w+ ){0,2}?(?:bezorgd|afgeleverd|besteld)|(?:inte|ikke|ej) (?:\w+ ){0,2}?lever|olevererbar|ikke levert|ei voitu toimittaa",
    # French, Italian, Spanish, Portuguese, Romanian
    r"non[- ](?:remis|délivr|distribu|livr)|n['’]a pas (?:pu )?(?:\S+ ){0,2}?(?:remis|délivr|distribu|achemin)",
    r"échec (?:\S+ ){0,4}?(?:remise|distribution|livraison|envoi)",
    r"pas pu être (?:remis|délivr|distribu|livr|achemin)|non (?:\S+ ){0,3}?(?:consegn|recapit)|mancat[ao] (?:consegna|recapito)",
    r"impossibile (?:\S+ ){0,2}?(?:consegn|recapit)",
    r"no (?:se )?(?:\S+ ){0,4}?entreg|(?:correo|mensaje) devuelto|(?:error|fallo) (?:\S+ ){0,3}?(?:entrega|envío)",
    r"não (?:\S+ ){0,3}?entreg|(?:falha|erro) (?:\S+ ){0,3}?(?:entrega|envio)|devolvid[ao]",
    # Polish, Czech, Hungarian, Turkish, Russian
    r"nie (?:\S+ ){0,3}?dostarcz|niedostarcz|zwrot poczty|nedoruč|nelze (?:\S+ )?doruč|nem (?:\S+ ){0,3}?kézbesít|kézbesíthetetlen",
    r"(?:teslim|ulaş\w*|ilet\w*) ?(?:edileme|ıla?mad|ileme)|не ?(?:\S+ ){0,3}?достав|невозможно (?:\S+ )?достав|недостав|отклонено",
    # Japanese, Chinese, Korean
    r"配信(?:でき|不能|エラー|に失敗)|届けられ|届けでき|配送(?:でき|不能|エラー)|送信(?:でき(?:ません|なかった)|エラー|に失敗|不能)|エラーメール|宛先不明|存在しません",
    r"退信|退回|无法(?:送达|投递|发送)|無法(?:送達|投遞|傳送|傳遞)|(?:投递|发送|投遞|傳送)失败|未能(?:送达|投递|送達)|不存在",
    r"반송|전송(?:에)? ?실패|배달(?:하지|되지|할 수)|발송 ?실패",
)
# Mail that is still being tried.
DELAY: Final = _any(
    r"\bdelay(?:ed)?\b|\bstill (?:\w+ ){0,4}?(?:try|retr|queue|attempt)|(?:not|n['’]t) yet (?:\w+ ){0,3}?(?:deliver|receiv|been)",
    r"will (?:\S+ ){0,3}?(?:continue|keep|retr)",
    r"(?:attempts|tries|trying) (?:\S+ ){0,3}?(?:continue|for)|no action is required|(?:need|have) to resend|warning message only",
    r"temporar(?:y|ily) (?:\w+ ){0,2}?undeliver",
    r"verzögert|vertraagd|retardé|différé|en attente de|retrasad|demorad|in ritardo|ritardat|atrasad|opóźni|zpožděn|késleltet|gecik",
    r"задерж|отложен|遅延|遅れ|延迟|延遲|지연",
)
# Mail that is still being tried for certain, whatever is said of what comes after.
STILL_TRIED: Final = _any(
    r"no action is required|(?:not|n['’]t) need to (?:resend|take any)|just a warning|warning (?:message )?only|not yet been",
    r"has not yet|have not yet|still undelivered",
    r"(?:will|to) (?:continue|keep)(?: on)? (?:\w+ ){0,3}?(?:try|attempt|retr|deliver)|attempts will (?:continue|go on)",
    r"will be (?:re-?tried|tried again|re-?attempted)|will (?:retry|try again)",
)
# Words by which a notice that speaks of delay is final all the same.
FINAL: Final = _any(
    r"giv(?:e|en|ing) up|gave up|permanent|could not be delivered (?:for|after|within)",
    r"(?:not|n['’]t) (?:\w+ ){0,2}?(?:try|retry|be retried|be tried)",
    r"(?:has|have|was|is being|being) (?:\w+ )?returned|returning (?:the |your )?message|delet(?:ed|ing) from|has failed",
    r"timeout exceeded|expired",
)
# What mail systems send by the clock.
DIGEST: Final = _any(
    r"quarantin|digest|summary|newsletter|aggregate|statisti|maintenance|report domain|(?:daily|weekly|monthly) report",
    r"zusammenfassung|wartung|récapitulatif|riepilogo|resumen|podsumowanie|сводка|レポート|摘要",
)
# How the subject of a mail begins that somebody passed on.
FORWARDED: Final = re.compile(r"\s*(?:fwd?|wg|tr|rv|enc|vb|pd|doorst|转发|轉寄|転送) ?[:：]")
# A mail that some program wrote in the name of its owner, because he is away or because it does so with every mail.
AUTOREPLY: Final = _any(
    r"out[- ]of[- ](?:the[- ])?office|auto(?:matic)?[- ]?(?:reply|response|responder|answer)|automated (?:reply|response)|vacation",
    r"on (?:annual )?leave\b|away from",
    r"(?:we have|i have|your (?:mail|message|e-?mail) (?:was|has been)|thank you for (?:your|contacting)).{0,40}receiv|acknowledge?ment",
    r"abwesen|automatische antwort|nicht im (?:büro|haus)|urlaub|afwezig|automatisch antwoord|frånvar|autosvar|fravær|poissa",
    r"absen[ct]e|réponse automatique|hors du bureau|risposta automatica|fuori (?:sede|ufficio)|assen[zt]|respuesta autom",
    r"fuera de (?:la )?oficina|ausen|resposta autom",
    r"automatyczna odpowied|nieobecno|automatická odpov|automatikus válasz|otomatik yanıt|автоматическ\w+ ответ|автоответ|отпуск",
    r"自動(?:応答|返信)|不在|自动(?:回复|答复)|自動回覆|부재중|자동 ?(?:응답|회신)",
)
# A mail that asks to be taken from a list: its first words, or all of them.
_WISH = (
    r"(?:un-?subscribe|opt[- ]?out|remove me|abmelden|abbestellen|désabonn\w+|désinscri\w+"
    r"|cancella(?:mi|rmi|zione)?|disiscri\w+|darse de baja|cancelar inscrição|descadastrar|afmelden|uitschrijven|avregistrera"
    r"|wypisz|отписаться|отписка|配信停止|退订|取消订阅|수신거부)"
)
UNSUBSCRIBE: Final = re.compile(rf"\W*(?:(?:please|bitte|aw|re|fwd?|wg)\W+)*{_WISH}\b.{{0,60}}", re.DOTALL)
UNSUBSCRIBE_ALONE: Final = re.compile(rf"\W*{_WISH}\W*")
# Whose name a program's mail about mail bears.
DAEMON: Final = re.compile(
    r"mailer-?_?daemon|mail-?daemon|post_?-?master|\bmail(?:er)? (?:delivery|transport) (?:sub)?(?:system|service|agent)|mail deliver\w*\b"
    r"|system administrator|mail administrator|mail administration|mdaemon|e?mail system|\bmta\b|message transfer agent|smtp gateway"
    r"|(?:internet )?mail delivery|delivery subsystem|bounces?@|no-?reply@sns|mail router|mailadm"
)

# The line with which the mail that came back begins, when it is quoted in the notice; matched at a line's beginning.
_MAIL = r"(?:message|mail|e-?mail)"
_PART = r"(?:copy|headers?|start|beginning|part)"
_BACK = r"(?:original|returned|undelivered|undeliverable|unsent|rejected|old|non-delivered|bounced|offending)"
_RULE = r"[-=_*~+#]"
_HERE = r"(?:this is|below(?: this line)? is|here is|following is)"
_FOLLOWS = r"(?:follows?|is (?:attached|included|as follows|below)|as received is as follows|below|attached)"
_END = rf"[ \t]*(?:[:.]|{_RULE})*[ \t]*$"
QUOTED: Final = re.compile(
    "|".join(
        (
            # ------ This is a copy of the message, including all the headers. ------
            rf"[ \t]*(?:{_RULE}{{2,80}} ?)?(?:{_HERE} )?(?:a |the |your )?{_PART}\b.{{0,40}}\b{_MAIL}\b.{{0,60}}{_END}",
            # --- Below this line is a copy of the message.
            rf"[ \t]*(?:{_RULE}{{2,80}} ?)?below (?:this|the next) line is (?:a |the )?(?:copy|original).{{0,60}}{_END}",
            # ----- Original message -----     The original message follows:     Returned message text is attached.
            rf"[ \t]*(?:{_RULE}{{2,80}} ?)?(?:the |your )?{_BACK} ?(?:(?:{_MAIL}|text|headers?|body|contents?) ?){{0,3}}{_FOLLOWS}?{_END}",
            # ----- Message header follows -----
            rf"[ \t]*{_RULE}{{0,80}} ?(?:the )?{_MAIL} (?:headers?|text|body|contents?)(?: of .{{0,30}})? {_FOLLOWS}\b.{{0,20}}$",
            # ---- 以下 …  ----     ----- Forwarded message -----
            rf"[ \t]*{_RULE}{{2,80}}[ \t]*(?:forwarded|unsent|message|mail|以下|元の|原始).{{0,50}}{_RULE}{{2,80}}[ \t]*$",
            # The fields that begin a mail.
            r"(?:> ?)?(?:return-path|received|dkim-signature|domainkey-signature|x-originating-ip)[ \t]*:",
        )
    ),
    re.IGNORECASE,
)
