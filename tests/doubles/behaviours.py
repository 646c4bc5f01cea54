"""Behaviours of receiving sites, by name: how each is made of the doubles, and what is to become of the mail to it.

Each is a domain below `bad.test` with a site and an address of its own; the sink, the name server and the providers' file get one script
made of all. Faults before a recipient is known are told apart by the address that was dialled, the others by the recipient's domain.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.doubles.sink import DEFAULT_OFFER
from tests.doubles.sink_script import FAULTS

ZONE = "bad.test"
RELAY = "relay.test"  # the HELO name of the house
DELIVERED, BOUNCED, EXPIRED = "delivered", "bounced", "expired"

_BEFORE_RECIPIENTS = ("connect", "ehlo", "starttls", "idle")
_TLS = (*DEFAULT_OFFER, "STARTTLS")
_NO_UTF8 = tuple(word for word in DEFAULT_OFFER if word != "SMTPUTF8")
_MANY = 12


@dataclass(frozen=True, slots=True)
class Behaviour:
    """One way of receiving. `says`: what must stand in the last reply or the reason of every recipient."""

    name: str
    state: str
    rules: tuple[Mapping[str, Any], ...] = ()
    says: str = ""
    offer: Sequence[str] | None = None
    tls: str = ""  # asked of its domain in the providers' file
    zone: Mapping[str, Any] | str | None = None  # instead of an MX at its own address
    domain_name: str = ""
    local: str = "customer"  # eight characters
    beside: str = ""  # the local part of another recipient, at the domain that takes everything
    unsure: bool = False  # the final dot was sent once and not answered: it must be marked so
    dead_addresses: int = 0  # of its MX hosts, the first ones
    others: Mapping[str, Any] = field(default_factory=dict)  # zones of its hosts


def _fault(name: str, **conditions: Any) -> dict[str, Any]:
    return {"fault": name, **conditions}


def _once(name: str) -> tuple[dict[str, Any], ...]:
    return (_fault(name, times_each=1),)


# Seconds are those of a house with a hundredth of RFC 5321's patience: 4 s stand for 400 s of the 600 that a final dot may take.
BEHAVIOURS: tuple[Behaviour, ...] = (
    # the DNS
    Behaviour("null MX", BOUNCED, says="null MX", zone={"MX": [[0, "."]]}),
    Behaviour("no such domain", BOUNCED, says="does not exist", zone="NXDOMAIN"),
    Behaviour("SERVFAIL", EXPIRED, says="look-up", zone="SERVFAIL"),
    Behaviour("no answer from the DNS", EXPIRED, says="timed out", zone="TIMEOUT"),
    Behaviour("MX without an address", BOUNCED, says="has an address", zone={"MX": [[10, f"nowhere.{ZONE}"]]}),
    Behaviour("MX is an address", BOUNCED, says="is an address", zone={"MX": [[10, "192.0.2.1"]]}),
    Behaviour("MX leads to special addresses", BOUNCED, says="no public address", zone={"MX": [[10, "any.test"], [20, "link.test"]]}),
    Behaviour("MX leads back to us", BOUNCED, says="leads back", zone={"MX": [[10, RELAY]]}),
    Behaviour("MX is another name of a host", DELIVERED, zone={"MX": [[10, "alias.{name}"]]}),
    Behaviour("no MX, an address", DELIVERED, zone={}),
    Behaviour("twelve MX, five of them dead", DELIVERED, dead_addresses=5),
    Behaviour("first MX dead", DELIVERED, dead_addresses=1),
    # opening a connection
    Behaviour("connection refused", EXPIRED, zone={"AAAA": ["::1"]}),
    Behaviour("reset at connect", EXPIRED, (_fault("connect_reset"),)),
    Behaviour("closed at connect, for a while", DELIVERED, (_fault("connect_close", lasts=0.2),)),
    Behaviour("421 at connect", EXPIRED, (_fault("banner_421"),), says="too busy"),
    Behaviour("421 at connect, for a while", DELIVERED, (_fault("banner_421", lasts=0.2),)),
    Behaviour("554 at connect", BOUNCED, (_fault("banner_554"),), says="no mail from your address"),
    Behaviour("banner after three minutes", DELIVERED, (_fault("banner_slow", seconds=1.8),)),
    Behaviour("banner never", EXPIRED, (_fault("banner_never"),), says="timed out"),
    Behaviour("banner is garbage", EXPIRED, (_fault("banner_garbage"),)),
    Behaviour("banner of many lines", DELIVERED, (_fault("banner_multiline"),)),
    Behaviour("EHLO unknown", DELIVERED, (_fault("ehlo_502"),)),
    Behaviour("421 to EHLO", EXPIRED, (_fault("ehlo_421"),), says="shutting down"),
    Behaviour("550 to EHLO", BOUNCED, (_fault("ehlo_550"),), says="do not like your name"),
    Behaviour("reset at EHLO, for a while", DELIVERED, (_fault("ehlo_drop", lasts=0.2),)),
    # TLS
    Behaviour("TLS with any certificate", DELIVERED, offer=_TLS),
    Behaviour("handshake is garbage", DELIVERED, (_fault("starttls_broken"),), offer=_TLS),
    Behaviour("reset in the handshake", DELIVERED, (_fault("starttls_drop"),), offer=_TLS),
    Behaviour("454 to STARTTLS", DELIVERED, (_fault("starttls_454"),), offer=_TLS),
    Behaviour("words injected before TLS", DELIVERED, (_fault("starttls_injected"),), offer=_TLS),
    Behaviour("TLS required, and there", DELIVERED, offer=_TLS, tls="required"),
    Behaviour("TLS required, not offered", EXPIRED, says="does not offer it", tls="required"),
    Behaviour("TLS required, refused", EXPIRED, (_fault("starttls_454"),), says="refused it: 454", offer=_TLS, tls="required"),
    Behaviour("TLS required, broken", EXPIRED, (_fault("starttls_broken"),), says="handshake failed", offer=_TLS, tls="required"),
    Behaviour("certificate of a stranger", EXPIRED, says="certificate", offer=_TLS, tls="verify"),
    # the envelope
    Behaviour("421 after four messages", DELIVERED, (_fault("mail_421", after_transactions=4),)),
    Behaviour("451 to MAIL, once each", DELIVERED, _once("mail_451")),
    Behaviour("550 to MAIL", BOUNCED, (_fault("mail_550"),), says="sender refused"),
    Behaviour("reset at MAIL, once each", DELIVERED, _once("mail_drop")),
    Behaviour("MAIL never answered", EXPIRED, (_fault("mail_never"),), says="timed out"),
    Behaviour("greylisted, 450 once each", DELIVERED, _once("rcpt_450")),
    Behaviour("greylisted, 451 twice each", DELIVERED, (_fault("rcpt_451", times_each=2),)),
    Behaviour("450 for ever", EXPIRED, (_fault("rcpt_450"),), says="greylisted"),
    Behaviour("421 to RCPT, once each", DELIVERED, _once("rcpt_421")),
    Behaviour("550 to RCPT", BOUNCED, (_fault("rcpt_550"),), says="no such user"),
    Behaviour("550 of many lines", BOUNCED, (_fault("rcpt_multiline"),), says="does not exist. Learn more"),
    Behaviour("552 mailbox full", BOUNCED, (_fault("rcpt_552"),), says="mailbox full"),
    Behaviour("garbage to RCPT", EXPIRED, (_fault("rcpt_garbage"),), says="not an SMTP reply"),
    Behaviour("RCPT refused, DATA taken", BOUNCED, (_fault("rcpt_550_then_354"),), says="no such user"),
    Behaviour("RCPT after two minutes", DELIVERED, (_fault("rcpt_slow", seconds=1.2),)),
    Behaviour("no PIPELINING", DELIVERED, offer=("8BITMIME", "SIZE 36700160", "SMTPUTF8")),
    # the body and the final dot
    Behaviour("421 to DATA, once each", DELIVERED, _once("data_421")),
    Behaviour("554 to DATA", BOUNCED, (_fault("data_554"),), says="no data wanted"),
    Behaviour("250 where 354 belongs", EXPIRED, (_fault("data_250"),), says="unexpected reply"),
    Behaviour("reset in the body, once each", DELIVERED, _once("body_drop"), unsure=True),
    Behaviour("451 after the dot, once each", DELIVERED, _once("dot_451")),
    Behaviour("421 after the dot, once each", DELIVERED, _once("dot_421")),
    Behaviour("554 after the dot", BOUNCED, (_fault("dot_554"),), says="looks like spam"),
    Behaviour("reset after the dot, once each", DELIVERED, _once("dot_drop"), unsure=True),
    Behaviour("closed after the dot, once each", DELIVERED, _once("dot_close"), unsure=True),
    Behaviour("dot never answered, once each", DELIVERED, _once("dot_never"), unsure=True),
    Behaviour("dot answered after seven minutes", DELIVERED, (_fault("dot_slow", seconds=4.2),)),
    Behaviour("garbage after the dot, once each", DELIVERED, _once("dot_garbage"), unsure=True),
    Behaviour("no code after the dot, once each", DELIVERED, _once("dot_codeless"), unsure=True),
    Behaviour("yes in many lines", DELIVERED, (_fault("dot_multiline"),)),
    Behaviour("yes, and the line drops", DELIVERED, (_fault("dot_then_drop"),)),
    Behaviour("421 when idle", DELIVERED, (_fault("idle_421", seconds=0.05),)),
    # what is offered
    Behaviour("SIZE too small", BOUNCED, says="at most 1000 bytes", offer=("PIPELINING", "SIZE 1000")),
    Behaviour("no 8BITMIME", DELIVERED, offer=("PIPELINING", "SMTPUTF8")),
    Behaviour("SMTPUTF8 mailbox", DELIVERED, local="custömer"),
    Behaviour("SMTPUTF8 mailbox, not offered", BOUNCED, says="does not offer SMTPUTF8", offer=_NO_UTF8, local="custömer"),
    Behaviour("SMTPUTF8 in a header, not offered", DELIVERED, offer=_NO_UTF8, beside="custömer"),
    Behaviour("international domain, no SMTPUTF8", DELIVERED, offer=_NO_UTF8, domain_name=f"bücher.{ZONE}"),
)

_PLACE = {behaviour.name: place for place, behaviour in enumerate(BEHAVIOURS, 1)}


def domain_of(behaviour: Behaviour) -> str:
    """As it stands in an address; what is kept has A-labels (`label_of`)."""
    return behaviour.domain_name or f"b{_PLACE[behaviour.name]:02}.{ZONE}"


def label_of(behaviour: Behaviour) -> str:
    return domain_of(behaviour).encode("idna").decode()


def address_of(behaviour: Behaviour, host: int = 0) -> str:
    return f"127.9.{_PLACE[behaviour.name]}.{host + 1}"


def script_of(behaviours: Iterable[Behaviour], age_seconds: float) -> dict[str, Any]:
    """The sink's script; `lasts` in the table is a part of the age at which mail is given up."""
    rules: list[dict[str, Any]] = []
    offers: dict[str, list[str]] = {}
    for behaviour in behaviours:
        for rule in behaviour.rules:
            early = FAULTS[rule["fault"]].phase in _BEFORE_RECIPIENTS
            lasts = {"lasts": rule["lasts"] * age_seconds} if "lasts" in rule else {}
            rules.append({**rule, **lasts, **({"address": address_of(behaviour)} if early else {"domain": label_of(behaviour)})})
        rules += [_fault("connect_reset", address=address_of(behaviour, host)) for host in range(1, behaviour.dead_addresses + 1)]
        if behaviour.offer is not None:
            offers[address_of(behaviour)] = list(behaviour.offer)
    return {"rules": rules, "offers": offers}


def zones_of(behaviours: Iterable[Behaviour]) -> dict[str, Any]:
    """The name server's zones, with a healthy site for every domain under .example and one that takes everything."""
    zones: dict[str, Any] = {
        "*.example": {"MX": [[10, "mx.{name}"]], "A": ["127.0.0.1"], "ttl": 3600},
        f"fine.{ZONE}": {"MX": [[10, f"mx.fine.{ZONE}"]]},
        f"mx.fine.{ZONE}": {"A": ["127.9.0.1"]},
        "any.test": {"A": ["0.0.0.0"]},
        "link.test": {"A": ["169.254.169.254"]},
        RELAY: {"A": ["127.9.0.2"]},
    }
    for behaviour in behaviours:
        label, address = label_of(behaviour), address_of(behaviour)
        zones[f"mx.{label}"] = {"A": [address]}
        zones[f"alias.{label}"] = {"CNAME": f"mx.{label}"}
        if behaviour.dead_addresses:
            hosts = max(behaviour.dead_addresses + 1, _MANY if behaviour.dead_addresses > 1 else 2)
            zones |= {f"mx{host}.{label}": {"A": [address_of(behaviour, host)]} for host in range(1, hosts)}
            zones[label] = {"MX": [*([host, f"mx{host}.{label}"] for host in range(1, hosts)), [hosts, f"mx.{label}"]]}
        elif behaviour.zone is None:
            zones[label] = {"MX": [[10, f"mx.{label}"]]}
        elif behaviour.zone == {}:
            zones[label] = {"A": [address]}
        else:
            zones[label] = behaviour.zone
    return zones


def providers_of(behaviours: Iterable[Behaviour]) -> str:
    """The providers' file."""
    entries = [(domain_of(behaviour), behaviour.tls) for behaviour in behaviours if behaviour.tls]
    return "".join(f"[{json.dumps(domain)}]\ndomains = [{json.dumps(domain)}]\ntls = {json.dumps(tls)}\n" for domain, tls in entries)


def recipients_of(behaviour: Behaviour, number: int) -> list[str]:
    """To whom message `number` to it goes; ten digits stand where a load's do, so that logs are read alike."""
    addresses = [f"{behaviour.local}{number:010}@{domain_of(behaviour)}"]
    return addresses + ([f"{behaviour.beside}{number:010}@fine.{ZONE}"] if behaviour.beside else [])
