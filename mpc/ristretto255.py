"""The group ristretto255 (RFC 9496): prime order, canonical 32-byte encodings, hashing to elements.

Elements travel and are stored as their encodings, one after the other in one bytes object, and are worked on
in bulk. Few elements go to libsodium, through the library that `rbcl` ships; many go to
`mpc.lanes`, four at a time and on all cores, with the same results. Both are constant time in the
scalar, and threads of other jobs run meanwhile: neither holds the interpreter lock.

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

import numpy as np

from mpc.cores import over_slices
from mpc.errors import InvalidInput, MalformedMessage
from mpc.randomness import Randomness
from mpc.secrecy import SecretScalar

ELEMENT_BYTES: Final = 32
SCALAR_BYTES: Final = 32
MANY: Final = 1024
"""From this number of elements on, all cores work on them."""
_SLICE: Final = 512
UNIFORM_BYTES: Final = 64
_SHA512_BLOCK_BYTES: Final = 128
_IDENTITY: Final = bytes(ELEMENT_BYTES)


class _Sodium(NamedTuple):
    from_hash: Callable[[int, bytes], int]
    multiply: Callable[[int, bytes, int], int]
    multiply_base: Callable[[int, bytes], int]
    add: Callable[[int, int, int], int]
    subtract: Callable[[int, int, int], int]
    reduce_scalar: Callable[[int, bytes], None]
    invert_scalar: Callable[[int, int], int]
    multiply_scalars: Callable[[int, bytes, bytes], None]
    subtract_scalars: Callable[[int, bytes, int], None]


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
        invert_scalar=function("crypto_core_ristretto255_scalar_invert", address, address),
        multiply_scalars=function("crypto_core_ristretto255_scalar_mul", address, constant, constant),
        subtract_scalars=function("crypto_core_ristretto255_scalar_sub", address, constant, address),
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
        _sodium().reduce_scalar(ctypes.addressof(scalar), rng.bytes(UNIFORM_BYTES))
        if scalar.raw != bytes(SCALAR_BYTES):
            return SecretScalar(scalar.raw)


def hash_to_group(messages: Sequence[bytes], separation: bytes, scalar: SecretScalar | None = None) -> bytes:
    """Map each message to an element whose discrete logarithm nobody knows.

    Args:
        messages: n byte strings of any length.
        separation: domain separation tag, at most 255 bytes.
        scalar: multiply each element by it, which costs less here than in a call of its own.

    Returns:
        n elements, 32 bytes each, in the same order.

    Security: a random oracle into the group if SHA-512's compression function is one.
    Leaks: running time depends on the lengths of the messages, not on their content.
    Cost: local; 10 microseconds a message and core with `MANY` messages, 24 with fewer; with a scalar 33 and
        86.
    Source: RFC 9380, appendix B: ristretto255_XMD:SHA-512_R255MAP_RO_.
    """
    return from_uniform(expand(messages, separation), scalar)


def expand(messages: Sequence[bytes], separation: bytes) -> bytes:
    """Hash each message to 64 uniform bytes: the first half of `hash_to_group`.

    Security: a random oracle if SHA-512's compression function is one.
    Leaks: running time depends on the lengths of the messages, not on their content.
    Cost: local; 4 microseconds a message.
    Source: RFC 9380, section 5.3.1: expand_message_xmd.
    """
    return b"".join(map(_expander(separation), messages))


def from_uniform(uniform: bytes, scalar: SecretScalar | None = None) -> bytes:
    """Map each 64 uniform bytes to an element: the second half of `hash_to_group`, with its arguments.

    Security: as `hash_to_group`.
    Leaks: nothing; local.
    Cost: local; 6 microseconds an element and core with `MANY` elements, 20 with fewer; with a scalar 29 and
        82.
    Source: RFC 9496, section 4.3.4.
    """
    count = len(uniform) // UNIFORM_BYTES
    if count >= MANY:
        return _in_lanes(None if scalar is None else scalar.reveal(), uniform, UNIFORM_BYTES)
    elements = ctypes.create_string_buffer(ELEMENT_BYTES * count or 1)
    start, from_hash = ctypes.addressof(elements), _sodium().from_hash
    for index in range(count):
        from_hash(start + ELEMENT_BYTES * index, uniform[UNIFORM_BYTES * index : UNIFORM_BYTES * (index + 1)])
    mapped = elements.raw[: ELEMENT_BYTES * count]
    return mapped if scalar is None else multiply(scalar, mapped)


def _expander(separation: bytes) -> Callable[[bytes], bytes]:
    if len(separation) > 255:
        raise InvalidInput(f"a domain separation tag has at most 255 bytes, got {len(separation)}")
    suffix = separation + bytes([len(separation)])
    # RFC 9380, section 5.3.1: b_0 = H(Z_pad || msg || 64 || 0 || DST'), b_1 = H(b_0 || 1 || DST').
    first_suffix = UNIFORM_BYTES.to_bytes(2, "big") + b"\0" + suffix
    second_suffix = b"\1" + suffix
    padded = hashlib.sha512(bytes(_SHA512_BLOCK_BYTES))
    sha512 = hashlib.sha512

    def expanded(message: bytes) -> bytes:
        state = padded.copy()
        state.update(message + first_suffix)
        return sha512(state.digest() + second_suffix).digest()

    return expanded


def hash_to_scalar(messages: Sequence[bytes], separation: bytes) -> bytes:
    """Map each message to a scalar: n scalars of 32 bytes.

    Security: a random oracle into the scalars if SHA-512's compression function is one.
    Leaks: running time depends on the lengths of the messages, not on their content.
    Cost: local; 3 microseconds a message.
    Source: RFC 9497, section 4.1, HashToScalar.
    """
    uniform, reduce = _expander(separation), _sodium().reduce_scalar
    scalars = ctypes.create_string_buffer(SCALAR_BYTES * len(messages) or 1)
    start = ctypes.addressof(scalars)
    for index, message in enumerate(messages):
        reduce(start + SCALAR_BYTES * index, uniform(message))
    return scalars.raw[: SCALAR_BYTES * len(messages)]


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
    Cost: local; 27 microseconds an element and core with `MANY` elements, 62 with fewer.
    Source: RFC 9496, section 4.
    """
    count = _count(elements)
    if count >= MANY:
        return _in_lanes(scalar.reveal(), elements, ELEMENT_BYTES)
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


def multiply_each(scalars: bytes, elements: bytes) -> bytes:
    """Multiply each element by a scalar of its own.

    Args:
        scalars: n scalars, 32 bytes each.
        elements: n encodings, 32 bytes each.

    Returns:
        n elements, in the same order.

    Raises:
        MalformedMessage: an encoding is no element, or a product is the identity.

    Security: constant time in the scalars.
    Leaks: nothing; local.
    Cost: local; 28 microseconds an element and core with `MANY` elements, 62 with fewer.
    Source: RFC 9496, section 4.
    """
    count = _count(elements)
    if len(scalars) != SCALAR_BYTES * count:
        raise InvalidInput(f"expected a scalar an element, got {len(scalars)} and {len(elements)} bytes")
    if count >= MANY:
        return _in_lanes(scalars, elements, ELEMENT_BYTES)
    width = ELEMENT_BYTES
    return b"".join(
        multiply(SecretScalar(scalars[at : at + width]), elements[at : at + width])
        for at in range(0, len(elements), width)
    )


def sum_of(elements: bytes) -> bytes:
    """Add n elements, at least one; raises and costs as `add` does, n - 1 times."""
    total = elements[:ELEMENT_BYTES]
    for at in range(ELEMENT_BYTES, len(elements), ELEMENT_BYTES):
        total = add(total, elements[at : at + ELEMENT_BYTES])
    return total


def invert_each(scalars: bytes) -> bytes:
    """Invert n scalars that are not zero, 32 bytes each, modulo the group order.

    Security: constant time in the scalars.
    Leaks: nothing; local.
    Cost: local; 15 microseconds a scalar.
    Source: RFC 9496, section 4.4.
    """
    inverses = ctypes.create_string_buffer(len(scalars) or 1)
    source, start = _address(scalars), ctypes.addressof(inverses)
    call = _sodium().invert_scalar
    for at in range(0, len(scalars), SCALAR_BYTES):
        if call(start + at, source + at):
            raise InvalidInput("zero has no inverse")
    return inverses.raw[: len(scalars)]


def subtract_product(scalar: SecretScalar, left: bytes, right: SecretScalar) -> bytes:
    """Compute ``scalar - left * right`` modulo the group order: 32 bytes.

    Security: constant time in the scalars.
    Leaks: nothing; local.
    Cost: local; under a microsecond.
    Source: RFC 9496, section 4.4.
    """
    product = ctypes.create_string_buffer(SCALAR_BYTES)
    _sodium().multiply_scalars(ctypes.addressof(product), left, right.reveal())
    difference = ctypes.create_string_buffer(SCALAR_BYTES)
    _sodium().subtract_scalars(ctypes.addressof(difference), scalar.reveal(), ctypes.addressof(product))
    return difference.raw


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


def _in_lanes(scalars: bytes | None, data: bytes, width: int) -> bytes:
    """Let all cores work on slices of many rows; one scalar for all of them, or one each.

    Raises:
        MalformedMessage: a row is no canonical encoding of an element, or the identity.
    """
    # Compiled code takes seconds to make and half a second to load, which a small set need not wait for.
    bulk = importlib.import_module("mpc.lanes.bulk")
    rows = np.frombuffer(data, dtype=np.uint8).reshape(-1, width)
    secrets = None if scalars is None else np.frombuffer(scalars, dtype=np.uint8).reshape(-1, SCALAR_BYTES)

    def computed(part: slice) -> tuple[bytes, bool]:
        own = secrets if secrets is None or len(secrets) == 1 else secrets[part]
        elements, are_valid = bulk.apply(own, rows[part])
        return elements.tobytes(), are_valid

    done = over_slices(computed, len(rows), _SLICE)
    if not all(are_valid for _, are_valid in done):
        raise MalformedMessage(f"of {len(rows)} encodings not all are elements of ristretto255")
    return b"".join(elements for elements, _ in done)


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
