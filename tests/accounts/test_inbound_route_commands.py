"""`staffetta inbound-route`, as typed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from app.cli import accounts
from app.cli.inbound_routes import inbound_route as commands
from app.keyring import Keyring


def test_a_route_is_made_listed_and_deleted(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STAFFETTA_DATABASE_URL", database_url)
    monkeypatch.setenv("STAFFETTA_KEYRING_PATH", str(tmp_path / "keyring.json"))
    Keyring.create(tmp_path / "keyring.json")
    for words in (["account", "add", "acme"], ["domain", "add", "acme", "acme.example"]):
        assert CliRunner().invoke(accounts.app, words).exit_code == 0

    def run(*words: str) -> str:
        result = CliRunner().invoke(commands, list(words))
        assert result.exit_code == 0, result.output
        return result.output

    made = json.loads(run("create", "acme", "Support@Reply.Acme.Example", "--json"))
    assert made["address"] == "support@reply.acme.example"
    assert "MX of acme.example" in run("create", "acme", "*@acme.example")
    assert [one["address"] for one in json.loads(run("list", "acme", "--json"))] == ["*@acme.example", "support@reply.acme.example"]
    assert "is deleted" in run("delete", made["id"])
    assert made["id"] not in run("list", "acme")
    for wrong in (("create", "acme", "x@other.example"), ("create", "acme", "*@acme.example"), ("delete", made["id"]), ("delete", "x")):
        assert CliRunner().invoke(commands, list(wrong)).exit_code == 1
