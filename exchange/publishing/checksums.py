"""Which texts of a column are well-formed numbers of a kind, check digits included; a column at a time.

Each function takes a column of texts and returns for each whether it is valid; a missing one is not. Spaces
and hyphens have been taken out and letters are in upper case.

Sources: GB 11643-1999 (resident identity number), GB 32100-2015 (unified social credit code), ISO/IEC 7812-1
annex B (Luhn), ITU-T E.164, and the Chinese numbering plan for mobile telephones.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

__all__ = ["bank_card", "calendar_date", "credit_code", "email", "matches", "phone", "resident_identity"]

Valid = NDArray[np.bool_]
Digits = NDArray[np.int64]

_PROVINCES: Final = (
    *range(11, 16),
    *range(21, 24),
    *range(31, 38),
    *range(41, 47),
    *range(50, 55),
    *range(61, 66),
    71,
    81,
    82,
    83,
)
_IDENTITY_WEIGHTS: Final = np.array([7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2])
_IDENTITY_CHECK: Final = np.frombuffer(b"10X98765432", dtype=np.uint8)
_CREDIT_ALPHABET: Final = "0123456789ABCDEFGHJKLMNPQRTUWXY"
_CREDIT_WEIGHTS: Final = np.array([pow(3, place, 31) for place in range(17)])
_LONGEST_CARD: Final = 19
_DAYS: Final = np.array([31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31])
_OLDEST, _NEWEST = 1900, 2100


def resident_identity(texts: pa.Array) -> Valid:
    """Chinese resident identity numbers: 17 digits and a check character modulo 11-2, with a real date."""
    form = matches(texts, r"^[1-9]\d{16}[\dX]$")
    symbols = _symbols(texts, form, 18)
    digits = symbols[:, :17].astype(np.int64) - ord("0")
    check = _IDENTITY_CHECK[(digits @ _IDENTITY_WEIGHTS) % 11] == symbols[:, 17]
    province = np.isin(digits[:, 0] * 10 + digits[:, 1], _PROVINCES)
    return _scattered(form, check & province & _is_date(digits[:, 6:14]))


def credit_code(texts: pa.Array) -> Valid:
    """Unified social credit codes of Chinese organisations: 17 characters and one modulo 31."""
    form = matches(texts, f"^[1-9A-Z]\\d{{7}}[{_CREDIT_ALPHABET}]{{10}}$")
    values = np.full(256, -1, dtype=np.int64)
    for value, letter in enumerate(_CREDIT_ALPHABET):
        values[ord(letter)] = value
    codes = values[_symbols(texts, form, 18)]
    check = (31 - (codes[:, :17] @ _CREDIT_WEIGHTS) % 31) % 31
    return _scattered(form, (check == codes[:, 17]) & (codes >= 0).all(axis=1))


def bank_card(texts: pa.Array) -> Valid:
    """Card numbers: 15 to 19 digits whose Luhn sum is a multiple of ten."""
    form = matches(texts, r"^[1-9]\d{14,18}$")
    padded = pc.utf8_lpad(texts.filter(pa.array(form)), width=_LONGEST_CARD, padding="0")
    digits = _bytes_of(padded, _LONGEST_CARD).astype(np.int64) - ord("0")
    doubled = digits[:, -2::-2] * 2
    total = digits[:, -1::-2].sum(axis=1) + (doubled - 9 * (doubled > 9)).sum(axis=1)
    return _scattered(form, total % 10 == 0)


def phone(texts: pa.Array) -> Valid:
    """Telephone numbers: Chinese mobile ones with or without 86, others in E.164 with a plus sign."""
    return matches(texts, r"^(?:(?:\+|00)?86)?1[3-9]\d{9}$|^\+[1-9]\d{6,14}$")


def email(texts: pa.Array) -> Valid:
    """Electronic mail addresses in the form that is in use (a part of RFC 5322)."""
    return matches(texts, r"^[A-Z0-9._%+-]{1,64}@(?:[A-Z0-9](?:[A-Z0-9-]{0,61}[A-Z0-9])?\.)+[A-Z]{2,24}$")


def calendar_date(texts: pa.Array) -> Valid:
    """Dates of the calendar from 1900 to 2099, as ``19800229`` (separators have been taken out)."""
    form = matches(texts, r"^(?:19|20)\d{6}$")
    return _scattered(form, _is_date(_symbols(texts, form, 8).astype(np.int64) - ord("0")))


def matches(texts: pa.Array, pattern: str) -> Valid:
    """Whether each text matches a pattern; a missing one does not."""
    found = pc.match_substring_regex(texts, pattern)
    return np.asarray(pc.fill_null(found, False).to_numpy(zero_copy_only=False), dtype=np.bool_)


def _is_date(digits: Digits) -> Valid:
    """Whether rows of eight digits are a date: year, month, day."""
    year = digits[:, :4] @ np.array([1000, 100, 10, 1])
    month, day = (digits[:, at] * 10 + digits[:, at + 1] for at in (4, 6))
    is_month = (month >= 1) & (month <= 12)
    leap = ((year % 4 == 0) & (year % 100 != 0)) | (year % 400 == 0)
    last = _DAYS[np.where(is_month, month, 1) - 1] - ((month == 2) & ~leap)
    result = is_month & (day >= 1) & (day <= last) & (year >= _OLDEST) & (year < _NEWEST)
    return np.asarray(result, dtype=np.bool_)


def _symbols(texts: pa.Array, chosen: Valid, width: int) -> NDArray[np.uint8]:
    return _bytes_of(texts.filter(pa.array(chosen)), width)


def _bytes_of(texts: pa.Array, width: int) -> NDArray[np.uint8]:
    """The characters of texts that all have ``width`` bytes, a row for each."""
    if not len(texts):
        return np.zeros((0, width), dtype=np.uint8)
    joined = b"".join(texts.cast(pa.binary()).to_pylist())
    return np.frombuffer(joined, dtype=np.uint8).reshape(-1, width)


def _scattered(form: Valid, check: Valid) -> Valid:
    """Put the outcome for those of the right form back in the places of all."""
    valid = np.zeros(len(form), dtype=np.bool_)
    valid[form] = check
    return valid
