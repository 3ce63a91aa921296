"""Types for values that must not leave the process: nothing of them prints, pickles or copies.

Python cannot erase memory, so these types do not claim to. They stop the ordinary leaks: log lines,
tracebacks that print locals, pickles between processes, and comparisons whose time depends on the value.
"""

from __future__ import annotations

import hmac
from typing import NoReturn, SupportsIndex

from mpc.errors import SecretNotSerialisable


class Unprintable:
    """Base of values whose ``repr`` shows the type alone and which refuse pickling and copying."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: not shown>"

    def __reduce_ex__(self, protocol: SupportsIndex) -> NoReturn:
        raise SecretNotSerialisable(f"{type(self).__name__} must not be pickled or copied")


class SecretBytes(Unprintable):
    """Secret bytes of known length; equality takes constant time.

    The value is reached by ``reveal()`` alone, so that every use can be found by name.
    """

    __slots__ = ("_value",)

    def __init__(self, value: bytes) -> None:
        self._value = value

    def reveal(self) -> bytes:
        """Return the bytes."""
        return self._value

    def __len__(self) -> int:
        return len(self._value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SecretBytes) and hmac.compare_digest(self._value, other._value)

    __hash__ = None  # type: ignore[assignment]  # a secret is no dictionary key


class SecretScalar(SecretBytes):
    """A secret exponent: 32 bytes, little-endian, between 1 and the group order less 1."""

    __slots__ = ()


class SecretSeeds(SecretBytes):
    """Secret 16-byte seeds, one after the other."""

    __slots__ = ()
