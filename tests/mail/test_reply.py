import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.mail.reply import Reply, ReplyClass, classify, classify_reported, parse_reply, read_reply


@pytest.mark.parametrize(
    ("code", "text", "expected"),
    [
        (250, "2.0.0 Ok: queued as 4BX", Reply(250, "2.0.0", "Ok: queued as 4BX")),
        (250, "Ok", Reply(250, None, "Ok")),
        (550, "5.1.1 first line\n5.1.1 second line", Reply(550, "5.1.1", "first line second line")),
        (550, "5.7.26 see\n5.1.2 other", Reply(550, "5.7.26", "see 5.1.2 other")),
        (550, "5.1.1: gone", Reply(550, "5.1.1", "gone")),
        (550, "5.1.1", Reply(550, "5.1.1", "")),
        (220, "10.1.2.3 ready", Reply(220, None, "10.1.2.3 ready")),
        (550, "a\x00b\r\n\tc\u2028d\ud800", Reply(550, None, "a b c d?")),
        (421, "", Reply(421, None, "")),
    ],
)
def test_a_reply_is_one_line_with_its_enhanced_code_apart(code: int, text: str, expected: Reply) -> None:
    assert parse_reply(code, text) == expected


@given(st.integers(0, 999), st.text(max_size=3000))
def test_any_text_becomes_a_reply_of_bounded_length(code: int, text: str) -> None:
    reply = parse_reply(code, text)
    assert len(reply.text) <= 1000
    assert not re.search("[\x00-\x1f\x7f-\x9f]", reply.text)
    assert classify(reply) in ReplyClass
    assert classify(read_reply(text)) in ReplyClass


@pytest.mark.parametrize(
    ("text", "code", "enhanced"),
    [
        ("host mx.example.com[192.0.2.1] said: 550 5.1.1 No such user (in reply to RCPT TO command)", 550, "5.1.1"),
        ("smtp; 452-4.2.2 over quota", 452, "4.2.2"),
        ("no mailbox here by that name (#5.1.1)", 500, "5.1.1"),
        ("connect to mx.example.com[192.0.2.1]:25: Connection timed out", 0, None),
    ],
)
def test_a_reply_is_found_in_prose(text: str, code: int, enhanced: str | None) -> None:
    reply = read_reply(text)
    assert (reply.code, reply.enhanced) == (code, enhanced)


@pytest.mark.parametrize(
    ("reply", "phase", "expected"),
    [
        ("550 5.1.1 The address you mailed does not exist", "rcpt", "invalid_mailbox"),
        ("550 No such user", "rcpt", "invalid_mailbox"),
        ("550 Mailbox unavailable", "rcpt", "invalid_mailbox"),
        ("554 This user is not known here", "dot", "invalid_mailbox"),
        ("550 5.1.1", "rcpt", "invalid_mailbox"),
        ("550 Utente sconosciuto", "rcpt", "invalid_mailbox"),
        ("550 Empfänger unbekannt", "rcpt", "invalid_mailbox"),
        ("550 5.1.2 Domain not found", "rcpt", "invalid_domain"),
        ("556 5.1.10 Recipient domain has null MX", "rcpt", "invalid_domain"),
        ("552 5.2.2 Sorry", "rcpt", "mailbox_full"),
        ("452 The inbox of this customer is full", "rcpt", "mailbox_full"),
        ("550 5.2.1 Mailbox has been suspended", "rcpt", "mailbox_disabled"),
        ("550 This account was closed by its owner", "rcpt", "mailbox_disabled"),
        ("552 5.3.4 No", "dot", "too_large"),
        ("552 Message exceeds the maximum size", "mail", "policy"),
        ("554 Message too large", "dot", "too_large"),
        ("451 4.7.1 Greylisted, come back in five minutes", "rcpt", "transient"),
        ("421 Too many connections from you", "greeting", "transient"),
        ("450 4.2.0 Busy", "rcpt", "transient"),
        ("451 Local error in processing", "dot", "transient"),
        ("550 5.7.1 Message identified as spam", "dot", "policy"),
        ("554 5.7.1 Sender address rejected: user unknown", "mail", "policy"),
        ("550 Your host is listed at bl.example.net", "rcpt", "policy"),
        ("550 5.7.26 DMARC", "dot", "policy"),
        ("554 Relay access denied", "rcpt", "policy"),
        ("550 no such user", "greeting", "policy"),
        ("450 no such user", "mail", "transient"),
        ("550", "rcpt", "policy"),
        ("450", "rcpt", "transient"),
    ],
)
def test_general_rules(reply: str, phase: str, expected: str) -> None:
    code, _, text = reply.partition(" ")
    assert classify(parse_reply(int(code), text), phase) == expected


def test_only_what_says_the_address_is_dead_suppresses() -> None:
    assert {kind for kind in ReplyClass if kind.suppresses} == {ReplyClass.INVALID_MAILBOX, ReplyClass.INVALID_DOMAIN}


@pytest.mark.parametrize(
    "piece", ["user ", "! ", "!", "user!", "a@", "http://", "no longer ", "mail ", "[1", "user a-b ", "for more information"]
)
def test_no_text_takes_long(piece: str) -> None:
    started = time.perf_counter()
    classify(Reply(550, None, (piece * 1000)[:1000]))
    assert time.perf_counter() - started < 0.2


@pytest.mark.parametrize(
    ("expected", "diagnostic"),
    [
        ("invalid_mailbox", "550 5.1.1 RESOLVER.ADR.RecipNotFound; not found"),
        ("invalid_mailbox", "550 5.1.10 RESOLVER.ADR.RecipientNotFound; Recipient not found by SMTP address lookup"),
        ("invalid_mailbox", "550 Invalid recipient <ada@example.com>"),
        ("invalid_mailbox", "554 delivery error: dd This user doesn't have a example.com account (ada@example.com) [-5]"),
        ("invalid_mailbox", "550 Recipient not found. <ada@example.com>"),
        ("invalid_mailbox", "511 sorry, no mailbox here by that name (#5.1.1 - chkuser)"),
        ("invalid_mailbox", "550 5.1.1 User doesn't exist: ada@example.com"),
        ("invalid_mailbox", "550 Requested action not taken: mailbox unavailable"),
        ("invalid_mailbox", "553 5.3.0 <ada@example.com>... No such user here"),
        ("invalid_mailbox", "550-Callout verification failed: 550 550 unknown user"),
        ("invalid_mailbox", "550 <ada@example.com>: Recipient address rejected: User unknown in virtual mailbox table"),
        ("invalid_mailbox", "550 address rejected: unknown recipient"),
        ("invalid_mailbox", "mailbox name not allowed"),
        ("invalid_mailbox", "550 #5.1.0 Address rejected. ada@example.com"),
        ("invalid_mailbox", "550 Not a valid recipient"),
        ("invalid_mailbox", "The e-mail address was not found at the destination domain"),
        ("invalid_mailbox", "550 no such address here"),
        ("invalid_mailbox", "550 Unrouteable address"),
        ("invalid_mailbox", "550 5.1.6 recipient no longer on server"),
        ("invalid_mailbox", "User ada@example.com does not exist"),
        ("invalid_mailbox", "550 Dieser Benutzer ist nicht bekannt: Empfänger unbekannt"),
        ("invalid_mailbox", "550 5.1.1 unknown or illegal alias: ada@example.com"),
        ("invalid_mailbox", "User not listed in public Name & Address Book"),
        ("invalid_mailbox", "554 5.1.1 Mailbox does not exist"),
        ("invalid_mailbox", "The recipient's email address is incorrect"),
        ("invalid_mailbox", "5.1.1 (bad destination mailbox address)"),
        ("invalid_domain", "Host or domain name not found. Name service error for name=example.com type=A: Host not found"),
        ("invalid_domain", "550 5.1.2 <ada@example.invalid>... Host unknown (Name server: example.invalid: host not found)"),
        ("invalid_domain", "DNS Error: Domain name not found"),
        ("invalid_domain", "Domain example.com does not accept mail (nullMX)"),
        ("invalid_domain", 'Unrouteable mail domain "example.com"'),
        ("invalid_domain", "all relevant MX records point to non-existent hosts"),
        ("invalid_domain", "556 5.1.10 Domain does not accept mail: nullMX"),
        ("invalid_domain", "Sorry, I couldn't find any host named example.com. (#5.1.2)"),
        ("invalid_domain", "DNS domain 'example.com' does not exist"),
        ("mailbox_full", "552 5.2.2 Over quota"),
        ("mailbox_full", "550 5.2.2 STOREDRV.Deliver: mailbox full"),
        ("mailbox_full", "452 4.2.2 The email account that you tried to reach is over quota"),
        ("mailbox_full", "The user's mailbox has exceeded its quota"),
        ("mailbox_full", "552 Quota violation for ada@example.com"),
        ("mailbox_full", "Account ada@example.com is full"),
        ("mailbox_full", "552 RCPT TO:<ada@example.com> Mailbox disk quota exceeded"),
        ("mailbox_full", "mailbox size limit exceeded"),
        ("mailbox_full", "Message rejected. Not enough storage space in user's mailbox to accept message."),
        ("mailbox_full", "Benutzer hat zuviele Mails auf dem Server: Postfach ist voll"),
        ("mailbox_full", "user has exhausted allowed storage space"),
        ("mailbox_full", "The recipient's mailbox is full and can't accept messages now"),
        ("mailbox_full", "this person's account is exceeding their quota"),
        ("mailbox_full", "Boîte du destinataire pleine"),
        ("mailbox_disabled", "550 5.2.1 The email account that you tried to reach is disabled"),
        ("mailbox_disabled", "550 Mailbox is frozen. See http://support.example.com"),
        ("mailbox_disabled", "550 5.7.1 Recipient is suspended"),
        ("mailbox_disabled", "550 account is inactive"),
        ("mailbox_disabled", "550 This mailbox is disabled (554.30)"),
        ("mailbox_disabled", "550 Recipient account is suspended"),
        ("transient", "451 4.3.0 Mail server temporarily rejected message"),
        ("transient", "delivery temporarily suspended: connect to mx.example.com[192.0.2.1]:25: Connection refused"),
        ("transient", "retry time not reached for any host after a long failure period"),
        ("transient", "451 Temporary local problem - please try later"),
        ("transient", "450 4.7.1 <ada@example.com>: Recipient address rejected: Greylisted"),
        ("transient", "421 4.4.2 Connection dropped due to SocketError"),
        ("transient", "554 5.4.6 Hop count exceeded - possible mail loop"),
        ("transient", "554 5.4.0 Too many hops"),
        ("transient", "host mx.example.com [192.0.2.1]: Connection timed out"),
        ("transient", "4.4.7 Delivery time expired"),
        ("transient", "452 4.3.1 Insufficient system storage"),
        ("transient", "Cannot send message for 5 days"),
        ("transient", "mail for example.com loops back to myself"),
        ("transient", "lost connection with mx.example.com[192.0.2.1] while sending RCPT TO"),
        ("transient", "554 5.4.14 Hop count exceeded - possible mail loop ATTR34"),
        ("transient", "local configuration error"),
        ("transient", "451 4.4.1 reply: read error from mx.example.com"),
        ("policy", "550 5.7.1 Service unavailable; client [192.0.2.1] blocked using zen.spamhaus.org"),
        ("policy", "550 5.7.1 Our system has detected that this message is likely unsolicited mail."),
        ("policy", "554 Message rejected because of unacceptable content"),
        ("policy", "550 5.7.1 Unable to relay for ada@example.com"),
        ("policy", "550 5.7.64 TenantAttribution; Relay Access Denied"),
        ("policy", "553 sorry, that domain isn't in my list of allowed rcpthosts (#5.7.1)"),
        ("policy", "550 5.7.1 RESOLVER.RST.AuthRequired; authentication required"),
        ("policy", "554 5.7.5 Permanent Error Evaluating DMARC Policy"),
        ("policy", "550 High probability of spam"),
        ("policy", "554 Your access to this mail system has been rejected due to the sending MTA's poor reputation."),
        ("policy", "550 Message was not accepted -- invalid mail. Local mailbox unavailable: user not found"),
        ("policy", "554 5.7.1 <ada@example.com>: Recipient address rejected: Access denied by policy"),
        ("policy", "550 permanent failure for one or more recipients (ada@example.com:blocked)"),
        ("policy", "552 5.7.0 This message was blocked because its content presents a potential security issue."),
        ("policy", "550 You are not allowed to send mail to this group"),
        ("policy", "571 Delivery not authorized, message refused"),
        ("policy", "550 Sender verify failed"),
        ("policy", "550 5.7.1 Message rejected due to content restrictions"),
        ("policy", "The message was rejected by the recipient's organization's content filter"),
        ("policy", "554 5.7.1 You are not allowed to connect."),
        ("policy", "550 Administrative prohibition"),
        ("policy", "550 IP 192.0.2.1 is locally blacklisted"),
        ("too_large", "552 5.3.4 Message size exceeds fixed limit"),
        ("too_large", "552 5.2.3 Message length exceeds administrative limit"),
        ("too_large", "message too large"),
        ("too_large", "5.2.3 RESOLVER.RST.RecipSizeLimit; message too large for this recipient"),
        ("too_large", "552 Message size exceeds maximum permitted"),
        ("too_large", "The message exceeds the maximum incoming message size"),
        ("too_large", "552 5.3.4 Message too big"),
    ],
)
def test_turns_of_phrase_of_many_hosts(expected: str, diagnostic: str) -> None:
    assert classify_reported(diagnostic, "5.0.0", "") == expected


@pytest.mark.parametrize(
    ("diagnostic", "status", "notice", "expected"),
    [
        ("", "5.1.1", "", "invalid_mailbox"),
        ("", "5.2.2", "no such user", "mailbox_full"),  # a code that is never careless
        ("550 rejected", "5.0.0", "The mailbox of this user is full.", "mailbox_full"),
        ("", "5.0.0", "host mx said: 550 no such user\nYour mail is important.", "invalid_mailbox"),
        ("", "4.0.0", "It will be tried again.", "transient"),
        ("", "", "Sorry.", "policy"),
        ("refused to talk to me: 554 no", "5.0.0", "user unknown", "policy"),  # before any recipient was named
    ],
)
def test_the_particular_goes_before_the_general(diagnostic: str, status: str, notice: str, expected: str) -> None:
    assert classify_reported(diagnostic, status, notice) == expected
