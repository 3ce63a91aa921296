"""What an owner says when it opens a lookup service."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

from connectors import identifiers
from exchange.errors import InvalidRequest
from policies import purposes

__all__ = ["MAX_RECORD_BYTES", "MIN_RECORD_BYTES", "KeyColumn", "ServiceRequest"]

MIN_RECORD_BYTES: Final = 16
MAX_RECORD_BYTES: Final = 256


@dataclass(frozen=True)
class KeyColumn:
    """A column of the key, and the rules that bring its values to one form on both sides."""

    column: str
    rules: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ServiceRequest:
    """A service as its owner wants it.

    Attributes:
        service: its id, ``owner/name``.
        asset: the asset that it looks up in.
        keys: the columns that a query gives, in order; together they name an entry.
        record: the columns of the answer.
        record_bytes: size of every record, encoded; the same for all entries.
        price: points for a query, where the agreement states no price.
        minute: queries of one member in a minute at most; None: not limited.
        day: queries of one member in a day at most; None: not limited.
        purposes: DPV terms; a narrower purpose is covered too.
        epoch: of the secret key; a later one makes a new key, and all hints useless.
    """

    service: str
    asset: str
    keys: tuple[KeyColumn, ...]
    record: tuple[str, ...]
    record_bytes: int
    price: int
    minute: int | None
    day: int | None
    purposes: tuple[str, ...]
    epoch: int = 1

    def check(self) -> None:
        """Check what has to hold whatever the asset is.

        Raises:
            InvalidRequest: naming the field.
        """
        names = [key.column for key in self.keys] + list(self.record)
        if not self.keys:
            raise InvalidRequest("keys", "at least one column", "none")
        if len(set(names)) != len(names):
            raise InvalidRequest("record", "each column once, in the key or in the record", "one twice")
        for number, key in enumerate(self.keys):
            for rule in key.rules:
                if rule not in identifiers.RULES:
                    known = ", ".join(identifiers.RULES)
                    raise InvalidRequest(f"keys[{number}].rules", f"one of {known}", repr(rule)[:40])
        if not MIN_RECORD_BYTES <= self.record_bytes <= MAX_RECORD_BYTES:
            expected = f"{MIN_RECORD_BYTES} to {MAX_RECORD_BYTES} bytes"
            raise InvalidRequest("record_bytes", expected, str(self.record_bytes))
        for purpose in self.purposes:
            if not purposes.is_known(purpose):
                raise InvalidRequest("purposes", "terms that the profile knows", repr(purpose)[:80])

    def as_json(self) -> dict[str, Any]:
        """Write it as JSON; ``parse`` reads it back equal."""
        return asdict(self)

    @staticmethod
    def parse(value: Mapping[str, Any]) -> ServiceRequest:
        """Read what ``as_json`` wrote."""
        keys = tuple(KeyColumn(one["column"], tuple(one["rules"])) for one in value["keys"])
        lists = {"record": tuple(value["record"]), "purposes": tuple(value["purposes"])}
        return ServiceRequest(**{**value, "keys": keys, **lists})

    @property
    def columns(self) -> tuple[str, ...]:
        """Every column of the asset that the service reads."""
        return (*(key.column for key in self.keys), *self.record)

    def rates(self) -> dict[str, int]:
        """The limits of a member's queries, as the ledger states them."""
        limits = {"minute": self.minute, "day": self.day}
        return {span: limit for span, limit in limits.items() if limit is not None}
