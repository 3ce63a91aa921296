"""Values that nobody has: identifiers and texts of a twin, in the form of the column and never from its data.

Each kind is taken from a range that is not given to anyone: identity numbers of a province that does not
exist, card numbers of an issuer that does not, telephone numbers of an unassigned country code, addresses
under ``.invalid`` (RFC 2606).
"""

from __future__ import annotations

from typing import Final

import numpy as np
import pyarrow as pa

from exchange.publishing.content import Content

__all__ = ["values"]

_IDENTITY_WEIGHTS: Final = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
_CREDIT_ALPHABET: Final = "0123456789ABCDEFGHJKLMNPQRTUWXY"
_LOWEST: Final = {8: 0, 16: 0, 32: 2_000_000_000, 64: 9_000_000_000_000_000}


def values(kind: pa.DataType, content: Content | None, count: int, rng: np.random.Generator) -> pa.Array:
    """Make values up.

    Args:
        kind: the column's type; the values have it.
        content: what the column is taken to hold.
        count: how many.
        rng: seeded from secret randomness.
    """
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return pa.array([_text(content, int(n)) for n in rng.integers(0, 10**9, count)], kind)
    if pa.types.is_integer(kind):
        if content is Content.PHONE and kind.bit_width == 64:
            return pa.array(
                10_000_000_000 + rng.integers(0, 10**9, count), kind
            )  # no mobile number starts so
        lowest = _LOWEST[kind.bit_width]
        spread = min(10**8, 2 ** (kind.bit_width - 1) - 1 - lowest)
        return pa.array(lowest + rng.integers(0, spread, count), pa.int64()).cast(kind)
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        return pa.array([rng.bytes(8) for _ in range(count)], kind)
    return pa.nulls(count, kind)


def _text(content: Content | None, number: int) -> str:
    match content:
        case Content.RESIDENT_IDENTITY:
            body = f"990000{1950 + number % 60}{1 + number % 12:02d}{1 + number % 28:02d}{number % 1000:03d}"
            total = sum(int(digit) * weight for digit, weight in zip(body, _IDENTITY_WEIGHTS, strict=True))
            return body + "10X98765432"[total % 11]
        case Content.CREDIT_CODE:
            body = f"Y9990000{number:09d}"
            total = sum(_CREDIT_ALPHABET.index(letter) * pow(3, i, 31) for i, letter in enumerate(body))
            return body + _CREDIT_ALPHABET[-total % 31]
        case Content.BANK_CARD:
            return _with_luhn(f"999999{number:09d}")
        case Content.PHONE:
            return f"+999{number:09d}"
        case Content.EMAIL:
            return f"person{number}@example.invalid"
        case Content.PERSON_NAME:
            return f"Person {number}"
        case Content.ADDRESS:
            return f"{number} Example Street"
        case _:
            return f"TWIN-{number:09d}"


def _with_luhn(body: str) -> str:
    doubled = [int(digit) * (2 if place % 2 == 0 else 1) for place, digit in enumerate(reversed(body))]
    return body + str(-sum(value - 9 if value > 9 else value for value in doubled) % 10)
