"""The keys of a witness: two to cosign as witness, two as mirror, one for TLS; kept encrypted.

Witness and mirror are two cosigners with two names, because a mirror's cosignature says more: that it holds
the entries. Each signs with Ed25519, which every client reads, and with ML-DSA-44 against quantum computers.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from exchange import keyfile, tls
from exchange.errors import KeyFileDamaged
from exchange.keyfile import MODERATE, Cost
from ledger import base64url
from ledger.checkpoints import Cosigner
from ledger.errors import MalformedKey
from ledger.keys import SigningKey
from ledger.mldsa import MlDsaKey
from ledger.times import Clock, system_clock

__all__ = ["WitnessKeys"]


@dataclass(frozen=True)
class WitnessKeys:
    """All keys of one witness. Its ``repr`` shows no secret.

    Attributes:
        name: name of the witness's keys; the mirror's is ``<name>/mirror``.
        witness: cosigns as witness.
        mirror: cosigns as mirror.
        tls_key: P-256 private key, PEM.
        tls_cert: its self-signed certificate, DER.
    """

    name: str
    witness: tuple[SigningKey, MlDsaKey] = field(repr=False)
    mirror: tuple[SigningKey, MlDsaKey] = field(repr=False)
    tls_key: bytes = field(repr=False)
    tls_cert: bytes = field(repr=False)

    @classmethod
    def generate(cls, name: str, host: str, *, clock: Clock = system_clock) -> Self:
        """Draw new keys; ``host`` goes into the certificate."""
        key, certificate = tls.self_signed("witness.parley.internal", hosts=(host,), now=clock())
        pairs = [(SigningKey.generate(), MlDsaKey.generate()) for _ in range(2)]
        return cls(name, pairs[0], pairs[1], key, certificate)

    @property
    def witness_cosigners(self) -> tuple[Cosigner, ...]:
        """The two keys under the witness's name."""
        return tuple(Cosigner(self.name, key) for key in self.witness)

    @property
    def mirror_cosigners(self) -> tuple[Cosigner, ...]:
        """The two keys under the mirror's name."""
        return tuple(Cosigner(f"{self.name}/mirror", key) for key in self.mirror)

    def save(self, path: Path, passphrase: str, *, cost: Cost = MODERATE) -> None:
        """Write the encrypted key file, mode 0600.

        Raises:
            Conflict: there is a file already; keys are never overwritten.
        """
        secret = {
            "name": self.name,
            "witness": [base64url.encode(key.seed) for key in self.witness],
            "mirror": [base64url.encode(key.seed) for key in self.mirror],
            "tls_key": self.tls_key.decode(),
            "tls_cert": base64url.encode(self.tls_cert),
        }
        keyfile.write(path, json.dumps(secret).encode(), passphrase, cost)

    @classmethod
    def load(cls, path: Path, passphrase: str) -> Self:
        """Read a key file.

        Raises:
            KeyFileExposed: others may read the file.
            KeyFileDamaged: there is none, it is not as it was written, or it is not a witness's.
            WrongPassphrase: it opens with another passphrase.
        """
        try:
            secret = json.loads(keyfile.read(path, passphrase))
            return cls(
                secret["name"],
                _pair(secret["witness"]),
                _pair(secret["mirror"]),
                secret["tls_key"].encode(),
                base64url.decode(secret["tls_cert"]),
            )
        except (ValueError, KeyError, TypeError, AttributeError, MalformedKey) as exc:
            raise KeyFileDamaged(f"expected a witness's keys in {path.name}, got something else") from exc


def _pair(seeds: list[str]) -> tuple[SigningKey, MlDsaKey]:
    plain, strong = (base64url.decode(seed) for seed in seeds)
    return SigningKey.from_seed(plain), MlDsaKey.from_seed(strong)
