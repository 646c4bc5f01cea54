"""IP addresses: the network that one is judged by, and our own. What may be connected: events/test_egress."""

from __future__ import annotations

import pytest

from app.ip import is_this_machine, network_of, source_for


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.77", "192.0.2.0/24"),
        ("2001:db8:1:2::3", "2001:db8:1::/48"),
        ("::ffff:192.0.2.7", "192.0.2.0/24"),
        ("fe80::1%eth0", "fe80::/48"),
        ("", ""),
    ],
)
def test_a_network_is_what_one_customer_has(address: str, network: str) -> None:
    assert network_of(address) == network


def test_the_kernel_knows_its_own() -> None:
    assert source_for("127.0.0.1") == "127.0.0.1"
    assert is_this_machine("127.0.0.1")
    assert not is_this_machine("192.0.2.1")
