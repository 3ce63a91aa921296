"""A keyed digest over a row, so that nobody who can only write to the database makes up a decision.

HMAC-SHA-256 (RFC 2104) over the row's canonical JSON and its table's name. It does not show that a row was
taken away.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Row, Table

from exchange.errors import Conflict, SealBroken
from ledger import canonical
from ledger.times import format_time

__all__ = ["RowSeals"]

_SEAL = "seal"
_NUMBERED = "position"


class RowSeals:
    """Makes and checks seals with one key; without a key it makes none and accepts none."""

    def __init__(self, key: bytes | None) -> None:
        self._key = key

    def sealed(self, table: Table, values: Mapping[str, Any]) -> dict[str, Any]:
        """The row with its seal.

        Raises:
            Conflict: this store was opened without a key.
        """
        return {**values, _SEAL: self._seal(table, values)}

    def check(self, table: Table, row: Row[Any]) -> Row[Any]:
        """Return a row of ``table`` as it was sealed.

        Raises:
            SealBroken: it was not made by this node, or was altered since; Conflict: as in ``sealed``.
        """
        values = {str(column.name): getattr(row, column.name) for column in table.columns}
        if not hmac.compare_digest(bytes(values.pop(_SEAL)), self._seal(table, values)):
            raise SealBroken(f"expected a row of {table.name} that this node sealed, got another")
        return row

    def _seal(self, table: Table, values: Mapping[str, Any]) -> bytes:
        if self._key is None:
            raise Conflict("expected a key to seal decisions with, got none")
        plain = {name: _plain(value) for name, value in values.items() if name != _NUMBERED}
        content = canonical.encode({"row": plain, "table": str(table.name)})
        return hmac.digest(self._key, content, hashlib.sha256)


def _plain(value: object) -> object:
    if isinstance(value, datetime):
        return format_time(value)
    return value.hex() if isinstance(value, bytes) else value
