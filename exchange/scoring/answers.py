"""What an owner answers of one person, as it is made, sent and read."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from exchange.jobs.regression.part import text
from exchange.scoring.errors import ScoreFailed
from federated.scorecard import reasons
from ledger import canonical
from ledger.errors import NotCanonical

__all__ = ["ABSENT", "Partial", "encode_answer", "partials_of", "read_answer"]


@dataclass(frozen=True)
class Partial:
    """One owner's part of a person's score.

    Attributes:
        score: None: the owner has no row of the person, or has not answered.
        reasons: columns that take points off, with these, the worst first; as many as the owner filed.
    """

    score: float | None = field(repr=False)
    reasons: tuple[tuple[str, float], ...] = field(default=(), repr=False)


ABSENT: Final = Partial(None)


def partials_of(found: NDArray[np.float64], columns: Sequence[str], most: int) -> list[Partial]:
    """What a table has of some persons.

    Args:
        found: float64[1 + columns, persons], or float64[1, persons] without reasons; NaN of who has no row.
        columns: their names.
        most: reasons of a person.
    """
    if not most:
        return [ABSENT if math.isnan(score) else Partial(score) for score in found[0].tolist()]
    return [
        ABSENT
        if math.isnan(own[0])
        else Partial(float(own[0]), tuple((columns[at], float(own[1 + at])) for at in worst if at >= 0))
        for own, worst in zip(found.T, reasons(found[1:], most).tolist(), strict=True)
    ]


def encode_answer(partials: Sequence[Partial]) -> bytes:
    """What an owner answers: of each person in order, null where it has no row."""
    return canonical.encode(
        {
            "partials": [None if one.score is None else text(one.score) for one in partials],
            "reasons": [[[name, text(points)] for name, points in one.reasons] for one in partials],
        }
    )


def read_answer(raw: bytes, persons: int, columns: Sequence[str] = (), most: int = 0) -> list[Partial]:
    """Read what ``encode_answer`` made.

    Args:
        raw: as received.
        persons: that were asked about.
        columns: that the owner filed.
        most: reasons of a person that it filed.

    Raises:
        ScoreFailed: it has another form, another number of persons, or reasons that were not filed.
    """
    try:
        answer = canonical.decode(raw)
        if not isinstance(answer, dict) or answer.keys() != {"partials", "reasons"}:
            raise ValueError
        scores, named = answer["partials"], answer["reasons"]
        if (
            not isinstance(scores, list)
            or not isinstance(named, list)
            or {len(scores), len(named)} != {persons}
        ):
            raise ValueError
        return [
            Partial(None if score is None else _finite(score), _reasons(own, columns, most))
            for score, own in zip(scores, named, strict=True)
        ]
    except (NotCanonical, ValueError):
        raise ScoreFailed(f"expected {persons} partial scores, got something else") from None


def _reasons(given: object, columns: Sequence[str], most: int) -> tuple[tuple[str, float], ...]:
    if not isinstance(given, list) or len(given) > most:
        raise ValueError
    found = []
    for one in given:
        if not isinstance(one, list) or len(one) != 2 or one[0] not in columns:
            raise ValueError
        found.append((str(one[0]), _finite(one[1])))
    return tuple(found)


def _finite(given: object) -> float:
    number = float(str(given))
    if not math.isfinite(number):
        raise ValueError
    return number
