"""The closed set of signature algorithms of entries.

``EdDSA`` is Ed25519 (RFC 8032) and always there. ``SM2-SM3`` is the signature of GB/T 32918.2 with the SM3
hash, for members who must use it; it needs the optional package ``gmssl-pyx``. Which of them a network allows
stands on its ledger. A member without a provider for an allowed algorithm cannot judge such an entry, so it
stops (``AlgorithmUnavailable``) instead of calling it invalid: every member has to reach the same state.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from types import MappingProxyType
from typing import Any, Protocol

from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

from ledger import keys
from ledger.errors import AlgorithmUnavailable, InvalidSignature

__all__ = ["ALGORITHMS", "EDDSA", "SIGNATURE_SIZE", "SM2_SM3", "Algorithm", "Signer", "Sm2Key", "verify"]

EDDSA = "EdDSA"
SM2_SM3 = "SM2-SM3"
SIGNATURE_SIZE = 64
"""Of every algorithm here, in bytes: R and S of Ed25519; r and s of SM2, each big-endian."""

_HALF = 32
_SM2_ORDER = 0xFFFFFFFEFFFFFFFFFFFFFFFFFFFFFFFF7203DF6B21C6052B53BBF40939D54123
"""Order of the group of the curve sm2p256v1 (GB/T 32918.5)."""


class Signer(Protocol):
    """A private key that signs entries."""

    @property
    def alg(self) -> str:
        """The algorithm's name in ``ALGORITHMS``."""

    @property
    def public(self) -> bytes:
        """The public key."""

    def sign(self, message: bytes) -> bytes:
        """Return 64 bytes."""


@dataclass(frozen=True)
class Algorithm:
    """One algorithm: its name, the size of a public key in bytes, and how a signature is checked.

    ``verify`` takes public key, message and signature, and raises ``InvalidSignature``.
    """

    name: str
    public_size: int
    verify: Callable[[bytes, bytes, bytes], None]


def verify(alg: str, public: bytes, message: bytes, signature: bytes) -> None:
    """Check a signature.

    Raises:
        InvalidSignature: another algorithm than those of the set, wrong lengths, or it does not verify.
        AlgorithmUnavailable: this installation has no provider for the algorithm.
    """
    algorithm = ALGORITHMS.get(alg)
    if algorithm is None:
        raise InvalidSignature(f"expected an algorithm of {', '.join(ALGORITHMS)}")
    algorithm.verify(public, message, signature)


@dataclass(frozen=True)
class Sm2Key:
    """An SM2 key pair. Its ``repr`` shows the public half only."""

    secret: bytes = field(repr=False)
    public: bytes
    alg = SM2_SM3

    @classmethod
    def generate(cls) -> Sm2Key:
        """Draw a new key.

        Raises:
            AlgorithmUnavailable: the provider is not installed.
        """
        public, secret = _gmssl().sm2_key_generate()
        return cls(secret, public)

    def sign(self, message: bytes) -> bytes:
        """Sign ``message``; 64 bytes."""
        r, s = decode_dss_signature(_gmssl().sm2_sign(self.secret, self.public, message))
        return r.to_bytes(_HALF, "big") + s.to_bytes(_HALF, "big")

    def __reduce__(self) -> tuple[object, ...]:
        raise TypeError("signing keys are not serialised; store the secret encrypted")


def _verify_sm2(public: bytes, message: bytes, signature: bytes) -> None:
    if len(public) != 2 * _HALF or len(signature) != SIGNATURE_SIZE:
        raise InvalidSignature("expected a 64-byte SM2 key and a 64-byte signature")
    r, s = int.from_bytes(signature[:_HALF], "big"), int.from_bytes(signature[_HALF:], "big")
    if not (0 < r < _SM2_ORDER and 0 < s < _SM2_ORDER):
        raise InvalidSignature("expected r and s within the group's order")
    provider = _gmssl()
    try:
        holds = provider.sm2_verify(public, message, encode_dss_signature(r, s))
    except provider.GmsslInnerError as exc:
        raise InvalidSignature("the public key is no point of the curve") from exc
    if holds is not True:
        raise InvalidSignature("the signature does not verify under the key")


@cache
def _gmssl() -> Any:  # noqa: ANN401 - a module without types
    try:
        return import_module("gmssl_pyx")
    except ModuleNotFoundError as exc:
        raise AlgorithmUnavailable(
            f"{SM2_SM3} needs a provider: pip install '.[sm2]', then start again"
        ) from exc


ALGORITHMS: Mapping[str, Algorithm] = MappingProxyType(
    {
        EDDSA: Algorithm(EDDSA, keys.PUBLIC_SIZE, keys.verify_signature),
        SM2_SM3: Algorithm(SM2_SM3, 2 * _HALF, _verify_sm2),
    }
)
