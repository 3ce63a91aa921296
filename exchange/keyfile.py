"""Key files: secrets at rest, encrypted with XSalsa20-Poly1305 under a key that Argon2id derives.

A file is made once and never overwritten by ``write``. ``replace`` puts another content in its place at once:
whoever reads, and whatever crashes, finds the old one or the new one whole.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
import stat
from dataclasses import dataclass
from pathlib import Path

import nacl.exceptions
import nacl.pwhash.argon2id
from nacl.secret import SecretBox

from exchange.errors import Conflict, KeyFileDamaged, KeyFileExposed, WrongPassphrase
from ledger import base64url

__all__ = ["INTERACTIVE", "MODERATE", "Cost", "read", "replace", "write"]

_CHECK_DOMAIN = b"parley-keys-check/v1\n"
_VERSION = 1
_LARGEST_MEMORY = 1 << 30  # bytes; a key file that asks for more is damaged, or meant to exhaust us


@dataclass(frozen=True)
class Cost:
    """What guessing a passphrase costs: Argon2id passes over the memory, and its size in bytes."""

    passes: int
    memory: int


MODERATE = Cost(nacl.pwhash.argon2id.OPSLIMIT_MODERATE, nacl.pwhash.argon2id.MEMLIMIT_MODERATE)
"""256 MiB, about a second: for keys that protect an organisation."""

INTERACTIVE = Cost(nacl.pwhash.argon2id.OPSLIMIT_INTERACTIVE, nacl.pwhash.argon2id.MEMLIMIT_INTERACTIVE)
"""64 MiB, about a tenth of a second: for consortia that live on one machine."""


def write(path: Path, secret: bytes, passphrase: str, cost: Cost) -> None:
    """Write a new key file, mode 0600, in a directory of mode 0700.

    Args:
        path: where; nothing is there yet.
        secret: the content.
        passphrase: opens the file.
        cost: what guessing the passphrase costs.

    Raises:
        Conflict: there is a file already; keys are never overwritten.
    """
    unfinished = _unfinished(path, _encrypted(secret, passphrase, cost))
    try:
        os.link(unfinished, path)  # unlike a rename, it does not replace
    except FileExistsError as exc:
        raise Conflict(f"expected no file at {path.name}, there is one already") from exc
    finally:
        unfinished.unlink()


def replace(path: Path, secret: bytes, passphrase: str) -> None:
    """Replace the content of a key file, with the same passphrase and cost.

    Raises:
        KeyFileExposed, KeyFileDamaged, WrongPassphrase: as ``read``; nothing is changed.
    """
    read(path, passphrase)
    _, cost, _, _ = _parse(_read_private(path), path)
    _unfinished(path, _encrypted(secret, passphrase, cost)).replace(path)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def read(path: Path, passphrase: str) -> bytes:
    """Return the content of a key file.

    Raises:
        KeyFileExposed: others may read the file.
        KeyFileDamaged: there is none, or it is not as it was written.
        WrongPassphrase: it opens with another passphrase.
    """
    salt, cost, check, box = _parse(_read_private(path), path)
    key, actual = _derive(passphrase, salt, cost)
    if not hmac.compare_digest(check, actual):
        raise WrongPassphrase(f"{path.name} does not open with this passphrase")
    try:
        return bytes(SecretBox(key).decrypt(box))
    except nacl.exceptions.CryptoError as exc:
        raise KeyFileDamaged(f"{path.name} was altered after it was written") from exc


def _encrypted(secret: bytes, passphrase: str, cost: Cost) -> bytes:
    salt = secrets.token_bytes(nacl.pwhash.argon2id.SALTBYTES)
    key, check = _derive(passphrase, salt, cost)
    document = {
        "v": _VERSION,
        "kdf": "argon2id13",
        "salt": base64url.encode(salt),
        "passes": cost.passes,
        "memory": cost.memory,
        "check": check,
        "box": base64url.encode(bytes(SecretBox(key).encrypt(secret))),
    }
    return json.dumps(document, indent=1).encode()


def _derive(passphrase: str, salt: bytes, cost: Cost) -> tuple[bytes, str]:
    """Return the key of the box, and a value that tells a wrong passphrase from a damaged file."""
    derived: bytes = nacl.pwhash.argon2id.kdf(
        64, passphrase.encode(), salt, opslimit=cost.passes, memlimit=cost.memory
    )
    return derived[:32], hashlib.sha256(_CHECK_DOMAIN + derived[32:]).hexdigest()


def _parse(raw: bytes, path: Path) -> tuple[bytes, Cost, str, bytes]:
    try:
        document = json.loads(raw)
        cost = Cost(document["passes"], document["memory"])
        parts = base64url.decode(document["salt"]), cost, document["check"], base64url.decode(document["box"])
        known = (document["v"], document["kdf"]) == (_VERSION, "argon2id13")
        sound = known and 0 < cost.passes <= 64 and 8192 <= cost.memory <= _LARGEST_MEMORY
    except (ValueError, KeyError, TypeError) as exc:
        raise KeyFileDamaged(f"expected a key file, got something else in {path.name}") from exc
    if not sound or not isinstance(parts[2], str) or len(parts[0]) != nacl.pwhash.argon2id.SALTBYTES:
        raise KeyFileDamaged(f"expected a key file of version {_VERSION}, got another in {path.name}")
    return parts


def _unfinished(path: Path, data: bytes) -> Path:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    return unfinished


def _read_private(path: Path) -> bytes:
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        if mode & 0o077:
            raise KeyFileExposed(f"expected mode 0600 for {path.name}, got {mode:04o}")
        return path.read_bytes()
    except FileNotFoundError as exc:
        raise KeyFileDamaged(f"expected a key file at {path.name}, there is none") from exc
