"""The providers' file: what is found for whom, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.delivery.conversation import Tls
from app.delivery.providers import Provider, Providers


def load(tmp_path: Path, text: str) -> Providers:
    path = tmp_path / "own.toml"
    path.write_text(text)
    return Providers.load(path)


@pytest.mark.parametrize(
    ("hosts", "name"),
    [
        (["gmail-smtp-in.l.google.com", "alt1.gmail-smtp-in.l.google.com"], "gmail"),
        (["shop-example.mail.protection.outlook.com"], "outlook"),
        (["hotmail-com.olc.protection.outlook.com"], "outlook"),
        (["shop-example.a-v1.mx.microsoft"], "outlook"),
        (["mta5.am0.yahoodns.net", "mta6.am0.yahoodns.net"], "yahoo"),
        (["mx01.mail.icloud.com"], "icloud"),
        (["mx00.gmx.net"], "gmx"),
        (["mx-ha02.web.de"], "gmx"),
        (["smtp-in.libero.it"], "libero"),
        (["mx.aruba.it"], "aruba"),
        (["smtp-in.orange.fr"], "orange"),
    ],
)
def test_the_great_receivers_are_known(hosts: list[str], name: str) -> None:
    found = Providers.load().of_site(hosts)
    assert found is not None
    assert (found.name, found.connections > 0) == (name, True)


@pytest.mark.parametrize("hosts", [["mx.example.com"], [], [""], ["notgoogle.com"], ["aspmx.l.google.com", "mx.example.com"]])
def test_others_have_no_entry(hosts: list[str]) -> None:
    assert Providers.load().of_site(hosts) is None


def test_the_operator_s_entry_is_laid_over_ours(tmp_path: Path) -> None:
    providers = load(
        tmp_path, "[gmail]\nconnections = 40\nmessages_per_second = 2.5\n[ours]\nmx = ['mx.one.test', '.two.test']\ntls = 'never'\n"
    )
    gmail, ours = providers.of_site(["smtp.google.com"]), providers.of_site(["mx.one.test", "a.two.test"])
    assert gmail is not None and ours is not None
    assert (gmail.connections, gmail.messages_per_second, gmail.deliveries_per_connection, gmail.tls) == (40, 2.5, 50, Tls.REQUIRED)
    assert gmail.words == "40 connections, 2.5 messages a second"
    assert (ours.tls, ours.connections, ours.words) == (Tls.NEVER, 0, "")


def test_the_word_on_a_domain_goes_before_that_on_its_site(tmp_path: Path) -> None:
    providers = load(tmp_path, "[bank]\ndomains = ['bank.test', '.bank.test']\ntls = 'verify'\n")
    site = Provider("site", mx=("mx.test",), tls=Tls.REQUIRED)
    assert providers.tls_of("bank.test", site) is Tls.VERIFY
    assert providers.tls_of("mail.bank.test", None) is Tls.VERIFY
    assert providers.tls_of("notbank.test", site) is Tls.REQUIRED
    assert providers.tls_of("notbank.test", None) is Tls.OPPORTUNISTIC


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[x]\nmx = ['a.test']\nconections = 3\n", "conections is unknown"),
        ("[x]\nmx = 'a.test'\n", "mx must be a list"),
        ("[x]\nmx = ['.']\n", "mx must be a list"),
        ("[x]\nconnections = 3\n", "must say for whom"),
        ("[x]\nmx = ['a.test']\ndomains = ['b.test']\n", "must say for whom"),
        ("[x]\nmx = ['a.test']\nconnections = 2.5\n", "connections must be a whole number"),
        ("[x]\nmx = ['a.test']\nconnections = true\n", "connections must be a whole number"),
        ("[x]\nmx = ['a.test']\nmessages_per_second = -1\n", "messages_per_second must be a number"),
        ("[x]\nmx = ['a.test']\nmessages_per_second = inf\n", "messages_per_second must be a number"),
        ("[x]\nmx = ['a.test']\ntls = 'maybe'\n", "tls must be one of"),
        ("[x]\ndomains = ['a.test']\nconnections = 3\n", "connections cannot be said of domains"),
        ("x = 3\n", "x stands outside"),
        ("[x\n", "cannot be read"),
    ],
)
def test_a_file_that_says_what_cannot_be_is_refused(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words) as refusal:
        load(tmp_path, text)
    assert "own.toml" in str(refusal.value)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="cannot be read"):
        Providers.load(tmp_path / "gone.toml")
