"""`keyring backup`, `restore`, `rotate`, `check`: the secret keys kept safe, and whether they are those of the database."""

from __future__ import annotations

import getpass
import os
import sys
from pathlib import Path

from app import store
from app.cli.work import run_whole
from app.config import Settings
from app.keyring import Keyring, KeyringError
from app.watch.fitness import read_fitness


def back_up(settings: Settings, file: Path, passphrase_file: Path | None) -> None:
    """Write the keyring to `file`, sealed by a passphrase; a file that is there is not overwritten."""
    keyring = Keyring.load(settings.keyring_path)
    backup = keyring.backup(_passphrase(passphrase_file, twice=True))
    try:
        handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        sys.exit(f"staffetta: {file}: {error.strerror}")
    with os.fdopen(handle, "wb") as written:
        written.write(backup)
        written.flush()
        os.fsync(written.fileno())
    print(f"{file}: keys {', '.join(map(str, keyring.ids))}. It opens with the passphrase alone: keep both, and not in one place.")


def restore(settings: Settings, file: Path, passphrase_file: Path | None) -> None:
    """Write the keyring of a backup to where the settings want it; one that is there is not overwritten."""
    try:
        backup = file.read_bytes()
    except OSError as error:
        sys.exit(f"staffetta: {file}: {error.strerror}")
    keyring = Keyring.restore(settings.keyring_path, backup, _passphrase(passphrase_file, twice=False))
    print(f"{keyring.path}: keys {', '.join(map(str, keyring.ids))}. Next: staffetta keyring check")


def rotate(settings: Settings) -> None:
    """Add a key that makes what is new from the next start of each process on; the older ones stay for what they made."""
    keyring = Keyring.load(settings.keyring_path)
    older = ", ".join(map(str, keyring.ids))
    number = keyring.rotate()
    print(f"{keyring.path}: key {number} was added to {older}.")
    print("Next: copy the file to all machines, back it up, restart (docs/deploying.md, Backup).")


def check() -> int:
    """Say whether the keyring opens what the database holds; the exit status."""

    async def work(database: store.db.Database, settings: Settings) -> tuple[str, bool]:
        fitness = await read_fitness(database, Keyring.load(settings.keyring_path))
        return fitness.words, fitness.fits

    words, fits = run_whole(work)
    print(words)
    return 0 if fits else 1


def _passphrase(file: Path | None, *, twice: bool) -> str:
    if file is not None:
        try:
            return file.read_text().rstrip("\r\n")
        except OSError as error:
            sys.exit(f"staffetta: {file}: {error.strerror}")
    if not sys.stdin.isatty():
        sys.exit("staffetta: there is no terminal to ask for a passphrase: give --passphrase-file FILE")
    given = getpass.getpass("Passphrase: ")
    if twice and getpass.getpass("Once more: ") != given:
        raise KeyringError("the two passphrases differ")
    return given
