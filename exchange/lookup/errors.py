"""Why a lookup was not answered."""

from __future__ import annotations

from collections.abc import Sequence

from exchange.errors import ExchangeError

__all__ = ["LookupFailed", "LookupRefused"]


class LookupRefused(ExchangeError):
    """A service has no right, or no way, to answer. ``codes`` name every reason that its owner gave."""

    code = "lookup.refused"
    blame = "caller"

    def __init__(self, codes: Sequence[str], text: str) -> None:
        super().__init__(text)
        self.codes = tuple(codes)


class LookupFailed(ExchangeError):
    """What the owner's node sent is not the answer of the release that the ledger names; nothing is told."""

    code = "lookup.failed"
    blame = "peer"
