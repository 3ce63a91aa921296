"""When growth ends: once the loss on the rows held out has not been lower for as many rounds as agreed."""

from __future__ import annotations

from collections.abc import Sequence

from federated.boosting.settings import Settings

__all__ = ["kept_of"]


def kept_of(losses: Sequence[float], settings: Settings) -> int:
    """How many rounds are kept where growth ends now, those up to the lowest loss; 0 where it goes on.

    Args:
        losses: on the rows held out, after each round so far; at least one.
        settings: as agreed, with a patience.

    Source: the rule of XGBoost's early stopping; the first of equal losses counts.
    """
    best, grown = 1 + losses.index(min(losses)), len(losses)
    return best if grown == settings.trees or grown - best >= settings.patience else 0
