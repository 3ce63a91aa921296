"""The group ristretto255 (RFC 9496): prime order, canonical 32-byte encodings, hashing to elements.

Elements travel and are stored as their encodings, one after the other in one bytes object, and are worked on
in bulk. libsodium does the arithmetic, through the library that `rbcl` ships: constant time in the scalar. It
is called through ctypes, which releases the interpreter lock during each call, and writes into one buffer.

Not here: the identity element. No protocol of this package sends or expects it, and every function refuses
it.
"""

from __future__ import annotations

import ctypes
import hashlib
import importlib
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final, NamedTuple

from mpc.errors import InvalidInput, MalformedMessage
from mpc.randomness import Randomness
from mpc.secrecy import SecretScalar

ELEMENT_BYTES: Final = 32
SCALAR_BYTES: Final = 32
_UNIFORM_BYTES: Final = 64
_SHA512_BLOCK_BYTES: Final = 128
_IDENTITY: Final = bytes(ELEMENT_BYTES)


class _Sodium(NamedTuple):
    from_hash: Callable[[int, bytes], int]
    multiply: Callable[[int, bytes, int], int]
    multiply_base: Callable[[int, bytes], int]
    add: Callable[[int, int, int], int]
    subtract: Callable[[int, int, int], int]
    reduce_scalar: Callable[[int, bytes], None]


@cache
def _sodium() -> _Sodium:
    """Load libsodium on first use.

    `rbcl` writes the library to a temporary file for the loader and leaves it there; once loaded the file is
    no longer needed, so it is removed.
    """
    rbcl = importlib.import_module("rbcl.rbcl")
    library: ctypes.CDLL = rbcl._sodium
    Path(library._name).unlink(missing_ok=True)

    def function(name: str, *arguments: Any) -> Any:  # noqa: ANN401  # ctypes has no narrower type
        return ctypes.CFUNCTYPE(ctypes.c_int, *arguments)((name, library))

    address, constant = ctypes.c_void_p, ctypes.c_char_p
    return _Sodium(
        from_hash=function("crypto_core_ristretto255_from_hash", address, constant),
        multiply=function("crypto_scalarmult_ristretto255", address, constant, address),
        multiply_base=function("crypto_scalarmult_ristretto255_base", address, constant),
        add=function("crypto_core_ristretto255_add", address, address, address),
        subtract=function("crypto_core_ristretto255_sub", address, address, address),
        reduce_scalar=function("crypto_core_ristretto255_scalar_reduce", address, constant),
    )


def random_scalar(rng: Randomness) -> SecretScalar:
    """Draw a secret scalar, uniform between 1 and the group order less 1.

    Security: 64 uniform bytes modulo the order; distance from uniform below 2**-259.
    Leaks: nothing; local.
    Cost: local; one reduction.
    Source: RFC 9496, section 4.4 (scalar field), wide reduction.
    """
    scalar = ctypes.create_string_buffer(SCALAR_BYTES)
    while True:
        _sodium().reduce_scalar(ctypes.addressof(scalar), rng.bytes(_UNIFORM_BYTES))
        if scalar.raw != bytes(SCALAR_BYTES):
            return SecretScalar(scalar.raw)


def hash_to_group(messages: Sequence[bytes], separation: bytes) -> bytes:
    """Map each message to an element whose discrete logarithm nobody knows.

    Args:
        messages: n byte strings of any length.
        separation: domain separation tag, at most 255 bytes.

    Returns:
        n elements, 32 bytes each, in the same order.

    Security: a random oracle into the group if SHA-512's compression function is one.
    Leaks: running time depends on the lengths of the messages, not on their content.
    Cost: local; 20 microseconds a message.
    Source: RFC 9380, appendix B: ristretto255_XMD:SHA-512_R255MAP_RO_.
    """
    if len(separation) > 255:
        raise InvalidInput(f"a domain separation tag has at most 255 bytes, got {len(separation)}")
    suffix = separation + bytes([len(separation)])
    # RFC 9380, section 5.3.1: b_0 = H(Z_pad || msg || 64 || 0 || DST'), b_1 = H(b_0 || 1 || DST').
    first_suffix = _UNIFORM_BYTES.to_bytes(2, "big") + b"\0" + suffix
    second_suffix = b"\1" + suffix
    padded = hashlib.sha512(bytes(_SHA512_BLOCK_BYTES))
    sha512 = hashlib.sha512

    def expand(message: bytes) -> bytes:
        state = padded.copy()
        state.update(message + first_suffix)
        return sha512(state.digest() + second_suffix).digest()

    elements = ctypes.create_string_buffer(ELEMENT_BYTES * len(messages) or 1)
    start, from_hash = ctypes.addressof(elements), _sodium().from_hash
    for index, message in enumerate(messages):
        from_hash(start + ELEMENT_BYTES * index, expand(message))
    return elements.raw[: ELEMENT_BYTES * len(messages)]


def multiply(scalar: SecretScalar, elements: bytes) -> bytes:
    """Multiply each element by one secret scalar.

    Args:
        scalar: the multiplier.
        elements: n encodings, 32 bytes each; each is decoded and checked before any arithmetic on it.

    Returns:
        n elements, in the same order.

    Raises:
        MalformedMessage: an encoding is not canonical, not of the group, or the identity.

    Security: constant time in the scalar.
    Leaks: nothing; local.
    Cost: local; 60 microseconds an element.
    Source: RFC 9496, section 4.
    """
    count = _count(elements)
    _check_top_bits(elements)
    products = ctypes.create_string_buffer(len(elements) or 1)
    source, start = _address(elements), ctypes.addressof(products)
    call, secret = _sodium().multiply, scalar.reveal()
    refused = [
        offset
        for offset in range(0, ELEMENT_BYTES * count, ELEMENT_BYTES)
        if call(start + offset, secret, source + offset)
    ]
    if refused:
        raise MalformedMessage(f"{len(refused)} of {count} encodings are no element of ristretto255")
    return products.raw[: len(elements)]


def multiply_base(scalar: SecretScalar) -> bytes:
    """Multiply the generator by a secret scalar.

    Security: constant time in the scalar.
    Leaks: nothing; local.
    Cost: local; 20 microseconds.
    Source: RFC 9496, section 4.
    """
    product = ctypes.create_string_buffer(ELEMENT_BYTES)
    _sodium().multiply_base(ctypes.addressof(product), scalar.reveal())
    return product.raw


def add(left: bytes, right: bytes) -> bytes:
    """Add two elements.

    Raises:
        MalformedMessage: an operand is no element, or the sum is the identity.

    Security: constant time for valid elements.
    Leaks: nothing; local.
    Cost: local; 20 microseconds.
    Source: RFC 9496, section 4.
    """
    return _combine(_sodium().add, left, right)


def subtract(left: bytes, right: bytes) -> bytes:
    """Subtract the second element from the first.

    Raises:
        MalformedMessage: an operand is no element, or the difference is the identity.

    Security: constant time for valid elements.
    Leaks: nothing; local.
    Cost: local; 20 microseconds.
    Source: RFC 9496, section 4.
    """
    return _combine(_sodium().subtract, left, right)


def _combine(operation: Callable[[int, int, int], int], left: bytes, right: bytes) -> bytes:
    if _count(left) != 1 or _count(right) != 1:
        raise InvalidInput("addition takes one element on each side")
    _check_top_bits(left + right)
    result = ctypes.create_string_buffer(ELEMENT_BYTES)
    refused = operation(ctypes.addressof(result), _address(left), _address(right))
    if refused or _IDENTITY in (left, right, result.raw):
        raise MalformedMessage("an encoding is no element of ristretto255, or the result is the identity")
    return result.raw


def _check_top_bits(elements: bytes) -> None:
    # RFC 9496 refuses an encoding of 2**255 or more; the libsodium that rbcl ships ignores the bit instead.
    count = sum(last > 0x7F for last in elements[ELEMENT_BYTES - 1 :: ELEMENT_BYTES])
    if count:
        raise MalformedMessage(f"{count} encodings are not canonical")


def _address(data: bytes) -> int:
    # The caller keeps ``data`` alive during the call, and libsodium only reads it.
    return ctypes.cast(ctypes.c_char_p(data), ctypes.c_void_p).value or 0


def _count(elements: bytes) -> int:
    count, rest = divmod(len(elements), ELEMENT_BYTES)
    if rest:
        raise InvalidInput(f"elements take {ELEMENT_BYTES} bytes each, got {len(elements)} bytes")
    return count
