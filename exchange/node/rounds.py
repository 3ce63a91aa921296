"""What the two sides of a negotiation proposed to each other, round by round, as the log has it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ledger.mirror import Mirror
from ledger.search import Query
from policies import terms
from policies.errors import PoliciesError

__all__ = ["Step", "differences", "rounds", "steps"]

_PROPOSALS = ("negotiation.request", "negotiation.offer")


@dataclass(frozen=True)
class Step:
    """One valid entry of a negotiation.

    Attributes:
        event: what it did, in the words of the entry type: ``request``, ``offer``, ``accept`` and so on.
        actor: the DID that signed it.
        body: the entry's.
        index: its place in the log.
        txid: its id.
        time: Unix time of its batch.
    """

    event: str
    actor: str
    body: Mapping[str, Any]
    index: int
    txid: str
    time: int


def steps(mirror: Mirror, negotiation: str) -> Iterator[Step]:
    """Yield the final and valid entries of a negotiation, in log order."""
    for record in mirror.found(Query(types=("negotiation.*",), concerning=(negotiation,))):
        if record.code is None:
            event, body = record.type.partition(".")[2], record.entry.body
            yield Step(event, record.actor, body, record.index, record.txid, record.time)


def rounds(mirror: Mirror, negotiation: str, names: Mapping[str, str]) -> list[dict[str, Any]]:
    """Tell who did what when, and in which clauses each proposal differs from the one before.

    Args:
        mirror: this node's copy of the log.
        negotiation: its id.
        names: members' names by DID.
    """
    told: list[dict[str, Any]] = []
    before: Mapping[str, Any] | None = None
    for step in steps(mirror, negotiation):
        one: dict[str, Any] = {
            "event": step.event,
            "by": names.get(step.actor, step.actor),
            "time": step.time,
            "index": step.index,
            "txid": step.txid,
        }
        if "reason" in step.body:
            one["reason"] = step.body["reason"]
        if f"negotiation.{step.event}" in _PROPOSALS:
            stated = _stated(step.body["offer"])
            one |= {"round": step.body.get("round", 1), "terms": stated}
            one["changes"] = [] if before is None or stated is None else differences(before, stated)
            before = stated
        told.append(one)
    return told


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[dict[str, Any]]:
    """List the clauses that two statements of terms have not in common, with what each says."""
    return [
        {"clause": clause, "before": before.get(clause), "after": after.get(clause)}
        for clause in sorted({*before, *after})
        if before.get(clause) != after.get(clause)
    ]


def _stated(offer: object) -> Mapping[str, Any] | None:
    """The terms of an offer; None where a member signed something that states none."""
    try:
        return terms.from_policy(offer).as_json()
    except PoliciesError:
        return None
