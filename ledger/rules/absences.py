"""Steps that survive absences: which parties may be missing, who was, and when those left are enough.

The submission of a job says of a step which of its parties may be absent and how many of those must stay. The
first receipt of the step says who was absent; every later one must say the same, so a step that is done has
one list that all present parties have signed. A party that may be absent and fails before that list stands
leaves the job; the list must then name it, because a party whose part went into the result has to say so.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ledger.rules import shapes
from ledger.rules.act import require
from ledger.tables import Row

__all__ = ["ABSENCES", "ABSENT", "check", "is_outlived", "named", "with_left", "with_named"]

ABSENCES = shapes.record(
    {"parties": shapes.list_of(shapes.DID, least=1, most=64), "threshold": shapes.POSITIVE}
)
"""Of a step in a submission: who may be absent, and how many of them must stay."""
ABSENT = shapes.list_of(shapes.DID, most=64)
"""Of a receipt: who was absent."""


def check(step: Row) -> None:
    """Check that a step's absences are of its own parties and leave more than half of those.

    Raises:
        Refusal: they are not, or leave fewer; two sets that suffice could then have nobody in common.
    """
    if "absences" not in step:
        return
    may, threshold = step["absences"]["parties"], step["absences"]["threshold"]
    require(set(may) <= set(step["parties"]), "job.absences-unknown", "expected parties of the step")
    fits = len(may) // 2 < threshold <= len(may)
    require(fits, "job.absences-threshold", f"expected a threshold of more than half of {len(may)} parties")


def with_named(row: Row, step: str, actor: str, stated: Sequence[str] | None) -> Row:
    """Take down who was absent, as a party's receipt of a step says.

    Raises:
        Refusal: the step survives no absence, or the receipt names somebody who cannot be absent, too many,
            others than the receipts before it, or not those who failed; or the party is absent itself.
    """
    stands = row.get("absent", {}).get(step)
    terms = _terms(row, step)
    if terms is None:
        require(stated is None, "receipt.absence-not-survived", "expected no absence in this step")
        return row
    absent = sorted(stated or ())
    is_out = actor in absent or actor in (stands or ())
    require(not is_out, "receipt.party-absent", "expected a party that was not absent")
    require(set(absent) <= set(terms["parties"]), "receipt.absent-unknown", "expected who may be absent")
    left, threshold = len(terms["parties"]) - len(absent), terms["threshold"]
    require(left >= threshold, "receipt.too-few-present", f"expected {threshold} to stay, {left} did")
    gone = set(row.get("left", {}).get(step, {})) - set(absent)
    require(not gone, "receipt.absent-missing", "expected every party that failed among those absent")
    agrees = stands is None or stands == absent
    require(agrees, "receipt.absences-differ", "expected the absences that earlier receipts name")
    return {**row, "absent": {**row.get("absent", {}), step: absent}}


def is_outlived(row: Row, step: str | None, actor: str) -> bool:
    """Whether a job goes on though a party fails in a step: it is not needed and its part in no result."""
    terms = None if step is None else _terms(row, step)
    if terms is None or actor not in terms["parties"] or actor == row["submitter"]:
        return False
    stands = row.get("absent", {}).get(step)
    if stands is not None:
        return actor in stands
    left = {*row.get("left", {}).get(step, {}), actor}
    return len(terms["parties"]) - len(left) >= int(terms["threshold"])


def with_left(row: Row, step: str, actor: str, failure: Row) -> Row:
    """Take down that a party has failed in a step which goes on without it.

    Raises:
        Refusal: it has said so before.
    """
    before = row.get("left", {}).get(step, {})
    require(actor not in before, "job.already-left", "expected one failure")
    return {**row, "left": {**row.get("left", {}), step: {**before, actor: failure}}}


def named(row: Row, step: str) -> frozenset[str]:
    """Return who was absent from a step; nobody before its first receipt."""
    return frozenset(row.get("absent", {}).get(step, ()))


def _terms(row: Row, step: str) -> Any:  # noqa: ANN401 - a member of a row
    return next((item.get("absences") for item in row["steps"] if item["id"] == step), None)
