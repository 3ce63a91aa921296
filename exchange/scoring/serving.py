"""The owner's side of a call: partial scores of the persons that an admitted ticket asks about."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

from connectors.errors import ConnectorError
from exchange.errors import InvalidRequest
from exchange.jobs.regression.part import text
from exchange.scoring.admission import Admission
from exchange.scoring.errors import ScoreFailed, ScoreRefused
from exchange.scoring.registry import Models
from ledger import canonical
from ledger.errors import NotCanonical
from ledger.rules.models import MAX_PERSONS

__all__ = ["MAX_PERSON", "Desk", "encode_answer", "encode_call", "read_answer"]

MAX_PERSON: Final = 256
"""Characters of an identifier."""


def encode_call(ticket: Mapping[str, Any], persons: tuple[str, ...]) -> bytes:
    """What the label holder sends: a ticket, and whom it asks about."""
    return canonical.encode({"ticket": dict(ticket), "persons": list(persons)})


def encode_answer(partials: list[str | None]) -> bytes:
    """What an owner answers: a partial score for each person in order, None of whom it has no row."""
    return canonical.encode({"partials": partials})


def read_answer(raw: bytes, persons: int) -> list[float | None]:
    """Read what ``encode_answer`` made.

    Raises:
        ScoreFailed: it has another form, or another number of finite scores.
    """
    try:
        answer = canonical.decode(raw)
        found = answer["partials"] if isinstance(answer, dict) else None
        if not isinstance(found, list) or len(found) != persons:
            raise ValueError
        scores = [None if one is None else float(str(one)) for one in found]
    except (NotCanonical, KeyError, ValueError):
        raise ScoreFailed(f"expected {persons} partial scores, got something else") from None
    if not all(score is None or math.isfinite(score) for score in scores):
        raise ScoreFailed("expected finite partial scores, got others")
    return scores


class Desk:
    """Answers calls. Thread-safe.

    Args:
        admission: decides on tickets.
        models: this owner's parts.
    """

    def __init__(self, admission: Admission, models: Models) -> None:
        self._admission, self._models = admission, models

    def answer(self, caller: str, raw: bytes) -> bytes:
        """Answer a call.

        Security: semi-honest. Leaks: to the caller, the partial score of each person asked about, and
        whether this owner has a row of it; to this owner, whom the caller asks about. Cost: local.

        Raises:
            ScoreRefused: the ticket is not good.
            InvalidRequest: the call has another form.
            Conflict: this node cannot answer now.
        """
        ticket, persons = _read(raw)
        row = self._admission.admit(caller, ticket, len(persons))
        try:
            found = self._models.table(row).find(persons)
        except ConnectorError as error:
            raise ScoreRefused((error.code,), str(error)) from None
        return encode_answer([None if math.isnan(score) else text(score) for score in found.tolist()])


def _read(raw: bytes) -> tuple[object, list[str]]:
    try:
        call = canonical.decode(raw)
    except NotCanonical:
        call = None
    if not isinstance(call, dict) or set(call) != {"ticket", "persons"}:
        raise InvalidRequest("call", "a ticket and persons", "something else")
    persons = call["persons"]
    if not isinstance(persons, list) or not 1 <= len(persons) <= MAX_PERSONS:
        raise InvalidRequest("persons", f"1 to {MAX_PERSONS} identifiers", "something else")
    for number, person in enumerate(persons):
        if not isinstance(person, str) or not 1 <= len(person) <= MAX_PERSON:
            raise InvalidRequest(f"persons[{number}]", f"text of 1 to {MAX_PERSON} characters", "another")
    return call["ticket"], [str(person) for person in persons]
