"""Values that groups and rows are named by, as words that can be shared, and back.

A value is a word that says whether there is one and words that hold it: one for a number, a date or a truth
value, seven bytes of UTF-8 to a word for a text.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from decimal import Decimal
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from connectors.errors import InvalidValues
from exchange.errors import JobFailed
from exchange.sql.expressions import Expression, Kind, SqlType
from exchange.sql.local import LocalRows

__all__ = ["MAX_TEXT_BYTES", "Value", "decode", "text_width", "text_words", "words_of"]

Value = bool | int | str | date | Decimal | None
MAX_TEXT_BYTES: Final = 280
_WORD_BYTES: Final = 7
_EPOCH: Final = date(1970, 1, 1)


def words_of(rows: LocalRows, node: Expression, places: NDArray[np.int64]) -> NDArray[np.int64]:
    """Values at some rows as words, int64[words, places].

    Raises:
        InvalidValues: a text is longer than ``MAX_TEXT_BYTES``.
    """
    if node.type.kind is Kind.TEXT:
        return text_words(rows.texts(node).take(places).to_pylist())
    values, valid = rows.comparable(node)
    return np.asarray(np.stack([valid[places], values[places]]), dtype=np.int64)


def text_words(texts: Sequence[str | None]) -> NDArray[np.int64]:
    """Texts as words, int64[1 + words, n], as many words as the longest needs.

    Raises:
        InvalidValues: one is longer than ``MAX_TEXT_BYTES``.
    """
    count = text_width(pa.array(texts, pa.string())) - 1
    encoded = [(text or "").encode() for text in texts]
    octets = np.zeros((len(encoded), count, 8), dtype=np.uint8)
    for row, one in enumerate(encoded):
        padded = one.ljust(count * _WORD_BYTES, b"\0")
        octets[row, :, 1:] = np.frombuffer(padded, dtype=np.uint8).reshape(count, _WORD_BYTES)
    words = octets.reshape(len(encoded), count * 8).view(">i8").astype(np.int64)
    present = np.array([text is not None for text in texts], dtype=np.int64)
    return np.asarray(np.concatenate([present[None], words.T.reshape(count, len(encoded))]), dtype=np.int64)


def text_width(texts: pa.Array) -> int:
    """How many words the longest of some texts needs, the one that says whether there is one included.

    Raises:
        InvalidValues: it is longer than ``MAX_TEXT_BYTES``.
    """
    longest = pc.max(pc.binary_length(texts)).as_py() or 0
    if longest > MAX_TEXT_BYTES:
        raise InvalidValues("a text of the answer", f"at most {MAX_TEXT_BYTES} bytes, not {longest}")
    return 1 + max(-(-longest // _WORD_BYTES), 1)


def decode(words: NDArray[np.int64], kind: SqlType) -> list[Value]:
    """Values from their words, int64[words, n].

    Raises:
        JobFailed: the words are no values of that type.
    """
    present, held = words[0].astype(np.bool_).tolist(), words[1:]
    if kind.kind is Kind.TEXT:
        octets = held.T.astype(">i8").copy().view(np.uint8).reshape(held.shape[1], held.shape[0], 8)[:, :, 1:]
        try:
            found: list[Value] = [bytes(one.reshape(-1)).rstrip(b"\0").decode() for one in octets]
        except UnicodeDecodeError as exc:
            raise JobFailed("the released shares do not make a text") from exc
    else:
        found = [_value(word, kind) for word in held[0].tolist()]
    return [value if has else None for value, has in zip(found, present, strict=True)]


def _value(word: int, kind: SqlType) -> Value:
    if kind.kind is Kind.BOOLEAN:
        return bool(word)
    if kind.kind is Kind.DATE:
        try:
            return _EPOCH + timedelta(days=word)
        except OverflowError as exc:
            raise JobFailed("the released shares do not make a date") from exc
    return Decimal(word).scaleb(-kind.scale) if kind.scale else word
