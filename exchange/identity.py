"""A node's identity: its keys, made here, kept encrypted, and what it tells the consortium about them.

Four keys, each for one purpose: Ed25519 for ledger entries (its public half is the DID), another Ed25519 for
checkpoint cosignatures, P-256 for TLS, X25519 to receive sealed results. The key file is encrypted with
XSalsa20-Poly1305 under a key that Argon2id derives from the passphrase; no key leaves the process otherwise.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, Self

import nacl.exceptions
from nacl.public import PrivateKey, PublicKey, SealedBox

from exchange import keyfile, tls
from exchange.errors import KeyFileDamaged, SealBroken
from exchange.keyfile import INTERACTIVE, MODERATE, Cost
from ledger import base64url, canonical
from ledger.keys import SigningKey, did_key
from ledger.membership import KEY_USES, KeyUse, key_row
from ledger.notes import COSIGNATURE_V1, Vkey
from ledger.rules.rotation import rotation_message
from ledger.times import Clock, system_clock

__all__ = ["INTERACTIVE", "MODERATE", "Cost", "NodeKeys", "encode_sets", "load_sets", "seal_to"]

ENROLMENT_DOMAIN = b"parley-enrolment/v1\n"
_SEAL_DOMAIN = b"parley-seal/v1\n"
_STORAGE_DOMAIN = b"parley-store/v1"


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
        did: the member's DID: ``did:key`` of its first entry key.
        number: which entry key of the member ``tx`` is, from 1.
        storage: 32 secret bytes from which the keys of what this node stores are derived; they stay.
        old_seals: X25519 secrets that were replaced; they still open what was sealed to them.
    """

    name: str
    net: str
    tx: SigningKey = field(repr=False)
    cosign: SigningKey = field(repr=False)
    tls_key: bytes = field(repr=False)
    tls_cert: bytes = field(repr=False)
    seal: bytes = field(repr=False)
    did: str
    number: int
    storage: bytes = field(repr=False)
    old_seals: tuple[bytes, ...] = field(default=(), repr=False)

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
        did = did_key(tx.public)
        return cls(name, net, tx, SigningKey.generate(), key, certificate, seal, did, 1, storage=seal)

    @property
    def kid(self) -> str:
        """Name of the entry key inside the DID."""
        return key_row(self.did, "tx", self.number)

    @property
    def seal_public(self) -> bytes:
        """X25519 public key to which others seal."""
        return bytes(PrivateKey(self.seal).public_key)

    def storage_key(self, use: bytes) -> bytes:
        """Derive 32 bytes that encrypt what this node stores for one use; another use gives another key."""
        return hashlib.blake2b(use, key=self.storage, digest_size=32, person=_STORAGE_DOMAIN).digest()

    def member_record(
        self, role: Literal["participant", "regulator"], title: str, endpoint: str
    ) -> dict[str, object]:
        """Return what the ledger is to hold of this member: public halves, name and address.

        Args:
            role: what the member may do in the consortium.
            title: its full name, for people.
            endpoint: ``host:port`` of its party channel.
        """
        about = {"did": self.did, "name": self.name, "title": title, "role": role, "endpoint": endpoint}
        return {**about, **self.public_record()}

    def public_record(self) -> dict[str, object]:
        """Return the public half of each key as a member record states it."""
        return {
            "tx": {"kid": self.kid, "alg": self.tx.alg, "public": base64url.encode(self.tx.public)},
            "cosign": Vkey(f"{self.net}/{self.name}", COSIGNATURE_V1, self.cosign.public).encode(),
            "tls": base64url.encode(self.tls_cert),
            "seal": base64url.encode(self.seal_public),
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
        payload = self._unsealed(ciphertext)
        bound = _bind(context)
        if not hmac.compare_digest(payload[: len(bound)], bound):
            raise SealBroken("expected a text sealed for this use, got one for another")
        return payload[len(bound) :]

    def _unsealed(self, ciphertext: bytes) -> bytes:
        for seal in (self.seal, *reversed(self.old_seals)):
            try:
                return bytes(SealedBox(PrivateKey(seal)).decrypt(ciphertext))
            except nacl.exceptions.CryptoError:
                continue
        raise SealBroken("expected a text sealed to this node's key")

    def rotated(self, uses: Collection[KeyUse], host: str, *, clock: Clock = system_clock) -> Self:
        """Draw new keys for some uses; the others, the DID and what was encrypted for storage stay.

        Args:
            uses: which keys to replace.
            host: host name or address that goes into a new certificate.
            clock: a new certificate's life begins now.
        """
        changed: dict[str, Any] = {}
        if "tx" in uses:
            changed |= {"tx": SigningKey.generate(), "number": self.number + 1}
        if "cosign" in uses:
            changed |= {"cosign": SigningKey.generate()}
        if "tls" in uses:
            key, certificate = tls.self_signed(
                f"{self.name}.parley.internal", uri=self.did, hosts=(host,), now=clock()
            )
            changed |= {"tls_key": key, "tls_cert": certificate}
        if "seal" in uses:
            changed |= {"seal": bytes(PrivateKey.generate()), "old_seals": (*self.old_seals, self.seal)}
        return replace(self, **changed)

    def rotation(self, old: NodeKeys) -> dict[str, object]:
        """Return the signed rotation that makes these keys follow ``old`` on the ledger."""
        before, after = old.public_record(), self.public_record()
        rotation: dict[str, object] = {
            "v": 1,
            "net": self.net,
            "did": self.did,
            "old": {"kid": old.kid, "cosign": before["cosign"]},
            "new": {use: after[use] for use in KEY_USES if after[use] != before[use]},
        }
        message = rotation_message(rotation)
        proofs = {"tx": self.tx.sign(message)}
        if self.cosign != old.cosign:
            proofs["cosign"] = self.cosign.sign(message)
        return {**rotation, "proofs": {use: base64url.encode(proof) for use, proof in proofs.items()}}

    def save(self, path: Path, passphrase: str, *, cost: Cost = MODERATE) -> None:
        """Write the encrypted key file, mode 0600, in a directory of mode 0700.

        Raises:
            Conflict: there is a file already; keys are never overwritten.
        """
        keyfile.write(path, encode_sets([self]), passphrase, cost)

    @classmethod
    def load(cls, path: Path, passphrase: str) -> Self:
        """Read a key file; the first of its sets, which counts until the ledger says otherwise.

        Raises:
            KeyFileExposed: others may read the file.
            KeyFileDamaged: there is none, or it is not as it was written.
            WrongPassphrase: it opens with another passphrase.
        """
        first = _read_sets(path, passphrase)[0]
        return cls._of(first)

    def _secret(self) -> dict[str, object]:
        return {
            "name": self.name,
            "net": self.net,
            "did": self.did,
            "number": self.number,
            "tx": base64url.encode(self.tx.seed),
            "cosign": base64url.encode(self.cosign.seed),
            "tls_key": self.tls_key.decode(),
            "tls_cert": base64url.encode(self.tls_cert),
            "seal": base64url.encode(self.seal),
            "storage": base64url.encode(self.storage),
            "old_seals": [base64url.encode(seal) for seal in self.old_seals],
        }

    @classmethod
    def _of(cls, secret: Mapping[str, Any]) -> Self:
        return cls(
            name=secret["name"],
            net=secret["net"],
            did=secret["did"],
            number=secret["number"],
            tx=SigningKey.from_seed(base64url.decode(secret["tx"])),
            cosign=SigningKey.from_seed(base64url.decode(secret["cosign"])),
            tls_key=secret["tls_key"].encode(),
            tls_cert=base64url.decode(secret["tls_cert"]),
            seal=base64url.decode(secret["seal"]),
            storage=base64url.decode(secret["storage"]),
            old_seals=tuple(base64url.decode(seal) for seal in secret["old_seals"]),
        )

    def __reduce__(self) -> tuple[object, ...]:
        raise TypeError("a node's keys are not serialised; save them to an encrypted file")


def encode_sets(sets: Iterable[NodeKeys]) -> bytes:
    """Return sets of keys as a key file holds them, for that encrypted file and nothing else."""
    return canonical.encode({"sets": [keys._secret() for keys in sets]})


def load_sets(path: Path, passphrase: str) -> tuple[NodeKeys, ...]:
    """Read all sets of a key file; at least one.

    Raises:
        KeyFileExposed, KeyFileDamaged, WrongPassphrase: see ``exchange.keyfile.read``.
    """
    return tuple(NodeKeys._of(secret) for secret in _read_sets(path, passphrase))


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


def _read_sets(path: Path, passphrase: str) -> list[Mapping[str, Any]]:
    try:
        sets: list[Mapping[str, Any]] = json.loads(keyfile.read(path, passphrase))["sets"]
    except (ValueError, KeyError, TypeError) as exc:
        raise KeyFileDamaged(f"expected a node's keys in {path.name}, got something else") from exc
    return sets


def _bind(context: bytes) -> bytes:
    return hashlib.sha256(_SEAL_DOMAIN + context).digest()
