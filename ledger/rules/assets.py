"""Assets: what an owner offers, by version, and taking it back."""

from __future__ import annotations

from ledger.rules import shapes
from ledger.rules.act import Act, existing, require
from ledger.tables import State

__all__ = ["publish", "withdraw"]

_COLUMN = shapes.record(
    {
        "name": shapes.SENTENCE,
        "type": shapes.WORD,
        "role": shapes.WORD,
        "sensitivity": shapes.NUMBER_OR_WORD,
        "control": shapes.WORD,
    },
    extra={"description": shapes.REASON},
)
_PUBLISH = shapes.record(
    {
        "asset": shapes.ASSET_ID,
        "version": shapes.POSITIVE,
        "kind": shapes.WORD,
        "title": shapes.SENTENCE,
        "description": shapes.text(4096, least=0),
        "keywords": shapes.list_of(shapes.WORD, most=32),
        "schema": shapes.list_of(_COLUMN, least=1, most=512, distinct=False),
        "rows": shapes.COUNT,
        "root": shapes.DIGEST,
        "offer": shapes.OBJECT,
        "profile": shapes.DIGEST,
        "distribution": shapes.list_of(shapes.SENTENCE, most=16),
    }
)
_WITHDRAW = shapes.record({"asset": shapes.ASSET_ID, "reason": shapes.REASON})


def publish(state: State, act: Act) -> State:
    """Publish the next version of an asset under the owner's own name."""
    body = _PUBLISH(act.entry.body, "body")
    owner = existing(state, "members", act.actor, "entry.unknown-actor")["name"]
    require(body["asset"].startswith(owner + "/"), "asset.foreign-name", f"expected an id below {owner}/")
    names = [column["name"] for column in body["schema"]]
    require(len(set(names)) == len(names), "asset.duplicate-column", "expected distinct column names")
    previous = state.get("assets", body["asset"])
    expected = 1 if previous is None else previous["version"] + 1
    require(body["version"] == expected, "asset.wrong-version", f"expected version {expected}")
    return act.put(state, "assets", body["asset"], {**body, "owner": act.actor, "status": "published"})


def withdraw(state: State, act: Act) -> State:
    """Stop new negotiations and jobs on an asset; what is agreed stays on record."""
    body = _WITHDRAW(act.entry.body, "body")
    row = existing(state, "assets", body["asset"], "asset.unknown")
    require(row["owner"] == act.actor, "entry.not-permitted", "expected the owner")
    require(row["status"] == "published", "asset.withdrawn", "the asset is already withdrawn")
    return act.put(state, "assets", body["asset"], {**row, "status": "withdrawn"})
