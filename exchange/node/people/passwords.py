"""Passwords: hashed with Argon2id (RFC 9106), refused where they can be guessed.

No rules of composition and no expiry, as NIST SP 800-63B-4, section 3.1.1, has it: a least length, and an
estimate of the guesses that a password takes, which knows common passwords, names, dates and keyboard
patterns, and this person's and organisation's names.
"""

from __future__ import annotations

import threading
import unicodedata
from collections.abc import Iterable
from functools import cached_property
from typing import Any, Final

import argon2

from exchange.errors import InvalidRequest

__all__ = ["LONGEST", "Passwords"]

LONGEST: Final = 256
_ENOUGH: Final = 3  # of 4: more than 10^8 guesses
_ESTIMATED: Final = 72  # characters; the estimate takes too long on more
_AT_ONCE: Final = 2  # hashes at the same time: each takes the memory that the settings give it


class Passwords:
    """How one node keeps passwords.

    Args:
        memory_kib: memory of a hash.
        passes: passes of a hash.
        least_length: of a password, in characters.
    """

    def __init__(self, memory_kib: int, passes: int, least_length: int) -> None:
        self._hasher = argon2.PasswordHasher(time_cost=passes, memory_cost=memory_kib, parallelism=1)
        self._least_length = least_length
        self._slots = threading.Semaphore(_AT_ONCE)

    @cached_property
    def nobodys(self) -> str:
        """The hash that is checked where there is none, so that it takes as long; no password has it."""
        return self._hasher.hash(b"\xff nobody's")  # no text is encoded so

    def check(self, password: str, names: Iterable[str]) -> None:
        """Check that a new password is good enough.

        Args:
            password: what the person chose.
            names: words that a guesser would try for this person.

        Raises:
            InvalidRequest: too short, too long or too easily guessed. The password is not in the error.
        """
        text = _normal(password)
        if not self._least_length <= len(text) <= LONGEST:
            expected = f"{self._least_length} to {LONGEST} characters"
            raise InvalidRequest("password", expected, f"{len(text)} characters")
        import zxcvbn  # its word lists take longer to load than a node to start otherwise

        estimate: dict[str, Any] = zxcvbn.zxcvbn(text[:_ESTIMATED], user_inputs=list(names))
        if estimate["score"] < _ENOUGH:
            expected = "one that takes more than 100 million guesses"
            raise InvalidRequest("password", expected, "a common one, or one of common parts")

    def hashed(self, password: str) -> str:
        """Hash a password that is good enough."""
        with self._slots:
            return self._hasher.hash(_normal(password))

    def verify(self, hashed: str, password: str) -> bool:
        """Whether this is the password; takes the same time where ``hashed`` is ``nobodys``."""
        with self._slots:
            try:
                return self._hasher.verify(hashed, _normal(password)[:LONGEST])
            except (argon2.exceptions.VerificationError, argon2.exceptions.InvalidHashError):
                return False

    def renewed(self, hashed: str, password: str) -> str | None:
        """Hash a password that was just verified again, if the settings ask for more than its hash has."""
        return self.hashed(password) if self._hasher.check_needs_rehash(hashed) else None


def _normal(password: str) -> str:
    return unicodedata.normalize("NFKC", password)
