"""Why a person was not scored."""

from __future__ import annotations

from collections.abc import Sequence

from exchange.errors import ExchangeError

__all__ = ["ScoreFailed", "ScoreRefused"]


class ScoreRefused(ExchangeError):
    """An owner has no right, or no way, to answer. ``codes`` name every reason that it gave."""

    code = "model.refused"
    blame = "caller"

    def __init__(self, codes: Sequence[str], text: str) -> None:
        super().__init__(text)
        self.codes = tuple(codes)


class ScoreFailed(ExchangeError):
    """What another owner's node sent is no answer to the call; nobody is scored."""

    code = "model.failed"
    blame = "peer"
