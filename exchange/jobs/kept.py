"""What a component keeps at its node from one job to the next: sealed files in a private folder, and secrets.

Not a store of record: whatever is missing, or was sealed under another key of the node, is made anew.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from mpc.secrecy import SecretBytes

__all__ = ["Kept"]

_NONCE_BYTES: Final = 12


@dataclass(frozen=True)
class Kept:
    """A folder of sealed files and the key that seals them.

    Args:
        folder: made on first use, for this user alone.
        key: 32 bytes that only this node has.
    """

    folder: Path
    key: bytes = field(repr=False)

    def secret(self, label: bytes) -> SecretBytes:
        """32 bytes that only this node can derive; another label gives independent ones."""
        return SecretBytes(hmac.digest(self.key, b"secret\0" + label, hashlib.sha256))

    def get(self, name: str) -> bytes | None:
        """What was kept under a name; None where there is nothing that this node's key opens."""
        path = self._path(name)
        if not path.is_file():
            return None
        sealed = path.read_bytes()
        try:
            return self._cipher().decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], name.encode())
        except (InvalidTag, ValueError):
            return None

    def put(self, name: str, content: bytes) -> None:
        """Keep a content of less than 2 GiB under a name, in place of what was there."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        sealed = nonce + self._cipher().encrypt(nonce, content, name.encode())
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self._path(name)
        made = path.with_suffix(f".{secrets.token_hex(8)}")
        descriptor = os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(sealed)
        made.replace(path)

    def _cipher(self) -> AESGCM:
        return AESGCM(hmac.digest(self.key, b"files", hashlib.sha256))

    def _path(self, name: str) -> Path:
        return self.folder / hashlib.sha256(name.encode()).hexdigest()
