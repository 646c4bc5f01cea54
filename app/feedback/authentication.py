"""Is a mail that came in from whom it says? SPF (RFC 7208), DKIM (RFC 6376), and DMARC (RFC 9989) over both.

Information for the account, no reason to refuse: what each says is told, and what DMARC's policy asks for is told beside it. All look-ups
together have a time; what is not known by then is `temperror`. The organisational domain is found by the walk up the tree, which asks the
DNS itself, and needs no list of public suffixes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from app.feedback.spf import check_host
from app.mail import dmarc
from app.mail.address import domain_of, normalise_domain
from app.mail.dkim_verify import find_signatures, read_tags, verify_signature
from app.mail.inbound_trace import Origin, head_of
from app.mail.spf import Result
from app.resolver import Found, Lack, Missing, Resolver

SECONDS = 10.0
_MOST_SIGNATURES = 5
# A signature over the whole takes up to 40 ms for each megabyte.
_LARGE_BYTES = 4 * 1024 * 1024
_MOST_SIGNATURES_OF_LARGE = 2


@dataclass(frozen=True, slots=True)
class SignatureVerdict:
    result: Result
    domain: str
    selector: str
    reason: str


@dataclass(slots=True)
class Verdicts:
    """What is known so far."""

    spf: Result = Result.TEMPERROR
    spf_domain: str = ""
    signatures: list[SignatureVerdict] = field(default_factory=list)
    dkim: Result = Result.TEMPERROR
    dmarc: Result = Result.TEMPERROR
    dmarc_domain: str = ""
    policy: str | None = None

    def as_facts(self) -> dict[str, Any]:
        """As it is stored and shown."""
        signatures = [{"result": s.result.value, "domain": s.domain, "selector": s.selector, "reason": s.reason} for s in self.signatures]
        return {
            "spf": {"result": self.spf.value, "domain": self.spf_domain},
            "dkim": {"result": self.dkim.value, "signatures": signatures},
            "dmarc": {"result": self.dmarc.value, "domain": self.dmarc_domain, "policy": self.policy},
        }


async def authenticate(resolver: Resolver, origin: Origin, authors: Sequence[str], raw: bytes, seconds: float = SECONDS) -> Verdicts:
    """What the three say of a mail. `authors` are the mailboxes of From."""
    verdicts = Verdicts()
    verdicts.spf_domain = (domain_of(origin.sender) if origin.sender else origin.helo).lower().rstrip(".")
    try:
        async with asyncio.timeout(seconds):
            await asyncio.gather(_judge_spf(resolver, origin, verdicts), _judge_dkim(resolver, raw, verdicts))
            await _judge_dmarc(resolver, authors, verdicts)
    except TimeoutError:
        pass  # what is not known stands as temperror
    return verdicts


async def _judge_spf(resolver: Resolver, origin: Origin, verdicts: Verdicts) -> None:
    # RFC 7208 §2.4: mail without a sender is from the postmaster of the host's own name.
    sender = origin.sender or f"postmaster@{origin.helo}"
    verdicts.spf = await check_host(resolver, origin.client_ip, verdicts.spf_domain, sender, origin.helo)


async def _judge_dkim(resolver: Resolver, raw: bytes, verdicts: Verdicts) -> None:
    most = _MOST_SIGNATURES if len(raw) <= _LARGE_BYTES else _MOST_SIGNATURES_OF_LARGE
    fields = find_signatures(head_of(raw))[:most]
    names = [(tags.get("s", ""), tags.get("d", "").lower()) for tags in map(read_tags, fields)]
    answers = await asyncio.gather(*(resolver.txt(f"{selector}._domainkey.{domain}") for selector, domain in names))
    keys = {name: answer.records[0] for name, answer in zip(names, answers, strict=True) if isinstance(answer, Found)}
    away = {name for name, answer in zip(names, answers, strict=True) if isinstance(answer, Missing) and answer.lack is Lack.FAILED}
    for number, value in enumerate(fields):
        seen = await asyncio.to_thread(verify_signature, raw, number, value, lambda selector, domain: keys.get((selector, domain.lower())))
        name = (seen.selector, seen.domain.lower())
        result = Result.PASS if seen.passed else Result.TEMPERROR if name in away else Result.FAIL
        verdicts.signatures.append(SignatureVerdict(result, seen.domain.lower(), seen.selector, seen.reason))
    verdicts.dkim = _best([one.result for one in verdicts.signatures])


def _best(results: Sequence[Result]) -> Result:
    """One signature that verifies is enough (RFC 6376 §6.1)."""
    return next((one for one in (Result.PASS, Result.TEMPERROR, Result.FAIL) if one in results), Result.NONE)


async def _judge_dmarc(resolver: Resolver, authors: Sequence[str], verdicts: Verdicts) -> None:
    domains = {domain_of(author) for author in authors}
    if len(domains) != 1:  # RFC 9989 §5.3.1: whose policy would it be?
        verdicts.dmarc = Result.PERMERROR
        return
    domain = verdicts.dmarc_domain = domains.pop()
    try:
        found = await _walk(resolver, domain)
        organisation = dmarc.choose_organisation(domain, found)
        record, policy = _applied(domain, organisation, found)
        if record is None:
            verdicts.dmarc = Result.NONE
            return
        verdicts.policy = policy
        verdicts.dmarc = await _align(resolver, domain, organisation, record, verdicts)
    except _Away:
        verdicts.dmarc = Result.TEMPERROR


def _applied(domain: str, organisation: str, found: Sequence[tuple[str, dmarc.Record]]) -> tuple[dmarc.Record | None, str | None]:
    """The record that holds for a domain, and what it asks for: its own, or its organisation's, or the public suffix's above that."""
    there = dict(found)
    if (own := there.get(domain)) is not None:
        return own, own.policy
    above = there.get(organisation) or (found[-1][1] if found else None)
    return (above, above.subdomain_policy) if above is not None else (None, None)


async def _align(resolver: Resolver, domain: str, organisation: str, record: dmarc.Record, verdicts: Verdicts) -> Result:
    """Whether something that passes is of the author's domain (RFC 9989 §4.4)."""
    passed = [(one.domain, record.strict_dkim) for one in verdicts.signatures if one.result is Result.PASS]
    if verdicts.spf is Result.PASS:
        passed.append((verdicts.spf_domain, record.strict_spf))
    for one, is_strict in passed:
        if one == domain or (not is_strict and await _is_of(resolver, one, organisation)):
            return Result.PASS
    # It might have passed, had the DNS been there.
    is_open = verdicts.spf is Result.TEMPERROR or any(one.result is Result.TEMPERROR for one in verdicts.signatures)
    return Result.TEMPERROR if is_open else Result.FAIL


async def _is_of(resolver: Resolver, domain: str, organisation: str) -> bool:
    if domain == organisation:
        return True
    if not domain.endswith(f".{organisation}"):
        return False
    return dmarc.choose_organisation(domain, await _walk(resolver, domain)) == organisation


class _Away(Exception):
    """The DNS did not answer."""


async def _walk(resolver: Resolver, domain: str) -> list[tuple[str, dmarc.Record]]:
    """The records from a domain up (RFC 9989 §4.10)."""
    try:
        normalise_domain(domain)
    except ValueError:
        return []
    found: list[tuple[str, dmarc.Record]] = []
    for name in dmarc.walk(domain):
        answer = await resolver.txt(f"_dmarc.{name}")
        if isinstance(answer, Missing):
            if answer.lack is Lack.FAILED:
                raise _Away
            continue
        record = dmarc.read_record(answer.records)
        if record is not None:
            found.append((name, record))
            if record.psd != "u" and (record.psd == "n" or name != domain):
                break
    return found
