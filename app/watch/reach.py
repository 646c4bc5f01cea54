"""doctor, the world around us: port 25, the name of our address, DNS, the records that were to be published, certificates, the clock.

Addresses of other people's servers are the caller's: a bare connection to one MX, one HTTPS request for a date.
"""

from __future__ import annotations

import asyncio
import contextlib
import email.utils
import ipaddress
import socket
import ssl
import time
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from app.config import Settings
from app.resolver import Found, Lack, Missing, Resolver
from app.watch.findings import Finding, fail, judge_certificate, judge_clock, ok, skip, warn

PATIENCE_SECONDS = 10.0
_MOST_DOMAINS = 500
_AT_ONCE = 20
_MOST_NAMED = 3


async def check_resolver(resolver: Resolver, well_known_domain: str) -> list[Finding]:
    found = await resolver.mx(well_known_domain)
    if isinstance(found, Missing):
        todo = "mend /etc/resolv.conf or STAFFETTA_DNS_SERVERS: without DNS all mail waits"
        return [fail("resolver", f"the MX of {well_known_domain} cannot be found: {found.text}", todo)]
    if not await resolver.validates():
        todo = "run a validating resolver (unbound) on this machine: answers are believed as they come"
        return [warn("resolver", "DNS answers, and nobody checks DNSSEC", todo)]
    return [ok("resolver", "DNS answers, checked by DNSSEC")]


async def check_smtp(resolver: Resolver, settings: Settings, well_known_domain: str) -> list[Finding]:
    """A greeting from the smarthost, or from one MX of a domain that is always there."""
    if settings.smarthost:
        host, _, port = settings.smarthost.rpartition(":")
        hosts, port_number, check = [host.strip("[]")], int(port), "smarthost"
        todo = "mend STAFFETTA_SMARTHOST, or let this machine reach it"
    else:
        found = await resolver.mx(well_known_domain)
        if isinstance(found, Missing):
            return [warn("port 25", f"not tried: {found.text}", "mend DNS first")]
        hosts, port_number, check = [host for _, host in sorted(found.records)], settings.smtp_port, "port 25"
        todo = "most hosters close port 25 until one asks: ask yours, or set STAFFETTA_SMARTHOST"
    said = ""
    for host in hosts[:2]:
        try:
            greeting = await asyncio.wait_for(_greeting(resolver, host, port_number), PATIENCE_SECONDS)
        except (OSError, TimeoutError) as error:
            said = f"{host} port {port_number}: {str(error) or 'timed out'}"
            continue
        if greeting.startswith("220"):
            return [ok(check, f"{host} greets us")]
        said = f"{host} says: {greeting[:100]}"
    if said.partition("says: ")[2][:1] in {"4", "5"}:
        todo = "the address is refused: look whether it is on a block list, and at its PTR record"
    return [fail(check, said, todo)]


async def _greeting(resolver: Resolver, host: str, port: int) -> str:
    found = await resolver.addresses(host)
    addresses = found.records if isinstance(found, Found) else (host,)
    reader, writer = await asyncio.open_connection(addresses[0], port)
    try:
        return (await reader.readline()).decode("latin-1").strip()
    finally:
        writer.write(b"QUIT\r\n")
        writer.close()


def local_addresses() -> list[str]:
    """The addresses that connections to the outside leave from, as far as this machine knows. Sends nothing."""
    found = []
    for family, far in ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1")):
        with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:  # a kernel without IPv6 makes no such socket
            probe.connect((far, 9))
            found.append(str(probe.getsockname()[0]))
    return found


async def check_helo(resolver: Resolver, settings: Settings, ours: Sequence[str]) -> list[Finding]:
    """The name we say leads to an address of ours, and that address back to the name."""
    name = settings.helo_name
    if settings.smarthost:
        return [skip("helo", "all mail goes to the smarthost")]
    if "." not in name:
        return [
            fail("helo", f"we say {name} in EHLO", "set STAFFETTA_HELO_NAME to the name that the PTR record of this server's address says")
        ]
    found = await resolver.addresses(name)
    if isinstance(found, Missing):
        if found.lack is Lack.FAILED:
            return [_not_told("helo", found.text)]
        return [
            fail("helo", f"{name} has no address: {found.text}", f"publish A (and AAAA) records of {name} with this server's addresses")
        ]
    wrong = []
    for address in found.records:
        names = await resolver.names(address)
        if isinstance(names, Missing) and names.lack is Lack.FAILED:
            return [_not_told("helo", names.text)]
        if not isinstance(names, Found) or name.lower() not in names.records:
            says = ", ".join(names.records) if isinstance(names, Found) else "nothing"
            wrong.append(f"{address} (its PTR says {says})")
    if wrong:
        return [fail("helo", f"{name} is not confirmed by {'; '.join(wrong)}", f"have your hoster set the PTR of that address to {name}")]
    public = [address for address in ours if ipaddress.ip_address(address).is_global]
    strange = [address for address in public if address not in found.records]
    if strange:
        return [
            warn(
                "helo",
                f"mail leaves from {', '.join(strange)}, which {name} does not name",
                f"add it to the addresses of {name}, with a PTR",
            )
        ]
    return [ok("helo", f"{name} and its addresses confirm each other")]


async def check_return_path(resolver: Resolver, settings: Settings) -> list[Finding]:
    """Receivers look whether bounces could reach us, and whether SPF lets us send."""
    domain = settings.return_path_domain
    mx, addresses = await resolver.mx(domain), await resolver.addresses(domain)
    if isinstance(mx, Missing) and isinstance(addresses, Missing):
        if mx.lack is Lack.FAILED:
            return [_not_told("return path", mx.text)]
        return [fail("return path", f"{domain} takes no mail: {mx.text}", f"publish an MX record of {domain} that names this server")]
    texts = await resolver.txt(domain)
    policies = [text for text in texts.records if text.lower().split(" ")[0] == "v=spf1"] if isinstance(texts, Found) else []
    if len(policies) > 1:  # RFC 7208 §4.5
        return [fail("return path", f"{domain} has {len(policies)} SPF records: that is an error to every receiver", "leave one")]
    if not policies:
        return [warn("return path", f"{domain} has no SPF record", f'publish TXT "v=spf1 a:{settings.helo_name} -all" at {domain}')]
    return [ok("return path", f"{domain} takes mail and has an SPF record")]


async def check_dkim(resolver: Resolver, keys: Sequence[Any]) -> list[Finding]:
    """What DNS says of signing keys (name, selector, public_record, signing) is what we sign with."""
    signing = [key for key in keys if key.signing][:_MOST_DOMAINS]
    limit = asyncio.Semaphore(_AT_ONCE)
    unseen: list[str] = []

    async def look(key: Any) -> str | None:
        place = f"{key.selector}._domainkey.{key.name}"
        async with limit:
            found = await resolver.txt(place)
        if isinstance(found, Missing):
            if found.lack is Lack.FAILED:
                unseen.append(found.text)
                return None
            return f"{place} is not published"
        published = ["".join(text.split()) for text in found.records]
        return None if "".join(key.public_record.split()) in published else f"{place} is another key"

    wrong = [said for said in await asyncio.gather(*map(look, signing)) if said]
    if wrong:
        named = "; ".join(wrong[:_MOST_NAMED]) + (" …" if len(wrong) > _MOST_NAMED else "")
        todo = "staffetta domain records ACCOUNT DOMAIN shows what belongs there; mail that fails DKIM is refused or filed as spam"
        return [fail("dkim", f"{len(wrong)} of {len(signing)} records: {named}", todo)]
    if unseen:
        return [_not_told("dkim", f"{len(unseen)} of {len(signing)} records: {unseen[0]}")]
    return [ok("dkim", f"{len(signing)} records are published")]


def _not_told(check: str, why: str) -> Finding:
    """DNS did not answer: neither good nor bad is known, and no record is to be changed for it."""
    return warn(check, f"cannot be told: {why}", "mend DNS first, or ask again: a name server did not answer")


async def check_certificate(settings: Settings, context: ssl.SSLContext | None = None) -> list[Finding]:
    url = urlsplit(settings.public_url)
    if url.scheme != "https":
        todo = "put a TLS proxy before the API, and set STAFFETTA_PUBLIC_URL to its https:// address"
        return [warn("certificate", f"{settings.public_url} is not encrypted", todo)]
    host = url.hostname or ""
    try:
        opening = asyncio.open_connection(host, url.port or 443, ssl=context or ssl.create_default_context())
        _, writer = await asyncio.wait_for(opening, PATIENCE_SECONDS)
    except ssl.SSLCertVerificationError as error:
        return [fail("certificate", f"{host}: {error.verify_message}", "look at the proxy's log: why did it get no certificate?")]
    except (OSError, TimeoutError) as error:
        todo = "let the name lead to the proxy, and open ports 80 and 443; from inside, some routers do not lead back"
        return [warn("certificate", f"{settings.public_url} cannot be reached from here: {str(error) or 'timed out'}", todo)]
    ends = str(writer.get_extra_info("peercert")["notAfter"])
    writer.close()
    return [judge_certificate(host, (ssl.cert_time_to_seconds(ends) - time.time()) / 86400)]


async def check_far_clock(url: str, context: ssl.SSLContext | None = None) -> list[Finding]:
    """Against the Date of an HTTP answer, when there is one: seconds are all it can tell."""
    parts = urlsplit(url)
    host, secure = parts.hostname or "", parts.scheme == "https"
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            tls = (context or ssl.create_default_context()) if secure else None
            reader, writer = await asyncio.open_connection(host, parts.port or (443 if secure else 80), ssl=tls)
            writer.write(f"HEAD / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
            head = (await reader.read(16_384)).decode("latin-1")
            writer.close()
    except (OSError, TimeoutError):
        return [skip("clock", f"not compared with {host}: it does not answer")]
    said = next((line.partition(":")[2].strip() for line in head.splitlines() if line.lower().startswith("date:")), "")
    try:
        theirs = email.utils.parsedate_to_datetime(said).timestamp()
    except ValueError:
        return [skip("clock", f"not compared with {host}: it says no date")]
    ahead = time.time() - theirs
    return [judge_clock(host, 0.0 if 0 <= ahead < 2 else ahead)]
