"""The operator's commands, as typed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from app.accounts.credentials import read_token
from app.cli.accounts import app
from app.keyring import Keyring


@pytest.fixture
def run(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("STAFFETTA_DATABASE_URL", database_url)
    monkeypatch.setenv("STAFFETTA_KEYRING_PATH", str(tmp_path / "keyring.json"))
    Keyring.create(tmp_path / "keyring.json")

    def run(*words: str, status: int = 0) -> str:
        result = CliRunner().invoke(app, words)
        assert result.exit_code == status, result.output
        return result.output if status == 0 else str(result.exception.code if result.exception.code != 1 else result.output)  # type: ignore[union-attr]

    return run


def test_from_an_account_to_a_key(run: Any) -> None:
    assert "added" in run("account", "add", "acme")
    assert json.loads(run("account", "list", "--json"))[0]["name"] == "acme"
    words = run("domain", "add", "acme", "mail.acme.example", "--ed25519")
    assert 'stf1._domainkey.mail.acme.example. IN TXT "v=DKIM1; k=rsa; p=' in words
    records = json.loads(run("domain", "records", "acme", "mail.acme.example", "--json"))["records"]
    assert [record["name"].split(".")[0] for record in records] == ["stf1", "stf2", "_dmarc"]
    # Strings of a zone file are at most 255 octets, and together they are the record.
    line = next(line for line in words.splitlines() if line.startswith("stf1."))
    strings = line.split('"')[1::2]
    assert max(map(len, strings)) <= 255
    assert "".join(strings) == records[0]["value"]
    token = run("key", "create", "acme", "--name", "backend", "--scope", "messages:send", "--days", "30").splitlines()[0]
    read = read_token(token)
    assert read is not None
    (listed,) = json.loads(run("key", "list", "acme", "--json"))
    assert (listed["id"], listed["name"], listed["scopes"]) == (read[0], "backend", ["messages:send"])
    assert read[1] not in run("key", "list", "acme")
    assert "revoked" in run("key", "revoke", read[0])
    assert "revoked" in run("key", "list", "acme")
    assert "paused" in run("account", "pause", "acme")
    assert "paused" in run("account", "list")
    run("account", "pause", "acme", "--resume")
    assert json.loads(run("account", "list", "--json"))[0]["paused_at"] is None
    assert "mail.acme.example" in run("domain", "list")
    run("domain", "remove", "acme", "mail.acme.example")
    assert json.loads(run("domain", "list", "acme", "--json")) == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("account", "add", "acme"), "already"),
        (("account", "add", ""), "printable"),
        (("account", "add", "a\nb"), "printable"),
        (("account", "pause", "none"), "no account none"),
        (("domain", "add", "none", "a.example"), "no account none"),
        (("domain", "add", "acme", "not a domain"), "domain"),
        (("domain", "records", "acme", "other.example"), "no domain"),
        (("domain", "remove", "acme", "other.example"), "no such domain"),
        (("key", "create", "acme", "--scope", "root"), "Unknown scope"),
        (("key", "revoke", "none"), "no such API key"),
    ],
)
def test_what_cannot_be_done_is_one_line(run: Any, words: tuple[str, ...], said: str) -> None:
    run("account", "add", "acme")
    output = run(*words, status=1)
    assert said in output
    assert len(output.strip().splitlines()) == 1


def test_an_unreachable_database_is_one_line_without_the_password(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STAFFETTA_DATABASE_URL", "postgresql://staffetta:secret@127.0.0.1:1/none")
    output = run("account", "list", status=1)
    assert "does not answer" in output
    assert "secret" not in output


def test_a_missing_keyring_is_said(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    run("account", "add", "acme")
    monkeypatch.setenv("STAFFETTA_KEYRING_PATH", "/nonexistent/keyring.json")
    assert "no keyring" in run("key", "create", "acme", status=1)


def test_tracking_of_an_account_and_of_a_domain(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STAFFETTA_DNS_SERVERS", "127.0.0.1:1")
    monkeypatch.setenv("STAFFETTA_PUBLIC_URL", "https://relay.example.net")
    run("account", "add", "acme")
    run("domain", "add", "acme", "acme.example")
    assert "nothing is tracked" in run("account", "tracking", "acme", "--off")
    assert json.loads(run("account", "list", "--json"))[0]["tracking"] is False
    run("account", "tracking", "acme")
    assert json.loads(run("account", "list", "--json"))[0]["tracking"] is True
    words = run("domain", "tracking", "acme", "acme.example", "click.acme.example")
    assert "It is not used yet. Publish: click.acme.example. IN CNAME relay.example.net." in words
    assert "click.acme.example. IN CNAME relay.example.net." in run("domain", "records", "acme", "acme.example")
    assert "must lie below the domain" in run("domain", "tracking", "acme", "acme.example", "click.other.example", status=1)
    assert "own name" in run("domain", "tracking", "acme", "acme.example", "--off")
    assert "HOST" in run("domain", "tracking", "acme", "acme.example", status=1)
