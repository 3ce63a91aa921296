"""A node's identity: its keys, made here, kept encrypted, and what it tells the consortium about them.

Four keys, each for one purpose: Ed25519 for ledger entries (its public half is the DID), another Ed25519 for
checkpoint cosignatures, P-256 for TLS, X25519 to receive sealed results. The key file is encrypted with
XSalsa20-Poly1305 under a key that Argon2id derives from the passphrase; no key leaves the process otherwise.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Self

import nacl.exceptions
import nacl.pwhash.argon2id
from nacl.public import PrivateKey, PublicKey, SealedBox
from nacl.secret import SecretBox

from exchange import tls
from exchange.errors import Conflict, KeyFileDamaged, KeyFileExposed, SealBroken, WrongPassphrase
from ledger import base64url, canonical
from ledger.keys import SigningKey, did_key
from ledger.notes import COSIGNATURE_V1, Vkey
from ledger.times import Clock, system_clock

__all__ = ["INTERACTIVE", "MODERATE", "Cost", "NodeKeys", "seal_to"]

ENROLMENT_DOMAIN = b"parley-enrolment/v1\n"
_SEAL_DOMAIN = b"parley-seal/v1\n"
_STORAGE_DOMAIN = b"parley-store/v1"
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


@dataclass(frozen=True)
class NodeKeys:
    """All keys of one node. Its ``repr`` shows no secret, and it refuses to be pickled.

    Attributes:
        name: the member's short name, e.g. ``lender``.
        net: the network's name.
        tx: signs ledger entries.
        cosign: signs checkpoints.
        tls_key: P-256 private key, PEM.
        tls_cert: its self-signed certificate, DER.
        seal: X25519 secret, 32 bytes.
    """

    name: str
    net: str
    tx: SigningKey = field(repr=False)
    cosign: SigningKey = field(repr=False)
    tls_key: bytes = field(repr=False)
    tls_cert: bytes = field(repr=False)
    seal: bytes = field(repr=False)

    @classmethod
    def generate(cls, name: str, net: str, host: str, *, clock: Clock = system_clock) -> Self:
        """Draw new keys.

        Args:
            name: the member's short name.
            net: the network it means to join.
            host: host name or address under which its API is reached; goes into the certificate.
            clock: the certificate's life of ten years begins now.
        """
        tx = SigningKey.generate()
        key, certificate = tls.self_signed(
            f"{name}.parley.internal", uri=did_key(tx.public), hosts=(host,), now=clock()
        )
        seal = bytes(PrivateKey.generate())
        return cls(name, net, tx, SigningKey.generate(), key, certificate, seal)

    @property
    def did(self) -> str:
        """The member's DID: ``did:key`` of its entry key."""
        return did_key(self.tx.public)

    @property
    def kid(self) -> str:
        """Name of the entry key inside the DID."""
        return f"{self.did}#tx-1"

    @property
    def seal_public(self) -> bytes:
        """X25519 public key to which others seal."""
        return bytes(PrivateKey(self.seal).public_key)

    def storage_key(self, use: bytes) -> bytes:
        """Derive 32 bytes that encrypt what this node stores for one use; another use gives another key."""
        return hashlib.blake2b(use, key=self.seal, digest_size=32, person=_STORAGE_DOMAIN).digest()

    def member_record(
        self, role: Literal["participant", "regulator"], title: str, endpoint: str
    ) -> dict[str, object]:
        """Return what the ledger is to hold of this member: public halves, name and address.

        Args:
            role: what the member may do in the consortium.
            title: its full name, for people.
            endpoint: ``host:port`` of its party channel.
        """
        return {
            "did": self.did,
            "name": self.name,
            "title": title,
            "role": role,
            "tx": {"kid": self.kid, "alg": "EdDSA", "public": base64url.encode(self.tx.public)},
            "cosign": Vkey(f"{self.net}/{self.name}", COSIGNATURE_V1, self.cosign.public).encode(),
            "tls": base64url.encode(self.tls_cert),
            "seal": base64url.encode(self.seal_public),
            "endpoint": endpoint,
        }

    def enrolment(self, record: Mapping[str, object]) -> dict[str, object]:
        """Sign a member record with both ledger keys, which proves that its sender holds them."""
        message = ENROLMENT_DOMAIN + canonical.encode(dict(record))
        proofs = {"tx": self.tx.sign(message), "cosign": self.cosign.sign(message)}
        return {
            "v": 1,
            "member": dict(record),
            "proofs": {name: base64url.encode(signature) for name, signature in proofs.items()},
        }

    def open_sealed(self, ciphertext: bytes, context: bytes) -> bytes:
        """Open what ``seal_to`` made for this node.

        Raises:
            SealBroken: it is for somebody else, was altered, or belongs to another context.
        """
        try:
            payload: bytes = SealedBox(PrivateKey(self.seal)).decrypt(ciphertext)
        except nacl.exceptions.CryptoError as exc:
            raise SealBroken("expected a text sealed to this node's key") from exc
        bound = _bind(context)
        if not hmac.compare_digest(payload[: len(bound)], bound):
            raise SealBroken("expected a text sealed for this use, got one for another")
        return payload[len(bound) :]

    def save(self, path: Path, passphrase: str, *, cost: Cost = MODERATE) -> None:
        """Write the encrypted key file, mode 0600, in a directory of mode 0700.

        Raises:
            Conflict: there is a file already; keys are never overwritten.
        """
        secret = canonical.encode(
            {
                "name": self.name,
                "net": self.net,
                "tx": base64url.encode(self.tx.seed),
                "cosign": base64url.encode(self.cosign.seed),
                "tls_key": self.tls_key.decode(),
                "tls_cert": base64url.encode(self.tls_cert),
                "seal": base64url.encode(self.seal),
            }
        )
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
        _write_private(path, json.dumps(document, indent=1).encode())

    @classmethod
    def load(cls, path: Path, passphrase: str) -> Self:
        """Read a key file.

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
            secret = json.loads(SecretBox(key).decrypt(box))
        except (nacl.exceptions.CryptoError, ValueError) as exc:
            raise KeyFileDamaged(f"{path.name} was altered after it was written") from exc
        return cls(
            name=secret["name"],
            net=secret["net"],
            tx=SigningKey.from_seed(base64url.decode(secret["tx"])),
            cosign=SigningKey.from_seed(base64url.decode(secret["cosign"])),
            tls_key=secret["tls_key"].encode(),
            tls_cert=base64url.decode(secret["tls_cert"]),
            seal=base64url.decode(secret["seal"]),
        )

    def __reduce__(self) -> tuple[object, ...]:
        raise TypeError("a node's keys are not serialised; save them to an encrypted file")


def seal_to(public: bytes, plaintext: bytes, context: bytes) -> bytes:
    """Encrypt for one reader and one use (libsodium sealed box: X25519, XSalsa20-Poly1305).

    The sender stays anonymous to the box; who sent what is proven by the digest on the ledger.

    Args:
        public: the reader's X25519 key, from its member record.
        plaintext: what only the reader may see.
        context: what the text is for; opening it for anything else fails.

    Returns:
        ``plaintext`` and 80 bytes more.
    """
    return bytes(SealedBox(PublicKey(public)).encrypt(_bind(context) + plaintext))


def _bind(context: bytes) -> bytes:
    return hashlib.sha256(_SEAL_DOMAIN + context).digest()


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


def _write_private(path: Path, data: bytes) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.link(unfinished, path)  # unlike a rename, it does not replace
    except FileExistsError as exc:
        raise Conflict(f"expected no file at {path.name}, there is one already") from exc
    finally:
        unfinished.unlink()


def _read_private(path: Path) -> bytes:
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        if mode & 0o077:
            raise KeyFileExposed(f"expected mode 0600 for {path.name}, got {mode:04o}")
        return path.read_bytes()
    except FileNotFoundError as exc:
        raise KeyFileDamaged(f"expected a key file at {path.name}, there is none") from exc
