"""Evidence on record: batches of document fingerprints, and verdicts on copies of such documents.

Neither leaves a row in the state. The log is the record, so the state stays as small as the membership and
the business under way, however many documents are notarized.
"""

from __future__ import annotations

from enum import StrEnum

from ledger.rules import shapes
from ledger.rules.act import Act, require
from ledger.tables import State

__all__ = ["MAX_FINGERPRINTS", "Outcome", "notarize", "verdict"]

MAX_FINGERPRINTS = 1000
"""Documents under one entry."""


class Outcome(StrEnum):
    """What a comparison of ledger, original and copy comes to: which of the three stands apart."""

    AUTHENTIC = "authentic"
    COPY_DIFFERS = "copy-differs"
    ORIGINAL_DIFFERS = "original-differs"
    LEDGER_DIFFERS = "ledger-differs"
    ALL_DIFFER = "all-differ"
    UNPROVEN = "unproven"


def _count(value: object, where: str) -> int:
    count: int = shapes.POSITIVE(value, where)
    if count > MAX_FINGERPRINTS:
        raise shapes.malformed(where, f"at most {MAX_FINGERPRINTS}")
    return count


_NOTARIZE = shapes.record(
    {
        "notarization": shapes.identifier("notarization"),
        "alg": shapes.constant("sha-256"),
        "count": _count,
        "root": shapes.DIGEST,
    },
    extra={"kind": shapes.WORD, "note": shapes.SENTENCE},
)
_VERDICT = shapes.record(
    {
        "verdict": shapes.identifier("verdict"),
        "notarization": shapes.identifier("notarization"),
        "entry": shapes.DIGEST,
        "outcome": shapes.one_of(*Outcome),
    }
)


def notarize(state: State, act: Act) -> State:
    """Put the root over a batch of salted fingerprints on record."""
    _NOTARIZE(act.entry.body, "body")
    return state


def verdict(state: State, act: Act) -> State:
    """Put on record that the actor compared a copy, and what it found; the document is committed to."""
    _VERDICT(act.entry.body, "body")
    require(act.entry.commit is not None, "evidence.no-commitment", "expected a commitment to the verdict")
    return state
