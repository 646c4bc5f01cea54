"""Mail programs as people have them, each through a real socket, TLS and log-in."""

from __future__ import annotations

import smtplib
from email.message import EmailMessage

from tests.smtpd.conftest import OpenDoor, in_thread


def a_letter() -> EmailMessage:
    letter = EmailMessage()
    letter["From"], letter["To"], letter["Subject"] = "Shop <orders@shop.example.test>", "ada@example.com", "Your order"
    letter.set_content("Thank you, Ada.\n.\n..dots\n")
    return letter


async def test_smtplib_by_starttls_and_by_implicit_tls(door: OpenDoor) -> None:
    def send() -> None:
        with smtplib.SMTP("localhost", door.starttls, timeout=10) as client:
            client.starttls(context=door.trusting)
            client.login(door.user, door.password)
            assert client.send_message(a_letter()) == {}
            assert client.send_message(a_letter(), to_addrs=["a@example.com", "b@example.com"]) == {}
        with smtplib.SMTP_SSL("localhost", door.tls, timeout=10, context=door.trusting) as client:
            client.login(door.user, door.password)
            assert client.send_message(a_letter()) == {}

    await in_thread(send)
    assert [[each.address for each in raw.recipients] for _, raw in door.taken] == [
        ["ada@example.com"],
        ["a@example.com", "b@example.com"],
        ["ada@example.com"],
    ]
    for sender, raw in door.taken:
        assert (sender.account_id, sender.key_id, raw.envelope_from) == (door.account_id, door.user, "orders@shop.example.test")
        assert raw.raw.endswith(b"\r\n\r\nThank you, Ada.\r\n.\r\n..dots\r\n")
