"""Scores under CKKS: a linear combination of encrypted columns, and the logistic function as a polynomial.

One ciphertext holds one feature of a block of rows, so a score is a sum of ciphertexts times plain weights:
no rotation, no Galois key, one multiplication deep. The logistic function is replaced by a polynomial of
degree 7 on [-8, 8], wrong by at most `LOGISTIC_ERROR`, four more multiplications deep.

Of each block two slots are kept for a copy of its first row: a result in which the copies differ by more than
`PRECISION` is garbage and refused. What TenSEAL decrypts is never returned: only values rounded to a stated
number of decimals are (Li, Micciancio 2021: the error of a decryption tells about the secret key).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mpc.errors import InvalidInput, MalformedMessage, ValueOutOfRange
from mpc.secrecy import Unprintable

__all__ = [
    "LOGISTIC_ERROR",
    "LOGISTIC_RANGE",
    "MAX_DECIMALS",
    "Link",
    "Model",
    "ScoreKey",
    "evaluate",
    "logistic",
]

MAX_DECIMALS: Final = 4
PRECISION: Final = 1e-5
"""Largest error of a score that is accepted; measured errors are below 3e-6."""
LINEAR_RANGE: Final = 2.0**14
LOGISTIC_RANGE: Final = 8.0
LOGISTIC_ERROR: Final = 0.033
_SCALE: Final = 2.0**40
_COEFFICIENTS: Final = (0.5, 1.73496, 0.0, -4.19407, 0.0, 5.43402, 0.0, -2.50739)
_COPIES: Final = 1


class Link(StrEnum):
    """What a score is of the linear combination."""

    LINEAR = "linear"
    LOGISTIC = "logistic"


@dataclass(frozen=True)
class _Parameters:
    """Ring dimension and the bits of the primes of the modulus, for 128 bits of security."""

    degree: int
    primes: tuple[int, ...]

    @property
    def rows(self) -> int:
        """Rows of a block."""
        return self.degree // 2 - _COPIES


PARAMETERS: Final = {
    Link.LINEAR: _Parameters(8192, (60, 40, 60)),
    Link.LOGISTIC: _Parameters(16384, (60, 40, 40, 40, 40, 40, 60)),
}


@dataclass(frozen=True, repr=False, eq=False)
class Model(Unprintable):
    """A linear model: float64[features] and an intercept."""

    weights: NDArray[np.float64]
    intercept: float

    def check_range(self, bound: float, link: Link) -> None:
        """Check that no features of magnitude up to ``bound`` leave the range of the link.

        Raises:
            ValueOutOfRange: some could, or a weight is not finite.
        """
        largest = float(np.abs(self.weights).sum()) * bound + abs(self.intercept)
        limit = LINEAR_RANGE if link is Link.LINEAR else LOGISTIC_RANGE
        if not largest <= limit:
            raise ValueOutOfRange(
                f"features within {bound:g} could give scores beyond the {limit:g} of {link}"
            )


class ScoreKey(Unprintable):
    """The client's key, made for one run."""

    __slots__ = ("_context", "link")

    def __init__(self, link: Link) -> None:
        self.link, self._context = link, _new_context(link)

    def public(self) -> bytes:
        """Return the public context: parameters and public key; relinearisation keys where needed."""
        found: bytes = self._context.serialize(
            save_public_key=True,
            save_secret_key=False,
            save_galois_keys=False,
            save_relin_keys=self.link is Link.LOGISTIC,
        )
        return found

    def encrypt(self, block: NDArray[np.float64], bound: float) -> list[bytes]:
        """Encrypt a block of rows, one ciphertext a feature.

        Args:
            block: float64[rows, features], at most as many rows as a block has.
            bound: largest magnitude that was agreed.

        Raises:
            ValueOutOfRange: a feature is not finite or larger.

        Security: indistinguishable under chosen plaintexts by ring-LWE at 128 bits (the homomorphic
        encryption standard's tables, which SEAL enforces). Randomness is SEAL's own, from the system.
        Leaks: the shape. Cost: 6 to 16 ms a feature. Source: Cheon, Kim, Kim, Song 2017.
        """
        beyond = int((~(np.abs(block) <= bound)).sum())
        if beyond:
            raise ValueOutOfRange(f"{beyond} features are not finite or beyond the agreed {bound:g}")
        rows = np.vstack([block, np.repeat(block[:1], _COPIES, axis=0)])
        tenseal = _tenseal()
        return [tenseal.ckks_vector(self._context, column.tolist()).serialize() for column in rows.T]

    def scores(self, ciphertext: bytes, rows: int, decimals: int) -> NDArray[np.int64]:
        """Decrypt the scores of a block and round them.

        Returns:
            int64[rows], scores times 10 to the power of ``decimals``.

        Raises:
            MalformedMessage: no ciphertext of this key, or its copies of one row disagree.

        Security: the key holder alone can; only rounded values leave. Leaks: nothing; local.
        Cost: 2 to 6 ms. Source: as `encrypt`; rounding: Li, Micciancio 2021.
        """
        vector = _loaded(self._context, ciphertext, rows + _COPIES)
        plain = np.array(_guarded(vector.decrypt, "scores"))
        limit = LINEAR_RANGE if self.link is Link.LINEAR else 2.0
        if not np.all(np.abs(plain) <= limit) or np.any(np.abs(plain[rows:] - plain[0]) > PRECISION):
            raise MalformedMessage("scores: the encrypted result has lost its precision")
        rounded: NDArray[np.int64] = np.rint(plain[:rows] * 10.0**decimals).astype(np.int64)
        return rounded


def evaluate(public: bytes, features: Sequence[bytes], rows: int, model: Model, link: Link) -> bytes:
    """Score a block of encrypted rows; what the model's owner does.

    Args:
        public: the client's public context.
        features: one ciphertext a weight.
        rows: of the block.
        model: stays here.
        link: what the score is of the linear combination.

    Returns:
        One ciphertext with a score a row.

    Raises:
        MalformedMessage: the context has other parameters or a secret key, or a ciphertext does not fit it.

    Security: learns nothing of the features, by `ScoreKey.encrypt`. The result's error depends on the
    weights and is the client's to see. Leaks: to the client each score, to some 20 bits.
    Cost: 1.5 to 7 ms a feature, and 0.35 s for the logistic polynomial, a block.
    Source: Cheon, Kim, Kim, Song 2017; polynomial: Kim, Song, Wang, Xia, Jiang 2018.
    """
    context = _public_context(public, link)
    vectors = [_loaded(context, ciphertext, rows + _COPIES) for ciphertext in features]
    # A ciphertext that loads may still have another scale or level than the arithmetic takes.
    scores: bytes = _guarded(lambda: _scored(vectors, model, link), "block")
    return scores


def logistic(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """The polynomial that stands for the logistic function, on plain numbers within `LOGISTIC_RANGE`."""
    powers = np.vander(np.asarray(scores) / LOGISTIC_RANGE, len(_COEFFICIENTS), increasing=True)
    found: NDArray[np.float64] = powers @ np.array(_COEFFICIENTS)
    return found


def block_rows(link: Link) -> int:
    """Rows of a block."""
    return PARAMETERS[link].rows


def _public_context(public: bytes, link: Link) -> Any:  # noqa: ANN401  # TenSEAL has no types
    context = _guarded(lambda: _tenseal().context_from(public), "context")
    if context.is_private() or _parameters_of(context) != _expected(link) or context.global_scale != _SCALE:
        raise MalformedMessage("context: expected the parameters of this protocol and no secret key")
    return context


@functools.cache
def _expected(link: Link) -> tuple[int, ...]:
    return _parameters_of(_new_context(link))


def _parameters_of(context: Any) -> tuple[int, ...]:  # noqa: ANN401
    """The hash by which SEAL knows a set of parameters."""
    return tuple(context.seal_context().data.key_parms_id())


def _new_context(link: Link) -> Any:  # noqa: ANN401
    tenseal, chosen = _tenseal(), PARAMETERS[link]
    context = tenseal.context(
        tenseal.SCHEME_TYPE.CKKS,
        poly_modulus_degree=chosen.degree,
        coeff_mod_bit_sizes=list(chosen.primes),
    )
    context.global_scale = _SCALE
    return context


def _scored(features: Sequence[Any], model: Model, link: Link) -> bytes:
    shrink = 1.0 if link is Link.LINEAR else 1.0 / LOGISTIC_RANGE
    total: Any = None
    for vector, weight in zip(features, (model.weights * shrink).tolist(), strict=True):
        # A weight of zero would make a ciphertext of zero, which SEAL refuses and anybody can read.
        term = vector * (weight or 2.0**-39)
        total = term if total is None else total + term
    total = total + model.intercept * shrink
    result: bytes = (total if link is Link.LINEAR else total.polyval(list(_COEFFICIENTS))).serialize()
    return result


def _loaded(context: Any, ciphertext: bytes, size: int) -> Any:  # noqa: ANN401
    vector = _guarded(lambda: _tenseal().ckks_vector_from(context, ciphertext), "ciphertext")
    if vector.size() != size:
        raise MalformedMessage(f"ciphertext: expected {size} slots, got {vector.size()}")
    return vector


def _guarded(load: Callable[[], Any], what: str) -> Any:  # noqa: ANN401
    try:
        return load()
    except (ValueError, RuntimeError, TypeError, IndexError) as exc:
        raise MalformedMessage(f"{what}: not of this encryption") from exc


def _tenseal() -> Any:  # noqa: ANN401
    try:
        import tenseal
    except ModuleNotFoundError:
        raise InvalidInput("scoring under encryption needs TenSEAL: pip install '.[tenseal]'") from None
    return tenseal
