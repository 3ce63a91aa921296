"""What an owner answers of one person, as it is made, sent and read."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from exchange.jobs.regression.part import text
from exchange.scoring.errors import ScoreFailed
from ledger import base64url, canonical
from ledger.errors import NotCanonical

__all__ = ["ABSENT", "Partial", "encode_answer", "read_answer"]


@dataclass(frozen=True)
class Partial:
    """One owner's part of a person's score.

    Attributes:
        value: what its columns add to the score, or of trees the sides at its splits, a bit each; None: it
            has no row of the person, or has not answered.
        reasons: columns that take points off, with these, the worst first; as many as the owner filed.
    """

    value: float | bytes | None = field(repr=False)
    reasons: tuple[tuple[str, float], ...] = field(default=(), repr=False)


ABSENT: Final = Partial(None)


def encode_answer(partials: Sequence[Partial]) -> bytes:
    """What an owner answers: of each person in order, null where it has no row."""
    return canonical.encode(
        {
            "partials": [_told(one.value) for one in partials],
            "reasons": [[[name, text(points)] for name, points in one.reasons] for one in partials],
        }
    )


def _told(value: float | bytes | None) -> str | None:
    if isinstance(value, bytes):
        return base64url.encode(value)
    return None if value is None else text(value)


def read_answer(
    raw: bytes, persons: int, columns: Sequence[str] = (), most: int = 0, splits: int | None = None
) -> list[Partial]:
    """Read what ``encode_answer`` made.

    Args:
        raw: as received.
        persons: that were asked about.
        columns: that the owner filed.
        most: reasons of a person that it filed.
        splits: of trees, on its columns; None of what adds up.

    Raises:
        ScoreFailed: it has another form, another number of persons or sides, or reasons that were not filed.
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
            Partial(None if score is None else _value(score, splits), _reasons(own, columns, most))
            for score, own in zip(scores, named, strict=True)
        ]
    except (NotCanonical, ValueError):
        raise ScoreFailed(f"expected {persons} partial scores, got something else") from None


def _value(given: object, splits: int | None) -> float | bytes:
    if splits is None:
        return _finite(given)
    sides = base64url.decode(str(given))
    beyond = int.from_bytes(sides, "big") & ((1 << (8 * len(sides) - splits)) - 1) if sides else 0
    if len(sides) != -(-splits // 8) or beyond:
        raise ValueError
    return sides


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
