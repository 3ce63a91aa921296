"""The owner's side of a call: partial scores of the persons that an admitted ticket asks about."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from connectors.errors import ConnectorError
from exchange.errors import InvalidRequest
from exchange.scoring.admission import Admission
from exchange.scoring.answers import encode_answer
from exchange.scoring.errors import ScoreRefused
from exchange.scoring.registry import Models
from ledger import canonical
from ledger.errors import NotCanonical
from ledger.rules.models import MAX_PERSONS

__all__ = ["MAX_PERSON", "Desk", "encode_call"]

MAX_PERSON: Final = 256
"""Characters of an identifier."""


def encode_call(ticket: Mapping[str, Any], persons: tuple[str, ...]) -> bytes:
    """What the label holder sends: a ticket, and whom it asks about."""
    return canonical.encode({"ticket": dict(ticket), "persons": list(persons)})


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

        Security: semi-honest. Leaks: to the caller, the partial score of each person asked about, the
        reasons that were filed, and whether this owner has a row of it; to this owner, whom the caller asks
        about. Cost: local.

        Raises:
            ScoreRefused: the ticket is not good.
            InvalidRequest: the call has another form.
            Conflict: this node cannot answer now.
        """
        ticket, persons = _read(raw)
        row = self._admission.admit(caller, ticket, len(persons))
        try:
            return encode_answer(self._models.partials(row, persons))
        except ConnectorError as error:
            raise ScoreRefused((error.code,), str(error)) from None


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
