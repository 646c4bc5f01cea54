"""The keyring: what it seals opens for the same account and purpose alone, and old keys stay valid."""

from __future__ import annotations

import json
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from app.keyring import Keyring, KeyringError


@pytest.fixture
def keyring(tmp_path: Path) -> Keyring:
    return Keyring.create(tmp_path / "keys" / "keyring.json")


def test_seals_and_opens(keyring: Keyring) -> None:
    sealed = keyring.seal(b"secret", account_id=7, purpose="dkim")
    assert b"secret" not in sealed
    assert keyring.open(sealed, account_id=7, purpose="dkim") == b"secret"
    assert keyring.seal(b"secret", account_id=7, purpose="dkim") != sealed


@pytest.mark.parametrize(("account_id", "purpose"), [(8, "dkim"), (7, "webhook"), (0, "")])
def test_opens_for_nobody_else(keyring: Keyring, account_id: int, purpose: str) -> None:
    sealed = keyring.seal(b"secret", account_id=7, purpose="dkim")
    with pytest.raises(KeyringError):
        keyring.open(sealed, account_id=account_id, purpose=purpose)


def test_every_altered_byte_is_noticed(keyring: Keyring) -> None:
    sealed = keyring.seal(b"secret", account_id=7, purpose="dkim")
    for place in range(len(sealed)):
        altered = sealed[:place] + bytes([sealed[place] ^ 1]) + sealed[place + 1 :]
        with pytest.raises(KeyringError):
            keyring.open(altered, account_id=7, purpose="dkim")
    for length in range(len(sealed)):
        with pytest.raises(KeyringError):
            keyring.open(sealed[:length], account_id=7, purpose="dkim")


def test_old_keys_stay_valid_after_rotation_and_reload(keyring: Keyring) -> None:
    sealed, mac = keyring.seal(b"old", account_id=1, purpose="p"), keyring.mac_key("return-path")
    assert keyring.rotate() == keyring.current_id == 2
    again = Keyring.load(keyring.path)
    for ring in (keyring, again):
        assert ring.ids == (1, 2)
        assert ring.open(sealed, account_id=1, purpose="p") == b"old"
        assert ring.mac_key("return-path", 1) == mac
        assert ring.mac_key("return-path") == ring.mac_key("return-path", 2) != mac


def test_a_key_added_by_another_process_is_found(keyring: Keyring) -> None:
    other = Keyring.load(keyring.path)
    other.rotate()
    sealed = other.seal(b"new", account_id=1, purpose="p")
    assert keyring.open(sealed, account_id=1, purpose="p") == b"new"
    assert keyring.current_id == 2


def test_every_altered_byte_of_a_backup_is_noticed(keyring: Keyring, tmp_path: Path) -> None:
    backup = json.loads(keyring.backup("correct horse battery"))
    for name in ("salt", "nonce", "sealed"):
        letters = backup[name]
        altered = json.dumps(backup | {name: ("B" if letters[0] == "A" else "A") + letters[1:]}).encode()
        with pytest.raises(KeyringError, match="does not open"):
            Keyring.restore(tmp_path / "new.json", altered, "correct horse battery")
    for other in (b"", b"[]", b"{}", json.dumps(backup | {"form": "2"}).encode(), keyring.path.read_bytes()):
        with pytest.raises(KeyringError, match="not the backup"):
            Keyring.restore(tmp_path / "new.json", other, "correct horse battery")
    assert not (tmp_path / "new.json").exists()


def test_two_rotations_side_by_side_lose_no_key(keyring: Keyring) -> None:
    other = Keyring.load(keyring.path)
    assert (keyring.rotate(), other.rotate()) == (2, 3)
    assert Keyring.load(keyring.path).ids == (1, 2, 3)


def test_purposes_share_no_key(keyring: Keyring) -> None:
    assert len({keyring.mac_key(purpose) for purpose in ("a", "b", "api-key", "seal")}) == 4


def test_the_file_is_its_owners_alone_and_never_overwritten(keyring: Keyring) -> None:
    assert stat.S_IMODE(keyring.path.stat().st_mode) == 0o600
    before = keyring.path.read_bytes()
    with pytest.raises(KeyringError, match="already"):
        Keyring.create(keyring.path)
    assert keyring.path.read_bytes() == before
    keyring.rotate()
    assert stat.S_IMODE(keyring.path.stat().st_mode) == 0o600
    assert [path.name for path in keyring.path.parent.iterdir()] == [keyring.path.name]


def test_processes_that_start_together_get_the_same_keys(tmp_path: Path) -> None:
    path = tmp_path / "keyring.json"
    with ThreadPoolExecutor(8) as pool:
        rings = list(pool.map(lambda _: Keyring.load_or_create(path), range(8)))
    assert len({ring.mac_key("x") for ring in rings}) == 1


@pytest.mark.parametrize(
    "written",
    [
        b"",
        b"[]",
        b"\xff",
        b"{}",
        b'{"current":1,"keys":{}}',
        b'{"current":1,"keys":{"1":{"key":"QQ=="}}}',
        b'{"current":1,"keys":{"1":"x"}}',
    ],
)
def test_a_broken_file_is_refused(tmp_path: Path, written: bytes) -> None:
    path = tmp_path / "keyring.json"
    path.write_bytes(written)
    with pytest.raises(KeyringError):
        Keyring.load(path)


def test_a_missing_file_and_a_foreign_value_are_told(tmp_path: Path, keyring: Keyring) -> None:
    with pytest.raises(KeyringError, match="no keyring at"):
        Keyring.load(tmp_path / "none.json")
    stranger = Keyring.create(tmp_path / "other.json")
    stranger.rotate()
    with pytest.raises(KeyringError, match="no key number 2"):
        keyring.open(stranger.seal(b"x", account_id=1, purpose="p"), account_id=1, purpose="p")
    assert json.loads(keyring.path.read_text())["current"] == 1


def test_a_strangers_key_number_is_no_fault(tmp_path: Path) -> None:
    path = tmp_path / "keyring.json"
    ring = Keyring.create(path)
    assert ring.find_mac_key("tokens", 1) == ring.mac_key("tokens", 1)
    assert ring.find_mac_key("tokens", 7) is None
    path.unlink()
    assert [ring.find_mac_key("tokens", number) for number in (0, 3, 2**24 - 1)] == [None] * 3
    assert Keyring.create(tmp_path / "other.json").find_mac_key("tokens", 1) is not None


def test_a_key_of_another_process_is_found(tmp_path: Path) -> None:
    ring = Keyring.create(tmp_path / "keyring.json")
    made = Keyring.load(tmp_path / "keyring.json")
    number = made.rotate()
    assert ring.find_mac_key("tokens", number) == made.mac_key("tokens")
