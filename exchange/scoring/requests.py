"""What an owner says when it drafts a version of a model, or files its part of one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from connectors import identifiers
from exchange.errors import InvalidRequest

__all__ = ["Fallback", "Filing"]

Fallback = Literal["mean", "none"]


@dataclass(frozen=True, kw_only=True)
class Filing:
    """How an owner's part is served.

    Attributes:
        asset: whose rows are scored; None: the asset that was trained on.
        key: the column that names a person.
        rules: bring its values, and the identifiers asked about, to one form.
        fallback: what stands for a partial score that is not there in time, or of a person without a row:
            ``mean``, that of a person whose columns are all at their mean; ``none``, then there is no score.
        minute: persons of one caller in a minute at most; None: not limited.
        day: persons of one caller in a day at most; None: not limited.
        reasons: of a scorecard, how many of the columns that take most points off a person are named with
            the partial score, each with its points; 0: none.
    """

    asset: str | None
    key: str
    rules: tuple[str, ...]
    fallback: Fallback
    minute: int | None
    day: int | None
    reasons: int = 0

    def check(self) -> None:
        """Check what has to hold whatever the asset is.

        Raises:
            InvalidRequest: naming the field.
        """
        for rule in self.rules:
            if not identifiers.is_rule(rule):
                raise InvalidRequest("rules", f"some of {', '.join(identifiers.RULES)}", repr(rule)[:40])

    def rates(self) -> dict[str, int]:
        """The limits of a caller's persons, as the ledger states them."""
        limits = {"minute": self.minute, "day": self.day}
        return {span: limit for span, limit in limits.items() if limit is not None}
