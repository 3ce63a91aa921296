"""One-time codes (TOTP, RFC 6238) as second factor, and the recovery codes for a lost device.

The secret is sealed under a key of the node and bound to its account. A code is accepted in its own half
minute and in the ones before and after, and once.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
from datetime import datetime
from typing import Final

import pyotp
from nacl.exceptions import CryptoError
from nacl.secret import Aead

from exchange.errors import SealBroken

__all__ = ["OneTimeCodes", "new_recovery_codes", "recovery_digest"]

_PERIOD_S: Final = 30
_DRIFT: Final = (0, -1, 1)
_SECRET_BYTES: Final = 20  # as RFC 4226, section 4, recommends
_RECOVERY_CODES: Final = 10
_RECOVERY_BYTES: Final = 10


class OneTimeCodes:
    """Secrets of one-time codes under a node's key.

    Args:
        key: 32 bytes.
        issuer: what the authenticator shows as the place where the code is for.
    """

    def __init__(self, key: bytes, issuer: str) -> None:
        self._box, self._issuer = Aead(key), issuer

    def new(self, account: str, name: str) -> tuple[bytes, str]:
        """Draw a secret; returns it sealed, and the ``otpauth`` address that an authenticator reads."""
        secret = secrets.token_bytes(_SECRET_BYTES)
        return bytes(self._box.encrypt(secret, _context(account))), self._totp(
            secret, name
        ).provisioning_uri()

    def accepted(self, account: str, sealed: bytes, code: str, now: datetime, after: int) -> int | None:
        """Return the time step of a code that is right now; None where it is not, or was used.

        Args:
            account: whose secret it is.
            sealed: the secret.
            code: six digits.
            now: the present time.
            after: the step of the last code that was accepted; that one and older ones are not again.

        Raises:
            SealBroken: the secret is another account's, or was altered.
        """
        if not re.fullmatch(r"[0-9]{6}", code):
            return None
        try:
            secret = self._box.decrypt(sealed, _context(account))
        except CryptoError:
            raise SealBroken("expected a one-time secret that this node sealed for the account") from None
        totp, present = self._totp(secret, ""), int(now.timestamp()) // _PERIOD_S
        steps = [present + drift for drift in _DRIFT]
        fitting = [step for step in steps if hmac.compare_digest(totp.generate_otp(step), code)]
        return next((step for step in fitting if step > after), None)

    def _totp(self, secret: bytes, name: str) -> pyotp.TOTP:
        return pyotp.TOTP(base64.b32encode(secret).decode(), name=name, issuer=self._issuer)


def new_recovery_codes() -> list[str]:
    """Draw ten codes of 80 bits, like ``k3qd-…``."""
    return [_recovery_code() for _ in range(_RECOVERY_CODES)]


def recovery_digest(account: str, code: str) -> str:
    """Return what is kept of a recovery code; spaces, hyphens and capitals do not count."""
    plain = re.sub(r"[\s-]", "", code).lower()
    return hashlib.sha256(f"parley-recovery/v1\n{account}\n{plain}".encode()).hexdigest()


def _recovery_code() -> str:
    code = base64.b32encode(secrets.token_bytes(_RECOVERY_BYTES)).decode().lower()
    return "-".join(code[place : place + 4] for place in range(0, len(code), 4))


def _context(account: str) -> bytes:
    return b"parley-totp/v1\n" + account.encode()
