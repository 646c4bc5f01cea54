"""The secret keys of the house, in one file: what they seal, MAC and pepper is worth nothing without it.

Each key is 256 random bits with a number. The newest (`current_id`) makes what is new; older ones stay valid for years,
because API keys and sealed values carry the number of the key that made them, and return paths are tried with each. From
one key come many, by purpose (HKDF, RFC 5869), so that no two uses share key material.

Sealed values are AES-256-GCM with the account and the purpose as associated data: a row copied to another account, or
used for another purpose, does not open.

The file is JSON, readable by its owner alone, replaced atomically. Losing it means new DKIM keys, API keys and webhook
secrets for everybody; it belongs into the backup, but not beside the database's. `backup` gives it sealed by a passphrase (scrypt,
RFC 7914), so that it may lie anywhere.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import secrets
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

_KEY_BYTES = 32
_NONCE_BYTES = 12
_FORM = 1  # first byte of a sealed value: how the rest is to be read
_HEAD_BYTES = 1 + 4 + _NONCE_BYTES
_LOOK_AGAIN_SECONDS = 1.0
_BACKUP_FORM = "staffetta keyring backup 1"
_SCRYPT = {"n": 2**17, "r": 8, "p": 1}  # 128 MB and a third of a second per guess
LEAST_PASSPHRASE = 12
_LARGEST_ID = 2**31 - 1  # key ids are stored in PostgreSQL integers


_MALFORMED = (ValueError, KeyError, TypeError, AttributeError, binascii.Error)


class KeyringError(Exception):
    """The keyring file is missing or unreadable, or a value does not open with it. The message names no secret."""


class Keyring:
    """The keys of one file. Held in memory; a number it does not know is looked up in the file once more (another process rotated)."""

    def __init__(self, path: Path, keys: dict[int, bytes], current_id: int) -> None:
        self.path = path
        self.current_id = current_id
        self._keys = keys
        self._derived: dict[tuple[int, str], bytes] = {}
        self._ciphers: dict[int, AESGCM] = {}
        self._look_again_at = 0.0

    @classmethod
    def load(cls, path: Path) -> Keyring:
        """The keyring in `path`; KeyringError when it is not there or is no keyring."""
        keys, current_id = _read(path)
        return cls(path, keys, current_id)

    @classmethod
    def create(cls, path: Path) -> Keyring:
        """A new keyring with one key; KeyringError when the file is there already, it is never overwritten."""
        keys = {1: secrets.token_bytes(_KEY_BYTES)}
        _write(path, keys, 1, replace=False)
        return cls(path, keys, 1)

    @classmethod
    def load_or_create(cls, path: Path) -> Keyring:
        """The keyring in `path`, made when it is not there; two processes that start together end with the same one."""
        if not path.exists():
            try:
                return cls.create(path)
            except KeyringError:
                if not path.exists():
                    raise
        return cls.load(path)

    def backup(self, passphrase: str) -> bytes:
        """The whole keyring sealed by a passphrase: a JSON document that `restore` opens. KeyringError for a short passphrase."""
        if len(passphrase) < LEAST_PASSPHRASE:
            raise KeyringError(f"a passphrase has at least {LEAST_PASSPHRASE} characters")
        salt, nonce = os.urandom(16), os.urandom(_NONCE_BYTES)
        plain = json.dumps({"current": self.current_id, "keys": _entries(self._keys)}).encode()
        sealed = AESGCM(_passphrase_key(passphrase, salt)).encrypt(nonce, plain, _BACKUP_FORM.encode())
        parts = {name: base64.b64encode(part).decode() for name, part in (("salt", salt), ("nonce", nonce), ("sealed", sealed))}
        return (json.dumps({"form": _BACKUP_FORM, **parts}, indent=1) + "\n").encode()

    @classmethod
    def restore(cls, path: Path, backup: bytes, passphrase: str) -> Keyring:
        """The keyring of a backup, written to `path`. KeyringError when there is one already, or for a wrong passphrase or file."""
        keys, current_id = _open_backup(backup, passphrase)
        _write(path, keys, current_id, replace=False)
        return cls(path, keys, current_id)

    @property
    def ids(self) -> tuple[int, ...]:
        return tuple(sorted(self._keys))

    def rotate(self) -> int:
        """Add a key, make it current, write the file; returns its number. What older keys made stays valid."""
        self._reload()
        new_id = max(self._keys) + 1
        keys = {**self._keys, new_id: secrets.token_bytes(_KEY_BYTES)}
        _write(self.path, keys, new_id, replace=True)
        self._keys, self.current_id = keys, new_id
        return new_id

    def mac_key(self, purpose: str, key_id: int | None = None) -> bytes:
        """256 bits for MACs of one purpose, from the current key or the one of that number."""
        return self._derive(f"mac {purpose}", self.current_id if key_id is None else key_id)

    def find_mac_key(self, purpose: str, key_id: int) -> bytes | None:
        """The same by a number that a stranger wrote: None when there is no such key. The file is read for it once a second at most."""
        if key_id not in self._keys:
            now = time.monotonic()
            if now < self._look_again_at:
                return None
            self._look_again_at = now + _LOOK_AGAIN_SECONDS
            try:
                self._reload()
            except KeyringError:
                return None
        return self.mac_key(purpose, key_id) if key_id in self._keys else None

    def seal(self, plaintext: bytes, *, account_id: int, purpose: str) -> bytes:
        """Encrypt under the current key; opens only for the same account and purpose."""
        nonce = os.urandom(_NONCE_BYTES)
        head = bytes([_FORM]) + self.current_id.to_bytes(4, "big")
        return head + nonce + self._cipher(self.current_id).encrypt(nonce, plaintext, _associated(head, account_id, purpose))

    def open(self, sealed: bytes, *, account_id: int, purpose: str) -> bytes:
        """What was sealed; KeyringError when it is for another account or purpose, altered, or its key is not here."""
        sealed = bytes(sealed)
        if len(sealed) < _HEAD_BYTES or sealed[0] != _FORM:
            raise KeyringError(f"not a sealed value ({purpose})")
        head, nonce = sealed[:5], sealed[5:_HEAD_BYTES]
        try:
            return self._cipher(int.from_bytes(head[1:], "big")).decrypt(
                nonce, sealed[_HEAD_BYTES:], _associated(head, account_id, purpose)
            )
        except InvalidTag as error:
            raise KeyringError(f"a sealed value does not open ({purpose} of account {account_id})") from error

    def _cipher(self, key_id: int) -> AESGCM:
        cipher = self._ciphers.get(key_id)
        if cipher is None:
            cipher = self._ciphers[key_id] = AESGCM(self._derive("seal", key_id))
        return cipher

    def _derive(self, use: str, key_id: int) -> bytes:
        derived = self._derived.get((key_id, use))
        if derived is None:
            expand = HKDF(algorithm=SHA256(), length=_KEY_BYTES, salt=None, info=f"staffetta {use}".encode())
            derived = self._derived[key_id, use] = expand.derive(self._key(key_id))
        return derived

    def _key(self, key_id: int) -> bytes:
        if key_id not in self._keys:
            self._reload()
        try:
            return self._keys[key_id]
        except KeyError:
            raise KeyringError(f"the keyring {self.path} has no key number {key_id}; is it the keyring of this database?") from None

    def _reload(self) -> None:
        self._keys, self.current_id = _read(self.path)


def _associated(head: bytes, account_id: int, purpose: str) -> bytes:
    return head + account_id.to_bytes(8, "big") + purpose.encode()


def _read(path: Path) -> tuple[dict[int, bytes], int]:
    try:
        keys, current_id = _parse(path.read_bytes())
    except FileNotFoundError as error:
        raise KeyringError(f"there is no keyring at {path}") from error
    except OSError as error:
        raise KeyringError(f"the keyring {path} cannot be read: {error.strerror}") from error
    except _MALFORMED as error:
        raise KeyringError(f"{path} is not a keyring") from error
    if current_id not in keys or any(len(key) != _KEY_BYTES or not 0 < key_id <= _LARGEST_ID for key_id, key in keys.items()):
        raise KeyringError(f"{path} is not a whole keyring")
    return keys, current_id


def _parse(written: bytes) -> tuple[dict[int, bytes], int]:
    read = json.loads(written)
    return {int(key_id): base64.b64decode(entry["key"], validate=True) for key_id, entry in read["keys"].items()}, int(read["current"])


def _entries(keys: dict[int, bytes]) -> dict[str, dict[str, str]]:
    return {str(key_id): {"key": base64.b64encode(key).decode()} for key_id, key in keys.items()}


def _passphrase_key(passphrase: str, salt: bytes) -> bytes:
    return Scrypt(salt=salt, length=_KEY_BYTES, **_SCRYPT).derive(passphrase.encode())


def _open_backup(backup: bytes, passphrase: str) -> tuple[dict[int, bytes], int]:
    try:
        read = json.loads(backup)
        if read["form"] != _BACKUP_FORM:
            raise ValueError(read["form"])
        salt, nonce, sealed = (base64.b64decode(read[name], validate=True) for name in ("salt", "nonce", "sealed"))
        plain = AESGCM(_passphrase_key(passphrase, salt)).decrypt(nonce, sealed, _BACKUP_FORM.encode())
    except _MALFORMED as error:
        raise KeyringError("this is not the backup of a keyring") from error
    except InvalidTag as error:
        raise KeyringError("the backup does not open: the passphrase is another one, or the file was altered") from error
    return _parse(plain)


def _write(path: Path, keys: dict[int, bytes], current_id: int, *, replace: bool) -> None:
    """Write beside the place, sync, then move or link there: a reader, or a power cut, meets a whole file or none."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    written = json.dumps({"written_at": now, "current": current_id, "keys": _entries(keys)}, indent=1)
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle, beside = tempfile.mkstemp(prefix=path.name, dir=path.parent)  # mkstemp makes it 0600
        try:
            with os.fdopen(handle, "w") as file:
                file.write(written + "\n")
                file.flush()
                os.fsync(file.fileno())
            if replace:
                Path(beside).replace(path)
            else:
                os.link(beside, path)  # unlike a rename it fails when somebody was first
        finally:
            Path(beside).unlink(missing_ok=True)
        _sync_directory(path.parent)
    except FileExistsError as error:
        raise KeyringError(f"there is a keyring at {path} already") from error
    except OSError as error:
        raise KeyringError(f"the keyring {path} cannot be written: {error.strerror}") from error


def _sync_directory(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
