"""What the pages for readers say, in their languages. Plain text: the templates escape it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from app.mail.languages import choose_language


@dataclass(frozen=True, slots=True)
class Words:
    """`{title}` is the stream's title, `{address}` the reader's address."""

    language: str
    leave_title: str
    leave: str
    leave_button: str
    left_title: str
    left: str
    join_button: str
    joined_title: str
    joined: str
    choose_link: str
    choose_title: str
    choose: str
    choose_hint: str
    choose_button: str
    chosen: str
    nothing_to_choose: str
    unknown_title: str
    unknown: str
    later_title: str
    later: str


ENGLISH = Words(
    language="en",
    leave_title="Unsubscribe",
    leave="Shall no more mail of “{title}” be sent to {address}?",
    leave_button="Unsubscribe",
    left_title="You are unsubscribed",
    left="No more mail of “{title}” is sent to {address}.",
    join_button="Subscribe again",
    joined_title="You are subscribed",
    joined="Mail of “{title}” is sent to {address} again.",
    choose_link="Choose what you get",
    choose_title="What would you like to get?",
    choose="Mail to {address}:",
    choose_hint="What you ordered or asked for is still answered by mail.",
    choose_button="Save",
    chosen="Your choice is saved.",
    nothing_to_choose="There is nothing to choose.",
    unknown_title="This link does not work",
    unknown="It is incomplete or too old. Nothing was changed. Reply to the mail to reach its sender.",
    later_title="Please try again",
    later="Nothing was changed just now. Please try again in a minute.",
)
ITALIAN = Words(
    language="it",
    leave_title="Annulla l’iscrizione",
    leave="Non inviare più “{title}” a {address}?",
    leave_button="Annulla l’iscrizione",
    left_title="Iscrizione annullata",
    left="“{title}” non verrà più inviato a {address}.",
    join_button="Iscriviti di nuovo",
    joined_title="Iscrizione attiva",
    joined="“{title}” verrà di nuovo inviato a {address}.",
    choose_link="Scegli che cosa ricevere",
    choose_title="Che cosa vuoi ricevere?",
    choose="E-mail a {address}:",
    choose_hint="Ordini e richieste ricevono comunque una risposta per e-mail.",
    choose_button="Salva",
    chosen="La scelta è stata salvata.",
    nothing_to_choose="Non c’è nulla da scegliere.",
    unknown_title="Questo link non funziona",
    unknown="È incompleto o troppo vecchio. Non è stato cambiato nulla. Rispondi all’e-mail per contattare il mittente.",
    later_title="Riprova",
    later="Per ora non è stato cambiato nulla. Riprova tra un minuto.",
)
GERMAN = Words(
    language="de",
    leave_title="Abmelden",
    leave="Soll „{title}“ nicht mehr an {address} geschickt werden?",
    leave_button="Abmelden",
    left_title="Sie sind abgemeldet",
    left="„{title}“ wird nicht mehr an {address} geschickt.",
    join_button="Wieder anmelden",
    joined_title="Sie sind angemeldet",
    joined="„{title}“ wird wieder an {address} geschickt.",
    choose_link="Auswählen, was Sie bekommen",
    choose_title="Was möchten Sie bekommen?",
    choose="E-Mails an {address}:",
    choose_hint="Bestellungen und Anfragen werden weiterhin per E-Mail beantwortet.",
    choose_button="Speichern",
    chosen="Ihre Auswahl ist gespeichert.",
    nothing_to_choose="Es gibt nichts auszuwählen.",
    unknown_title="Dieser Link funktioniert nicht",
    unknown="Er ist unvollständig oder zu alt. Es wurde nichts geändert. Antworten Sie auf die E-Mail, um den Absender zu erreichen.",
    later_title="Bitte noch einmal versuchen",
    later="Im Moment wurde nichts geändert. Bitte versuchen Sie es in einer Minute noch einmal.",
)
FRENCH = Words(
    language="fr",
    leave_title="Se désabonner",
    leave="Ne plus envoyer « {title} » à {address} ?",
    leave_button="Se désabonner",
    left_title="Vous êtes désabonné(e)",
    left="« {title} » ne sera plus envoyé à {address}.",
    join_button="S’abonner de nouveau",
    joined_title="Vous êtes abonné(e)",
    joined="« {title} » sera de nouveau envoyé à {address}.",
    choose_link="Choisir ce que vous recevez",
    choose_title="Que souhaitez-vous recevoir ?",
    choose="E-mails à {address} :",
    choose_hint="Vos commandes et vos demandes reçoivent toujours une réponse par e-mail.",
    choose_button="Enregistrer",
    chosen="Votre choix est enregistré.",
    nothing_to_choose="Il n’y a rien à choisir.",
    unknown_title="Ce lien ne fonctionne pas",
    unknown="Il est incomplet ou trop ancien. Rien n’a été modifié. Répondez à l’e-mail pour joindre son expéditeur.",
    later_title="Veuillez réessayer",
    later="Rien n’a été modifié pour l’instant. Veuillez réessayer dans une minute.",
)
SPANISH = Words(
    language="es",
    leave_title="Cancelar la suscripción",
    leave="¿No enviar más «{title}» a {address}?",
    leave_button="Cancelar la suscripción",
    left_title="Suscripción cancelada",
    left="Ya no se enviará «{title}» a {address}.",
    join_button="Suscribirse de nuevo",
    joined_title="Suscripción activa",
    joined="«{title}» se enviará de nuevo a {address}.",
    choose_link="Elegir qué recibir",
    choose_title="¿Qué le gustaría recibir?",
    choose="Correo a {address}:",
    choose_hint="Sus pedidos y consultas se seguirán respondiendo por correo.",
    choose_button="Guardar",
    chosen="Su elección está guardada.",
    nothing_to_choose="No hay nada que elegir.",
    unknown_title="Este enlace no funciona",
    unknown="Está incompleto o es demasiado antiguo. No se ha cambiado nada. Responda al correo para contactar con el remitente.",
    later_title="Inténtelo de nuevo",
    later="Por ahora no se ha cambiado nada. Inténtelo de nuevo dentro de un minuto.",
)

_WORDS: Mapping[str, Words] = {words.language: words for words in (ENGLISH, ITALIAN, GERMAN, FRENCH, SPANISH)}


def choose_words(accept_language: str) -> Words:
    """The words in the language that a reader likes most; English when we speak none of his."""
    return _WORDS[choose_language(accept_language, _WORDS) or "en"]
