"""The sink as a process of its own: its options, its certificate, its first and last line."""

from __future__ import annotations

import argparse
import asyncio
import datetime
import gc
import json
import os
import signal
import ssl
import tempfile
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.doubles.sink import DEFAULT_OFFER, Sink
from tests.doubles.sink_script import Script, short_rule

try:
    from uvloop import run
except ImportError:
    from asyncio import run


def self_signed(name: str = "sink.test") -> ssl.SSLContext:
    """A server context with a fresh certificate that nobody trusts."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=7))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.NamedTemporaryFile(suffix=".pem") as file:  # the ssl module reads files only
        file.write(certificate.public_bytes(serialization.Encoding.PEM))
        file.write(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
        file.flush()
        context.load_cert_chain(file.name)
    return context


def main() -> None:
    options = _options().parse_args()
    run(_serve(options))


def _options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="An SMTP sink that takes mail, misbehaves by script, and logs every final dot.")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on; 0.0.0.0 for all of 127/8")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--log", type=Path, help="file of the final dots (appended)")
    parser.add_argument("--script", type=Path, help="JSON file of faults (tests/doubles/sink_script.py)")
    parser.add_argument("--fault", action="append", default=[], help='NAME or NAME:SHARE, as "defer:0.1"; may be repeated')
    parser.add_argument("--delay-ms", type=float, default=0.0, help="each reply leaves this much after its command came")
    parser.add_argument("--offer", default=",".join(DEFAULT_OFFER), help="EHLO keywords, comma separated; STARTTLS makes a certificate")
    parser.add_argument("--keep", type=Path, help="directory for the raw messages")
    parser.add_argument("--keep-each", type=int, default=1, help="keep one message in so many")
    parser.add_argument("--seed", type=int, default=0, help="seed of the shares")
    return parser


def _script(options: argparse.Namespace) -> Script:
    script = json.loads(options.script.read_text()) if options.script else {"rules": []}
    rules = [*Script.rules_of(script), *(short_rule(text) for text in options.fault)]
    return Script(rules, seed=options.seed, offers=script.get("offers"))


async def _serve(options: argparse.Namespace) -> None:
    offer = tuple(part.strip() for part in options.offer.split(",") if part.strip())
    if options.keep:
        options.keep.mkdir(parents=True, exist_ok=True)
    script = _script(options)
    offered = [word for words in (offer, *script.offers.values()) for word in words]
    sink = Sink(
        script,
        offer=offer,
        delay_ms=options.delay_ms,
        log=options.log,
        keep=options.keep,
        keep_each=options.keep_each,
        remember=False,
        tls=self_signed() if "STARTTLS" in offered else None,
    )
    await sink.start(options.host, options.port)
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    gc.freeze()
    print(json.dumps({"port": sink.port, "pid": os.getpid()}), flush=True)
    await stopped.wait()
    statistics = sink.statistics()
    await sink.stop()
    print(json.dumps(statistics), flush=True)
