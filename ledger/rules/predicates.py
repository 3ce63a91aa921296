"""Predicate proofs: the public keys under which attributes are vouched for, and what a check came to.

A check says pass or fail. Attributes, values and presentations have no place here: the shape of the entry has
none for them, and the presentation is committed to with a salt.
"""

from __future__ import annotations

from ledger.rules import shapes
from ledger.rules.act import Act, existing, require
from ledger.tables import State

__all__ = ["conclude", "define", "retire"]

_DEFINITION = shapes.identifier("definition")
_DEFINE = shapes.record(
    {
        "definition": _DEFINITION,
        "name": shapes.NAME,
        "version": shapes.WORD,
        "attributes": shapes.list_of(shapes.NAME, least=1, most=16),
        "key": shapes.OBJECT,
    }
)
_RETIRE = shapes.record({"definition": _DEFINITION, "reason": shapes.REASON})
_CONCLUDE = shapes.record(
    {
        "eligibility": shapes.identifier("eligibility"),
        "request": shapes.DIGEST,
        "purpose": shapes.SENTENCE,
        "definitions": shapes.list_of(_DEFINITION, least=1, most=8),
        "outcome": shapes.one_of("pass", "fail"),
    },
    extra={"holder": shapes.DID},
)


def define(state: State, act: Act) -> State:
    """Publish the public key under which the actor vouches for some attributes."""
    body = _DEFINE(act.entry.body, "body")
    unused = state.get("definitions", body["definition"]) is None
    require(unused, "predicate.exists", "the id is already in use")
    row = {**body, "issuer": act.actor, "status": "in-use"}
    return act.put(state, "definitions", body["definition"], row)


def retire(state: State, act: Act) -> State:
    """Take a key out of use: nothing that is proved under it counts any more."""
    body = _RETIRE(act.entry.body, "body")
    row = existing(state, "definitions", body["definition"], "predicate.unknown")
    require(row["issuer"] == act.actor, "entry.not-permitted", "expected the issuer")
    require(row["status"] == "in-use", "predicate.retired", "it is retired already")
    return act.put(state, "definitions", body["definition"], {**row, "status": "retired"})


def conclude(state: State, act: Act) -> State:
    """Put on record what an eligibility check came to, once per check."""
    body = _CONCLUDE(act.entry.body, "body")
    unused = state.get("eligibility", body["eligibility"]) is None
    require(unused, "eligibility.exists", "the check is concluded already")
    require(
        act.entry.commit is not None, "evidence.no-commitment", "expected a commitment to the presentation"
    )
    for definition in body["definitions"]:
        row = existing(state, "definitions", definition, "predicate.unknown")
        require(row["status"] == "in-use", "predicate.retired", "expected a key in use")
    row = {**body, "verifier": act.actor}
    return act.put(state, "eligibility", body["eligibility"], row)
