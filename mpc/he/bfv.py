"""Polynomials under BFV, as SEAL has it: what sums of encrypted coefficients are made of.

Ring dimension 8192, a modulus of two primes of 60 bits and one of 17 that SEAL keeps for itself, plaintext
modulus 2^44: above 128 bits of security (the homomorphic encryption standard's table allows 218 bits).
SEAL makes keys, draws randomness, encrypts and decrypts; sums of products between are `mpc.he.ntt`'s. What
leaves a party after computing has the first prime alone, and of its first polynomial only the coefficients
that are meant to be decrypted (`released`).

Plaintexts never touch a disk: SEAL's own format passes through a file in memory. On the wire every object has
one size, without SEAL's compression.
"""

from __future__ import annotations

import functools
import os
import struct
from collections.abc import Callable
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mpc.errors import InvalidInput, MalformedMessage
from mpc.secrecy import Unprintable

__all__ = [
    "CIPHERTEXT_BYTES",
    "DEGREE",
    "KEY_BYTES",
    "MULTIPLIER_BYTES",
    "NOISE_BOUND",
    "PLAIN_BITS",
    "PublicKey",
    "SecretKey",
    "primes",
    "released",
    "residues",
]

DEGREE: Final = 8192
PLAIN_BITS: Final = 44
NOISE_BOUND: Final = 21
"""Largest magnitude of SEAL's centred binomial noise."""
CIPHERTEXT_BYTES: Final = 131_250
"""A fresh ciphertext: one polynomial, and the seed of the other."""
KEY_BYTES: Final = 393_313
MULTIPLIER_BYTES: Final = 16 * DEGREE
"""In memory."""
_BITS: Final = (60, 60, 17)
_HEAD_BYTES: Final = 97
"""What SEAL writes before the residues of a ciphertext."""
_HEADER_BYTES: Final = 16
_MARK_BYTES: Final = 5
_ZSTD, _PLAIN = 2, 0
_Residues = NDArray[np.uint64]


class SecretKey(Unprintable):
    """The key of one run. Encrypts symmetrically, so that a ciphertext is half as large."""

    __slots__ = ("_decryptor", "_encryptor", "_keys")

    def __init__(self) -> None:
        api, context = _api(), _context()
        self._keys = api.KeyGenerator(context)
        secret = self._keys.secret_key()
        self._encryptor, self._decryptor = api.Encryptor(context, secret), api.Decryptor(context, secret)

    def public(self) -> bytes:
        """The public key, `KEY_BYTES`; with it others encrypt zeros to hide what they added."""
        key = _api().PublicKey()
        self._keys.create_public_key(key)
        return _body(key)

    def encrypt(self, coefficients: NDArray[np.uint64]) -> bytes:
        """Encrypt a polynomial.

        Args:
            coefficients: uint64[DEGREE], below 2^`PLAIN_BITS`.

        Returns:
            `CIPHERTEXT_BYTES`.

        Raises:
            InvalidInput: another shape, or a coefficient beyond the plaintext modulus.

        Security: indistinguishable under chosen plaintexts by ring-LWE. Randomness is SEAL's own, from the
        system. Leaks: nothing. Cost: 2 ms. Source: Fan, Vercauteren 2012.
        """
        return _body(self._encryptor.encrypt_symmetric(_plaintext(coefficients)))

    def decrypt(self, first: _Residues, second: _Residues) -> _Residues:
        """Decrypt what `released` gave out: the coefficients that were shown.

        Raises:
            MalformedMessage: residues beyond the prime.

        Security: the key holder alone can. Leaks: nothing; local. Cost: 0.6 ms. Source: as `encrypt`.
        """
        step = DEGREE // len(first)
        both = np.zeros((2, 1, DEGREE), dtype=np.uint64)
        both[0, 0, ::step], both[1, 0] = first, second
        ciphertext, plain = _ciphertext(both, _context().last_parms_id()), _api().Plaintext()
        _guarded(lambda: self._decryptor.decrypt(ciphertext, plain), "sums")
        known = plain.coeff_count()
        found = [plain[at] if at < known else 0 for at in range(0, DEGREE, step)]
        return np.array(found, dtype=np.uint64)


class PublicKey:
    """The public key of another party.

    Raises:
        MalformedMessage: the bytes are no key of these parameters.
    """

    def __init__(self, raw: bytes) -> None:
        if len(raw) != KEY_BYTES:
            raise MalformedMessage(f"key: expected {KEY_BYTES} bytes, got {len(raw)}")
        key = _api().PublicKey()
        _load(key, raw, "key")
        self._encryptor = _guarded(lambda: _api().Encryptor(_context(), key), "key")

    def zero(self) -> Any:  # noqa: ANN401  # SEAL has no types
        """A fresh encryption of zero. Cost: 3 ms."""
        ciphertext = _api().Ciphertext(_context())
        self._encryptor.encrypt_zero(ciphertext)
        return ciphertext


def residues(ciphertext: bytes) -> _Residues:
    """Both polynomials of a fresh ciphertext, uint64[2, primes, DEGREE].

    Raises:
        MalformedMessage: no fresh ciphertext of these parameters.
    """
    if len(ciphertext) != CIPHERTEXT_BYTES:
        raise MalformedMessage(f"ciphertext: expected {CIPHERTEXT_BYTES} bytes, got {len(ciphertext)}")
    both = np.empty((2, len(primes()), DEGREE), dtype=np.uint64)
    body = slice(_HEAD_BYTES, _HEAD_BYTES + both[0].nbytes)
    both[0] = np.frombuffer(ciphertext[body], dtype="<u8").reshape(both[0].shape)
    # SEAL expands the seed of the second polynomial; zeros in place of the first are quick to compress.
    seed = ciphertext[: body.start] + bytes(both[0].nbytes) + ciphertext[body.stop :]
    found = _api().Ciphertext(_context())
    _load(found, seed, "ciphertext")
    is_fresh = found.size() == 2 and found.coeff_modulus_size() == len(primes()) and not found.is_ntt_form()
    if not is_fresh or found.is_transparent() or np.any(both[0] >= np.array(primes(), np.uint64)[:, None]):
        raise MalformedMessage("ciphertext: expected a fresh one of this encryption")
    raw = np.frombuffer(_body(found)[-both.nbytes :], dtype="<u8")
    both[1] = raw.reshape(both.shape)[1]
    return both


def released(total: _Residues, zero: Any, noise: _Residues, step: int) -> tuple[_Residues, _Residues]:  # noqa: ANN401
    """What may be shown of a total: every ``step``-th coefficient, hidden otherwise.

    Args:
        total: uint64[2, primes, DEGREE], a sum of products of `residues`.
        zero: from `PublicKey.zero`, not used before.
        noise: uint64[primes, DEGREE // step], residues added to the coefficients that are shown.
        step: distance of the coefficients that are shown.

    Returns:
        Modulo the first prime: those coefficients of the first polynomial, and the whole second one.
    """
    evaluator, flooded = _evaluator(), total.copy()
    flooded[0, :, ::step] = (flooded[0, :, ::step] + noise) % np.array(primes(), np.uint64)[:, None]
    evaluator.add_inplace(zero, _ciphertext(flooded, _context().first_parms_id()))
    evaluator.mod_switch_to_next_inplace(zero)
    first, second = np.frombuffer(_body(zero)[-16 * DEGREE :], dtype="<u8").reshape(2, DEGREE)
    return first[::step], second


@functools.cache
def primes() -> tuple[int, ...]:
    """The primes of a fresh ciphertext's modulus; what is released has the first alone."""
    found = _api().CoeffModulus.Create(DEGREE, list(_BITS))
    return tuple(one.value() for one in found[:-1])


@functools.cache
def _context() -> Any:  # noqa: ANN401
    api = _api()
    parameters = api.EncryptionParameters(api.SCHEME_TYPE.BFV)
    parameters.set_poly_modulus_degree(DEGREE)
    parameters.set_coeff_modulus(api.CoeffModulus.Create(DEGREE, list(_BITS)))
    parameters.set_plain_modulus(1 << PLAIN_BITS)
    return api.SEALContext(parameters, True, api.SEC_LEVEL_TYPE.TC128)


@functools.cache
def _evaluator() -> Any:  # noqa: ANN401
    return _api().Evaluator(_context())


def _plaintext(coefficients: NDArray[np.uint64]) -> Any:  # noqa: ANN401
    if coefficients.shape != (DEGREE,) or np.any(coefficients >> np.uint64(PLAIN_BITS)):
        raise InvalidInput(f"expected {DEGREE} coefficients below 2^{PLAIN_BITS}")
    plain = _api().Plaintext()
    _load(plain, _plain_prefix() + coefficients.astype("<u8").tobytes(), "plaintext")
    return plain


@functools.cache
def _plain_prefix() -> bytes:
    return _body(_api().Plaintext(DEGREE))[: -8 * DEGREE]


def _ciphertext(residues: _Residues, parameters: Any) -> Any:  # noqa: ANN401
    """A ciphertext of uint64[2, primes, DEGREE] residues at the parameters of that identifier."""
    count = residues.size
    head = struct.pack("<4Q?3Qd", *parameters, False, 2, DEGREE, residues.shape[1], 1.0)
    elements = _header(_HEADER_BYTES + 8 + 8 * count) + struct.pack("<Q", count)
    body = head + struct.pack("<Q", 1) + elements + residues.astype("<u8").tobytes()
    found = _api().Ciphertext()
    _load(found, body, "ciphertext")
    return found


def _body(made: Any) -> bytes:  # noqa: ANN401
    """What SEAL saves of an object, without header and compression."""
    raw = _saved(made)
    if raw[_MARK_BYTES] != _ZSTD:
        return raw[_HEADER_BYTES:]
    content = pa.CompressedInputStream(pa.BufferReader(memoryview(raw)[_HEADER_BYTES:]), "zstd")
    return bytes(content.read())


def _saved(made: Any) -> bytes:  # noqa: ANN401
    descriptor, path = _file()
    try:
        made.save(path)
        return os.pread(descriptor, os.fstat(descriptor).st_size, 0)
    finally:
        os.close(descriptor)


def _load(empty: Any, body: bytes, what: str) -> None:  # noqa: ANN401
    descriptor, path = _file()
    try:
        os.write(descriptor, _header(_HEADER_BYTES + len(body)) + body)
        _guarded(lambda: empty.load(_context(), path), what)
    finally:
        os.close(descriptor)


def _file() -> tuple[int, str]:
    descriptor = os.memfd_create("polynomial")
    return descriptor, f"/proc/self/fd/{descriptor}"


def _header(size: int) -> bytes:
    """SEAL's header, of its installed version, for an object of so many bytes in all, uncompressed."""
    return _mark() + struct.pack("<BHQ", _PLAIN, 0, size)


@functools.cache
def _mark() -> bytes:
    return _saved(_api().Plaintext())[:_MARK_BYTES]


def _guarded(act: Callable[[], Any], what: str) -> Any:  # noqa: ANN401
    try:
        return act()
    except (ValueError, RuntimeError, TypeError, IndexError) as exc:
        raise MalformedMessage(f"{what}: not of this encryption") from exc


@functools.cache
def _api() -> Any:  # noqa: ANN401
    try:
        from tenseal import sealapi
    except ModuleNotFoundError:
        raise InvalidInput("sums of encrypted coefficients need TenSEAL: pip install '.[tenseal]'") from None
    return sealapi
