"""Whether a host may send for a domain (RFC 7208): the record is followed through the DNS, within its limits."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

from app.mail.spf import Asker, BadRecord, Record, Result, Term, expand, is_record, read_record
from app.resolver import Found, Lack, Missing, Resolver

_MOST_TERMS = 10  # RFC 7208 §4.6.4: that ask the DNS
_MOST_VOID = 2  # answers that say there is nothing
_MOST_NAMES = 10


class _Broken(Exception):
    """The answer is this, whatever else the record says."""

    def __init__(self, result: Result) -> None:
        super().__init__(result.value)
        self.result = result


@dataclass(slots=True)
class _Question:
    resolver: Resolver
    asker: Asker
    terms: int = 0
    void: int = 0

    def count_term(self) -> None:
        self.terms += 1
        if self.terms > _MOST_TERMS:
            raise _Broken(Result.PERMERROR)

    def heed(self, missing: Missing) -> None:
        """Nothing was found: an error of the DNS, or one more answer that is empty."""
        if missing.lack is Lack.FAILED:
            raise _Broken(Result.TEMPERROR)
        self.void += 1
        if self.void > _MOST_VOID:
            raise _Broken(Result.PERMERROR)


async def check_host(resolver: Resolver, ip: str, domain: str, sender: str, helo: str) -> Result:
    """RFC 7208 §4: what the domain says of mail from this address; `sender` is local@domain."""
    question = _Question(resolver, Asker(ipaddress.ip_address(ip), sender, helo))
    try:
        return await _check(question, domain.lower().rstrip("."))
    except _Broken as broken:
        return broken.result


async def _check(question: _Question, domain: str) -> Result:
    labels = domain.split(".")
    if len(labels) < 2 or len(domain) > 253 or not all(0 < len(label) < 64 for label in labels):
        return Result.NONE
    answer = await question.resolver.txt(domain)
    if isinstance(answer, Missing):
        if answer.lack is Lack.FAILED:
            raise _Broken(Result.TEMPERROR)
        return Result.NONE
    records = [text for text in answer.records if is_record(text)]
    if not records:
        return Result.NONE
    try:
        if len(records) > 1:
            raise BadRecord("two records")
        record = read_record(records[0])
    except BadRecord as error:
        raise _Broken(Result.PERMERROR) from error
    return await _follow(question, domain, record)


async def _follow(question: _Question, domain: str, record: Record) -> Result:
    for term in record.terms:
        if await _matches(question, domain, term):
            return term.result
    if record.redirect:
        question.count_term()
        result = await _check(question, expand(record.redirect, question.asker, domain))
        if result is Result.NONE:
            raise _Broken(Result.PERMERROR)
        return result
    return Result.NEUTRAL


async def _matches(question: _Question, domain: str, term: Term) -> bool:
    if term.name == "all":
        return True
    if term.network is not None:
        return question.asker.ip in term.network
    question.count_term()
    name = expand(term.domain, question.asker, domain) if term.domain else domain
    match term.name:
        case "include":
            result = await _check(question, name)
            if result is Result.NONE:  # RFC 7208 §5.2
                raise _Broken(Result.PERMERROR)
            return result is Result.PASS
        case "a":
            return _is_among(question, term, await _addresses(question, name))
        case "mx":
            return await _is_exchange(question, term, name)
        case "ptr":
            return await _is_named(question, name)
        case _:  # exists: of an A record, whatever the client has (RFC 7208 §5.7)
            return any("." in address for address in await _addresses(question, name))


async def _is_exchange(question: _Question, term: Term, name: str) -> bool:
    found = await question.resolver.mx(name)
    if isinstance(found, Missing):
        question.heed(found)
        return False
    if len(found.records) > _MOST_NAMES:
        raise _Broken(Result.PERMERROR)
    for _, host in sorted(found.records):
        if host and _is_among(question, term, await _addresses(question, host)):
            return True
    return False


async def _is_named(question: _Question, target: str) -> bool:
    """RFC 7208 §5.5: errors of the DNS are no match here."""
    found = await question.resolver.names(str(question.asker.ip))
    if isinstance(found, Missing):
        return False
    for name in found.records[:_MOST_NAMES]:
        if name != target and not name.endswith(f".{target}"):
            continue
        there = await question.resolver.addresses(name)
        if isinstance(there, Found) and question.asker.ip in map(ipaddress.ip_address, there.records):
            return True
    return False


async def _addresses(question: _Question, name: str) -> tuple[str, ...]:
    found = await question.resolver.addresses(name)
    if isinstance(found, Missing):
        question.heed(found)
        return ()
    return found.records


def _is_among(question: _Question, term: Term, addresses: tuple[str, ...]) -> bool:
    ip = question.asker.ip
    length = term.cidr4 if ip.version == 4 else term.cidr6
    return any(ip in ipaddress.ip_network(f"{one}/{length}", strict=False) for one in addresses if (":" in one) == (ip.version == 6))
