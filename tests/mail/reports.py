"""Mail that comes back, in the forms and stock phrases of many systems. The mails are made up for the tests: nobody wrote or got them."""

from __future__ import annotations

from dataclasses import dataclass

RETURN_PATH = "b-token@bounces.shop.example"
DAEMON = "From: Mail Delivery System <MAILER-DAEMON@mx.provider.example>"
ORIGINAL = (
    "Return-Path: <b-token@bounces.shop.example>\n"
    "Received: from out.relay.example by mx.provider.example; Mon, 5 Jan 2026 10:00:00 +0000\n"
    "Message-ID: <0001@shop.example>\nFrom: Shop <hello@shop.example>\nTo: ada@example.com\nSubject: Order 1001\n\nThank you!\n"
)


def letter(subject: str, body: str, *, author: str = DAEMON, fields: str = "", content_type: str = "") -> bytes:
    head = [
        "Return-Path: <>",
        author,
        f"To: <{RETURN_PATH}>",
        f"Subject: {subject}",
        *((f"Content-Type: {content_type}",) if content_type else ()),
    ]
    return ("\n".join(head) + "\n" + fields + "\n" + body).replace("\n", "\r\n").encode()


def status_report(status: str, *, notice: str = "Your message could not be delivered.", subject: str = "Undelivered mail") -> bytes:
    body = (
        f"--x\nContent-Type: text/plain\n\n{notice}\n--x\nContent-Type: message/delivery-status\n\n"
        f"Reporting-MTA: dns; mx.provider.example\n\n{status}\n--x\nContent-Type: message/rfc822\n\n{ORIGINAL}\n--x--\n"
    )
    return letter(subject, body, content_type='multipart/report; report-type=delivery-status; boundary="x"')


def feedback_report(fields: str, *, original: str = ORIGINAL) -> bytes:
    body = (
        "--x\nContent-Type: text/plain\n\nThis is a report about mail.\n--x\nContent-Type: message/feedback-report\n\n"
        f"{fields}\n--x\nContent-Type: message/rfc822\n\n{original}\n--x--\n"
    )
    author = "From: Feedback <fbl@provider.example>"
    return letter("FW: Order", body, author=author, content_type='multipart/report; report-type="feedback-report"; boundary=x')


@dataclass(frozen=True, slots=True)
class Plain:
    """A notice in words, of a kind of system; whom it names, and the class of the first."""

    system: str
    subject: str
    body: str
    recipients: tuple[str, ...]
    reply_class: str
    author: str = DAEMON
    fields: str = ""


PLAIN = (
    Plain(
        "postfix",
        "Undelivered Mail Returned to Sender",
        "This is the mail program at host mx.provider.example.\n\nYour message could not be delivered to one or more recipients.\n"
        "For help, write to <postmaster@provider.example>\n\n"
        "<ada@example.com>: host mx.example.com[192.0.2.1] said: 550 5.1.1 <ada@example.com>:\n"
        "    unknown user (in reply to RCPT TO command)\n"
        "<bob@example.com>: host mx.example.com[192.0.2.1] said: 452 4.2.2 <bob@example.com> mailbox is full\n",
        ("ada@example.com", "bob@example.com"),
        "invalid_mailbox",
    ),
    Plain(
        "qmail",
        "failure notice",
        "Hi. This is the mail program at mx.provider.example.\nI wasn't able to deliver your message to the following addresses.\n\n"
        "<ada@example.com>:\n192.0.2.1 does not like recipient.\nRemote host said: 550 no such user\n\n"
        f"--- Below this line is a copy of the message.\n\n{ORIGINAL}",
        ("ada@example.com",),
        "invalid_mailbox",
    ),
    Plain(
        "exim",
        "Mail delivery failed: returning message to sender",
        "A message that you sent could not be delivered to one of its recipients.\nThe following address(es) failed:\n\n"
        "  ada@example.com\n    retry timeout exceeded\n\n"
        f"------ This is a copy of the message, including all the headers. ------\n\n{ORIGINAL}",
        ("ada@example.com",),
        "transient",
        fields="X-Failed-Recipients: ada@example.com\n",
    ),
    Plain(
        "sendmail",
        "Returned mail: see transcript for details",
        "The original message was received at Mon, 5 Jan 2026 10:00:00 GMT\nfrom out.relay.example [192.0.2.9]\n\n"
        "   ----- The following addresses had permanent fatal errors -----\n<ada@example.com>\n"
        "    (reason: 552 5.2.2 over quota)\n\n   ----- Transcript of session follows -----\n"
        "... while talking to mx.example.com.:\n>>> RCPT To:<ada@example.com>\n<<< 552 5.2.2 over quota\n",
        ("ada@example.com",),
        "mailbox_full",
    ),
    Plain(
        "exchange",
        "Undeliverable: Order 1001",
        "Your message\n\n  To:      orders@shop.example\n  Subject: Order 1001\n  Sent:    Mon, 5 Jan 2026 10:00:00 +0000\n\n"
        "did not reach the following recipient(s):\n\nada@example.com on Mon, 5 Jan 2026 10:00:01 +0000\n"
        "    The recipient name is not recognized\n    (000C05A6) Unknown Recipient\n",
        ("ada@example.com",),
        "invalid_mailbox",
        author="From: System Administrator <postmaster@provider.example>",
    ),
    Plain(
        "notes",
        "DELIVERY FAILURE: no such person",
        "------- Failure Reasons  --------\n\nUser not listed in public Name & Address Book\nada@example.com\n\n"
        f"------- Returned Message --------\n{ORIGINAL}",
        ("ada@example.com",),
        "invalid_mailbox",
        author="From: Postmaster@provider.example",
    ),
    Plain(
        "a portal, in a sentence",
        "Delivery failed",
        "There was an error delivering your mail to <ada@example.com>.\n\nhost example.com not found\n\n"
        f"Message headers follow.\n\n{ORIGINAL}",
        ("ada@example.com",),
        "invalid_domain",
    ),
    Plain(
        "a portal, with a label",
        "Undeliverable mail",
        "Undeliverable Address: ada@example.com\n\nReason: the account is over disk quota.\n\n"
        "System Contact: postmaster@provider.example\n",
        ("ada@example.com",),
        "mailbox_full",
    ),
    Plain(
        "a filter",
        "Mail could not be delivered",
        "Your mail to the following recipient was not delivered:\n\n   ada@example.com\n\n"
        "550 5.7.1 Message rejected as spam by content filter\n",
        ("ada@example.com",),
        "policy",
    ),
    Plain(
        "too large",
        "Mail delivery failure",
        "Unable to deliver message to: <ada@example.com>\n552 Message size exceeds maximum permitted\n",
        ("ada@example.com",),
        "too_large",
    ),
    Plain(
        "nobody named but in the mail itself",
        "Returned mail",
        f"Your message could not be delivered: mailbox is full.\n\n----- Original message -----\n{ORIGINAL}",
        ("ada@example.com",),
        "mailbox_full",
    ),
    Plain(
        "German",
        "Unzustellbar: Bestellung",
        "Ihre Nachricht konnte nicht zugestellt werden.\n\nEmpfänger: ada@example.com\nGrund: Empfänger unbekannt\n",
        ("ada@example.com",),
        "invalid_mailbox",
    ),
    Plain(
        "French",
        "Message non délivré",
        "Votre message n'a pas pu être remis à\n<ada@example.com>\n\nadresse inconnue\n",
        ("ada@example.com",),
        "invalid_mailbox",
    ),
    Plain(
        "Japanese",
        "配信エラー",
        "次の宛先にメールを配信できませんでした。\n\n宛先: ada@example.com\n550 5.1.1 user unknown\n",
        ("ada@example.com",),
        "invalid_mailbox",
    ),
    Plain(
        "Russian",
        "Сообщение не доставлено",
        "Ваше сообщение не может быть доставлено:\n\n  ada@example.com\n    550 no such user\n",
        ("ada@example.com",),
        "invalid_mailbox",
    ),
    Plain(
        "labels and a transcript",
        "Permanent Delivery Failure",
        "The attached message had PERMANENT fatal delivery errors!\n\nFailed address: ada@example.com\n\n--- Session Transcript ---\n"
        " RCPT To:<ada@example.com>\n 550 <ada@example.com>... User unknown\n",
        ("ada@example.com",),
        "invalid_mailbox",
        author='From: "MDaemon at x.example" <MDaemon@x.example>',
    ),
    Plain(
        "a dialogue and nothing else",
        "Returned mail: User unknown",
        "   ----- Transcript of session follows -----\nWhile talking to smtp.example.com:\n>>> RCPT To:<ada@example.com>\n"
        f"<<< 550 <ada@example.com>, User Unknown\n421 Connection closed\n\n   ----- Unsent message follows -----\n{ORIGINAL}",
        ("ada@example.com",),
        "invalid_mailbox",
    ),
    Plain(
        "what is final says so",
        "Message delivery has failed",
        "Unable to deliver message to: <ada@example.com>\nServer mx.example.org[192.0.2.2] failed with: 550 No such user here\n\n"
        "This is a permanent failure.  No further delivery attempts will be made.\n",
        ("ada@example.com",),
        "invalid_mailbox",
    ),
    Plain(
        "the size of a mailbox is no size of a mail",
        "undeliverable mail",
        f"User mailbox exceeds allowed size: ada@example.com\n\nOriginal message follows.\n\n{ORIGINAL}",
        ("ada@example.com",),
        "mailbox_full",
    ),
    Plain(
        "of those named in passing, him who was written to",
        "FAILED MAIL: Order",
        "Addresses here look like name1@example.com. The address ada@example.com did not match. There is eve@example.com on floor 3.\n\n"
        f"Original message follows:\n\n{ORIGINAL}",
        ("ada@example.com",),
        "policy",
    ),
    Plain(
        "Italian",
        "Mancata consegna",
        "Il messaggio non puo' essere consegnato a:\n\n  ada@example.com\n\nLa casella del destinatario e' piena\n",
        ("ada@example.com",),
        "mailbox_full",
    ),
    Plain(
        "Portuguese",
        "Mensagem devolvida",
        "A sua mensagem não pôde ser entregue ao destinatário:\n\nada@example.com\n\nUsuário desconhecido\n",
        ("ada@example.com",),
        "invalid_mailbox",
    ),
    Plain(
        "Chinese",
        "系统退信",
        "您的邮件被退回来了\n收件人：ada@example.com\nhost mx.example.com said: 550 Mailbox not found\n",
        ("ada@example.com",),
        "invalid_mailbox",
    ),
)
