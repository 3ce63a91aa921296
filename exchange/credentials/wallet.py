"""The wallet of a data subject: a key file (Argon2id) with one seed, and what was done with it.

What is derived from the seed is not kept, only how many names each counterpart was given, and the papers that
cannot be derived: consents given, attributes that somebody vouched for.
"""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

from exchange import keyfile
from exchange.credentials.errors import WalletRefused
from exchange.credentials.pseudonyms import pseudonym, root
from exchange.errors import KeyFileDamaged
from exchange.keyfile import MODERATE, Cost
from ledger import base64url
from ledger.keys import SEED_SIZE, SigningKey, did_key

__all__ = ["Wallet"]

_VERSION = 1


@dataclass(frozen=True)
class Wallet:
    """What a data subject holds. Its ``repr`` shows no secret.

    Attributes:
        seed: 32 secret bytes.
        given: how many pseudonyms each counterpart was given, by its DID.
        consents: id of each consent given, to counterpart and number of the pseudonym.
        papers: other things kept, by name; the values are secret.
    """

    seed: bytes = field(repr=False)
    given: dict[str, int] = field(default_factory=dict)
    consents: dict[str, dict[str, Any]] = field(default_factory=dict)
    papers: dict[str, str] = field(default_factory=dict, repr=False)

    @classmethod
    def new(cls) -> Self:
        """Draw a seed."""
        return cls(secrets.token_bytes(SEED_SIZE))

    @classmethod
    def load(cls, path: Path, passphrase: str) -> Self:
        """Open a wallet file.

        Raises:
            KeyFileExposed, KeyFileDamaged, WrongPassphrase: see ``exchange.keyfile.read``.
        """
        try:
            content = json.loads(keyfile.read(path, passphrase))
            if content["v"] != _VERSION:
                raise ValueError("expected another version")
            return cls(
                base64url.decode(content["seed"]), content["given"], content["consents"], content["papers"]
            )
        except (ValueError, KeyError, TypeError) as exc:
            raise KeyFileDamaged(f"expected a wallet in {path.name}, got something else") from exc

    def create(self, path: Path, passphrase: str, cost: Cost = MODERATE) -> None:
        """Write a new wallet file, mode 0600.

        Raises:
            Conflict: there is a file already.
        """
        keyfile.write(path, self._content(), passphrase, cost)

    def save(self, path: Path, passphrase: str) -> None:
        """Replace the content of the wallet's file."""
        keyfile.replace(path, self._content(), passphrase)

    @property
    def root(self) -> str:
        """The DID of the root identity."""
        return did_key(root(self.seed).public)

    def key(self, counterpart: str, number: int = 0) -> SigningKey:
        """The key of a pseudonym that the counterpart was given.

        Raises:
            WalletRefused: it was given none of that number.
        """
        if not 0 <= number < self.given.get(counterpart, 0):
            raise WalletRefused(f"{counterpart} was given no pseudonym {number} from this wallet")
        return pseudonym(self.seed, counterpart, number)

    def naming(self, counterpart: str) -> tuple[Wallet, str]:
        """Give a counterpart a further pseudonym: the wallet as it is then, and the DID."""
        number = self.given.get(counterpart, 0)
        after = replace(self, given={**self.given, counterpart: number + 1})
        return after, did_key(after.key(counterpart, number).public)

    def known_to(self, counterpart: str) -> tuple[Wallet, SigningKey]:
        """The first pseudonym of a counterpart, given to it now if it has none yet."""
        wallet = self if counterpart in self.given else self.naming(counterpart)[0]
        return wallet, wallet.key(counterpart)

    def consenting(self, consent: str, counterpart: str, asset: str, number: int = 0) -> Wallet:
        """The wallet once a consent was given."""
        kept = {"counterpart": counterpart, "number": number, "asset": asset}
        return replace(self, consents={**self.consents, consent: kept})

    def consent_key(self, consent: str) -> SigningKey:
        """The key that gave a consent.

        Raises:
            WalletRefused: this wallet gave none of that id.
        """
        kept = self.consents.get(consent)
        if kept is None:
            raise WalletRefused(f"this wallet has given no consent {consent}")
        return self.key(kept["counterpart"], kept["number"])

    def keeping(self, name: str, paper: str) -> Wallet:
        """The wallet with one more paper, in place of one of that name."""
        return replace(self, papers={**self.papers, name: paper})

    def without(self, name: str) -> Wallet:
        """The wallet without a paper."""
        return replace(self, papers={key: paper for key, paper in self.papers.items() if key != name})

    def paper(self, name: str) -> str:
        """A paper.

        Raises:
            WalletRefused: there is none of that name.
        """
        if name not in self.papers:
            raise WalletRefused(f"this wallet holds no {name}")
        return self.papers[name]

    def _content(self) -> bytes:
        content = {
            "v": _VERSION,
            "seed": base64url.encode(self.seed),
            "given": self.given,
            "consents": self.consents,
            "papers": self.papers,
        }
        return json.dumps(content, sort_keys=True).encode()

    def __reduce__(self) -> tuple[object, ...]:
        raise TypeError("a wallet is not serialised; save it to its encrypted file")
