"""What delivery reports say to people, in their languages: what has happened, and what it means in plain words.

The words are for somebody who has sent a mail and knows nothing of mail servers. Machines read the other part (report_writing).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Meaning(StrEnum):
    """What became of a recipient, as a person is told: a final refusal by its class (reply.ReplyClass), or another end."""

    INVALID_MAILBOX = "invalid_mailbox"
    INVALID_DOMAIN = "invalid_domain"
    MAILBOX_FULL = "mailbox_full"
    MAILBOX_DISABLED = "mailbox_disabled"
    TRANSIENT = "transient"
    POLICY = "policy"
    TOO_LARGE = "too_large"
    EXPIRED = "expired"
    UNMADE = "unmade"  # it could not be built
    WITHDRAWN = "withdrawn"  # it was held, and dropped by the operator
    KNOWN_DEAD = "known_dead"  # suppressed, because a receiver said so before
    UNWANTED = "unwanted"  # suppressed by its reader's own word
    LISTED = "listed"  # suppressed by the account
    DELAYED = "delayed"
    RELAYED = "relayed"


@dataclass(frozen=True, slots=True)
class Phrases:
    """`{subject}` and `{date}` are the mail's, `{domain}` the recipient's, `{server}` who answered, `{until}` the end of trying."""

    language: str
    failure_subject: str
    delay_subject: str
    success_subject: str
    failure: str
    delay: str
    success: str
    answered: str
    about: str
    no_subject: str
    written_by_program: str
    meanings: Mapping[Meaning, str]


_M = Meaning
ENGLISH: Final = Phrases(
    language="en",
    failure_subject="Not delivered: {subject}",
    delay_subject="Delayed: {subject}",
    success_subject="Passed on: {subject}",
    failure="Your mail could not be delivered to:",
    delay="Your mail has not been delivered yet to the addresses below. You need not do anything: it is still being tried, until {until}.",
    success="Your mail was passed on to the servers of:",
    answered="{server} answered:",
    about="It is about your mail “{subject}” of {date}.",
    no_subject="without a subject",
    written_by_program="This report was written by a program. Nobody reads answers to it.",
    meanings={
        _M.INVALID_MAILBOX: "There is no such mailbox. Look at the address for typing errors, or ask for the right one in another way.",
        _M.INVALID_DOMAIN: "There is no “{domain}” that takes mail. Look at what stands after the @ sign.",
        _M.MAILBOX_FULL: "The mailbox is full. Try again in some days, or tell the person in another way.",
        _M.MAILBOX_DISABLED: "The mailbox is there, but closed or locked. Reach the person in another way.",
        _M.TRANSIENT: "The receiving server was in trouble. Try again later.",
        _M.POLICY: "The receiving server does not take this mail from this sender. The address itself may be right."
        " Its answer may say why; your administrator can help.",
        _M.TOO_LARGE: "The mail is too large for the receiving server. Send fewer or smaller files.",
        _M.EXPIRED: "It was tried again and again, and is given up now: the receiving server could not be reached, or put it off.",
        _M.UNMADE: "The mail could not be prepared for sending. Nothing left for this address; your administrator can help.",
        _M.WITHDRAWN: "It was stopped by those who run your mail server, and is not tried any more. Your administrator knows why.",
        _M.KNOWN_DEAD: "Nothing was sent: an earlier mail to this address was refused because the address does not exist.",
        _M.UNWANTED: "Nothing was sent: the person has asked for no more mail of this kind.",
        _M.LISTED: "Nothing was sent: the address is on your organisation’s list of those that get no mail.",
        _M.DELAYED: "It is tried again by itself.",
        _M.RELAYED: "That server took it over. It does not tell us whether it was read.",
    },
)
ITALIAN: Final = Phrases(
    language="it",
    failure_subject="Non consegnato: {subject}",
    delay_subject="In ritardo: {subject}",
    success_subject="Inoltrato: {subject}",
    failure="Il tuo messaggio non è stato consegnato a:",
    delay="Il tuo messaggio non è ancora arrivato agli indirizzi qui sotto. Non devi fare nulla: continuiamo a provare fino al {until}.",
    success="Il tuo messaggio è stato inoltrato ai server di:",
    answered="{server} ha risposto:",
    about="Si tratta del tuo messaggio “{subject}” del {date}.",
    no_subject="senza oggetto",
    written_by_program="Questo avviso è stato scritto da un programma. Nessuno legge le risposte.",
    meanings={
        _M.INVALID_MAILBOX: "Questa casella non esiste. Controlla che l’indirizzo sia scritto bene, o chiedi quello giusto in altro modo.",
        _M.INVALID_DOMAIN: "“{domain}” non esiste o non riceve posta. Controlla ciò che segue la chiocciola.",
        _M.MAILBOX_FULL: "La casella è piena. Riprova tra qualche giorno, o avvisa la persona in altro modo.",
        _M.MAILBOX_DISABLED: "La casella esiste, ma è chiusa o bloccata. Contatta la persona in altro modo.",
        _M.TRANSIENT: "Il server del destinatario aveva un problema. Riprova più tardi.",
        _M.POLICY: "Il server del destinatario non accetta questo messaggio da questo mittente. L’indirizzo può essere giusto."
        " La sua risposta può dire perché; il tuo amministratore può aiutarti.",
        _M.TOO_LARGE: "Il messaggio è troppo grande per il server del destinatario. Invia meno file, o file più piccoli.",
        _M.EXPIRED: "Abbiamo provato più volte e ora rinunciamo: il server del destinatario non era raggiungibile, o rimandava.",
        _M.UNMADE: "Non è stato possibile preparare il messaggio. Nulla è partito; il tuo amministratore può aiutarti.",
        _M.WITHDRAWN: "Chi gestisce il tuo server di posta lo ha fermato, e non proviamo più. Il tuo amministratore sa perché.",
        _M.KNOWN_DEAD: "Nulla è stato inviato: un messaggio precedente fu rifiutato perché questo indirizzo non esiste.",
        _M.UNWANTED: "Nulla è stato inviato: la persona ha chiesto di non ricevere più messaggi di questo tipo.",
        _M.LISTED: "Nulla è stato inviato: l’indirizzo è nell’elenco della tua organizzazione di chi non riceve posta.",
        _M.DELAYED: "Riproviamo da soli.",
        _M.RELAYED: "Quel server lo ha preso in consegna. Non ci dice se è stato letto.",
    },
)
GERMAN: Final = Phrases(
    language="de",
    failure_subject="Nicht zugestellt: {subject}",
    delay_subject="Verzögert: {subject}",
    success_subject="Weitergegeben: {subject}",
    failure="Ihre E-Mail konnte nicht zugestellt werden an:",
    delay="Ihre E-Mail wurde den Adressen unten noch nicht zugestellt. Sie müssen nichts tun: Es wird weiter versucht, bis {until}.",
    success="Ihre E-Mail wurde weitergegeben an die Server von:",
    answered="{server} hat geantwortet:",
    about="Es geht um Ihre E-Mail „{subject}“ vom {date}.",
    no_subject="ohne Betreff",
    written_by_program="Diesen Bericht hat ein Programm geschrieben. Antworten darauf liest niemand.",
    meanings={
        _M.INVALID_MAILBOX: "Dieses Postfach gibt es nicht. Prüfen Sie die Schreibweise, oder fragen Sie auf anderem Weg nach der Adresse.",
        _M.INVALID_DOMAIN: "„{domain}“ gibt es nicht, oder es nimmt keine E-Mails an. Prüfen Sie, was hinter dem @ steht.",
        _M.MAILBOX_FULL: "Das Postfach ist voll. Versuchen Sie es in einigen Tagen noch einmal, oder melden Sie sich auf anderem Weg.",
        _M.MAILBOX_DISABLED: "Das Postfach gibt es, aber es ist geschlossen oder gesperrt. Melden Sie sich auf anderem Weg.",
        _M.TRANSIENT: "Der Server des Empfängers hatte eine Störung. Versuchen Sie es später noch einmal.",
        _M.POLICY: "Der Server des Empfängers nimmt diese E-Mail von diesem Absender nicht an. Die Adresse selbst kann stimmen."
        " Warum, sagt vielleicht seine Antwort; Ihr Administrator kann helfen.",
        _M.TOO_LARGE: "Die E-Mail ist zu groß für den Server des Empfängers. Senden Sie weniger oder kleinere Dateien.",
        _M.EXPIRED: "Es wurde immer wieder versucht und jetzt aufgegeben: Der Server des Empfängers war nicht erreichbar oder vertröstete.",
        _M.UNMADE: "Die E-Mail konnte nicht fertiggestellt werden. An diese Adresse ging nichts ab; Ihr Administrator kann helfen.",
        _M.WITHDRAWN: "Sie wurde vom Betreiber Ihres Mailservers angehalten und wird nicht mehr versucht. Ihr Administrator weiß, warum.",
        _M.KNOWN_DEAD: "Es wurde nichts gesendet: Eine frühere E-Mail wurde abgelehnt, weil es diese Adresse nicht gibt.",
        _M.UNWANTED: "Es wurde nichts gesendet: Die Person möchte keine E-Mails dieser Art mehr.",
        _M.LISTED: "Es wurde nichts gesendet: Die Adresse steht auf der Liste Ihrer Organisation, wer keine E-Mails bekommt.",
        _M.DELAYED: "Es wird von selbst noch einmal versucht.",
        _M.RELAYED: "Dieser Server hat sie übernommen. Ob sie gelesen wurde, sagt er uns nicht.",
    },
)
FRENCH: Final = Phrases(
    language="fr",
    failure_subject="Non remis : {subject}",
    delay_subject="Retardé : {subject}",
    success_subject="Transmis : {subject}",
    failure="Votre message n’a pas pu être remis à :",
    delay="Votre message n’a pas encore été remis aux adresses ci-dessous. Vous n’avez rien à faire : nous essayons jusqu’au {until}.",
    success="Votre message a été transmis aux serveurs de :",
    answered="{server} a répondu :",
    about="Il s’agit de votre message « {subject} » du {date}.",
    no_subject="sans objet",
    written_by_program="Cet avis a été écrit par un programme. Personne ne lit les réponses.",
    meanings={
        _M.INVALID_MAILBOX: "Cette boîte n’existe pas. Vérifiez l’adresse, ou demandez la bonne par un autre moyen.",
        _M.INVALID_DOMAIN: "« {domain} » n’existe pas, ou ne reçoit pas de courrier. Vérifiez ce qui suit l’arobase.",
        _M.MAILBOX_FULL: "La boîte est pleine. Réessayez dans quelques jours, ou prévenez la personne par un autre moyen.",
        _M.MAILBOX_DISABLED: "La boîte existe, mais elle est fermée ou bloquée. Joignez la personne par un autre moyen.",
        _M.TRANSIENT: "Le serveur du destinataire avait un problème. Réessayez plus tard.",
        _M.POLICY: "Le serveur du destinataire n’accepte pas ce message de cet expéditeur. L’adresse peut être juste."
        " Sa réponse dit peut-être pourquoi ; votre administrateur peut vous aider.",
        _M.TOO_LARGE: "Le message est trop grand pour le serveur du destinataire. Envoyez moins de fichiers, ou de plus petits.",
        _M.EXPIRED: "Nous avons essayé plusieurs fois et renonçons : le serveur du destinataire était injoignable, ou différait.",
        _M.UNMADE: "Le message n’a pas pu être préparé. Rien n’est parti pour cette adresse ; votre administrateur peut vous aider.",
        _M.WITHDRAWN: "Il a été arrêté par les gestionnaires de votre serveur, et n’est plus tenté. Votre administrateur sait pourquoi.",
        _M.KNOWN_DEAD: "Rien n’a été envoyé : un message précédent a été refusé parce que cette adresse n’existe pas.",
        _M.UNWANTED: "Rien n’a été envoyé : la personne ne veut plus de messages de ce genre.",
        _M.LISTED: "Rien n’a été envoyé : l’adresse est sur la liste de votre organisation de ceux qui ne reçoivent pas de courrier.",
        _M.DELAYED: "Un nouvel essai se fera tout seul.",
        _M.RELAYED: "Ce serveur l’a pris en charge. Il ne nous dit pas si le message a été lu.",
    },
)
SPANISH: Final = Phrases(
    language="es",
    failure_subject="No entregado: {subject}",
    delay_subject="Retrasado: {subject}",
    success_subject="Transmitido: {subject}",
    failure="Su mensaje no se pudo entregar a:",
    delay="Su mensaje aún no se ha entregado a las direcciones de abajo. No tiene que hacer nada: se sigue intentando hasta el {until}.",
    success="Su mensaje se ha transmitido a los servidores de:",
    answered="{server} respondió:",
    about="Se trata de su mensaje «{subject}» del {date}.",
    no_subject="sin asunto",
    written_by_program="Este aviso lo ha escrito un programa. Nadie lee las respuestas.",
    meanings={
        _M.INVALID_MAILBOX: "Ese buzón no existe. Compruebe cómo está escrita la dirección, o pregunte la correcta de otra manera.",
        _M.INVALID_DOMAIN: "«{domain}» no existe o no recibe correo. Compruebe lo que sigue a la arroba.",
        _M.MAILBOX_FULL: "El buzón está lleno. Inténtelo dentro de unos días, o avise a la persona de otra manera.",
        _M.MAILBOX_DISABLED: "El buzón existe, pero está cerrado o bloqueado. Contacte con la persona de otra manera.",
        _M.TRANSIENT: "El servidor del destinatario tenía un problema. Inténtelo más tarde.",
        _M.POLICY: "El servidor del destinatario no acepta este mensaje de este remitente. La dirección puede ser correcta."
        " Su respuesta quizá diga por qué; su administrador puede ayudarle.",
        _M.TOO_LARGE: "El mensaje es demasiado grande para el servidor del destinatario. Envíe menos archivos, o más pequeños.",
        _M.EXPIRED: "Se intentó muchas veces y ahora se abandona: no se pudo llegar al servidor del destinatario, o lo aplazaba cada vez.",
        _M.UNMADE: "El mensaje no se pudo preparar. No salió nada para esta dirección; su administrador puede ayudarle.",
        _M.WITHDRAWN: "Lo han detenido quienes gestionan su servidor de correo, y ya no se intenta. Su administrador sabe por qué.",
        _M.KNOWN_DEAD: "No se ha enviado nada: un mensaje anterior fue rechazado porque esta dirección no existe.",
        _M.UNWANTED: "No se ha enviado nada: la persona no quiere más mensajes de este tipo.",
        _M.LISTED: "No se ha enviado nada: la dirección está en la lista de su organización de quienes no reciben correo.",
        _M.DELAYED: "Se vuelve a intentar solo.",
        _M.RELAYED: "Ese servidor se ha hecho cargo. No nos dice si se ha leído.",
    },
)

PHRASES: Final[Mapping[str, Phrases]] = {phrases.language: phrases for phrases in (ENGLISH, ITALIAN, GERMAN, FRENCH, SPANISH)}
