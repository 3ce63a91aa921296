"""Assets: what an owner offers, by version, and taking it back."""

from __future__ import annotations

from typing import Any

from ledger.rules import budgets, shapes, stops
from ledger.rules.act import Act, existing, require
from ledger.tables import State

__all__ = ["publish", "publish_twin", "withdraw"]

_WHOLE = 1_000_000


def _levels_by_participant(value: object, where: str) -> dict[str, Any]:
    """Levels that hold for single participants in place of ``control``."""
    levels: dict[str, Any] = shapes.OBJECT(value, where)
    if not 1 <= len(levels) <= 64:
        raise shapes.malformed(where, "1 to 64 participants")
    for did, level in levels.items():
        shapes.DID(did, where)
        shapes.WORD(level, f"{where}.{did}")
    return levels


_COLUMN = shapes.record(
    {
        "name": shapes.SENTENCE,
        "type": shapes.WORD,
        "role": shapes.WORD,
        "sensitivity": shapes.NUMBER_OR_WORD,
        "control": shapes.WORD,
    },
    extra={"description": shapes.REASON, "controls": _levels_by_participant},
)


def _share(value: object, where: str) -> int:
    """A share in millionths."""
    checked: int = shapes.COUNT(value, where)
    if checked > _WHOLE:
        raise shapes.malformed(where, f"at most {_WHOLE}")
    return checked


_QUALITY = shapes.record(
    {
        "report": shapes.DIGEST,
        "completeness": _share,
        "validity": _share,
        "uniqueness": _share,
        "value": _share,
    }
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
    },
    extra={"budget": budgets.ASSET_LIMITS, "quality": _QUALITY, "review": shapes.DIGEST},
)
_TWIN = shapes.record(
    {
        "asset": shapes.ASSET_ID,
        "version": shapes.POSITIVE,
        "digest": shapes.DIGEST,
        "rows": shapes.POSITIVE,
        "bytes": shapes.POSITIVE,
        "epsilon_micro": shapes.POSITIVE,
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
    if "quality" in body:
        _check_value(body["quality"])
    if "budget" in body:
        state = budgets.publish(state, act, body["asset"], body["budget"])
    described = {name: value for name, value in body.items() if name != "budget"}
    return act.put(state, "assets", body["asset"], {**described, "owner": act.actor, "status": "published"})


def withdraw(state: State, act: Act) -> State:
    """Stop negotiations and jobs on an asset, those under way too; what is agreed stays on record."""
    body = _WITHDRAW(act.entry.body, "body")
    row = existing(state, "assets", body["asset"], "asset.unknown")
    require(row["owner"] == act.actor, "entry.not-permitted", "expected the owner")
    require(row["status"] == "published", "asset.withdrawn", "the asset is already withdrawn")
    state = act.put(state, "assets", body["asset"], {**row, "status": "withdrawn"})
    under_way = (state.get("budgets", body["asset"]) or {}).get("open", ())
    return stops.revoke_all(state, act, under_way, "withdrawn", body["reason"])


def publish_twin(state: State, act: Act) -> State:
    """State the digest of a synthetic table that stands for the published version, in place of another."""
    body = _TWIN(act.entry.body, "body")
    row = existing(state, "assets", body["asset"], "asset.unknown")
    require(row["owner"] == act.actor, "entry.not-permitted", "expected the owner")
    require(row["status"] == "published", "asset.withdrawn", "the asset is withdrawn")
    current = row["version"]
    require(body["version"] == current, "asset.version-not-current", f"expected version {current}")
    twin = {name: body[name] for name in ("digest", "rows", "bytes", "epsilon_micro")}
    return act.put(state, "assets", body["asset"], {**row, "twin": twin})


def _check_value(quality: dict[str, int]) -> None:
    """The value coefficient is completeness times validity times uniqueness, rounded down."""
    product = quality["completeness"] * quality["validity"] * quality["uniqueness"] // (_WHOLE * _WHOLE)
    require(quality["value"] == product, "asset.wrong-value", f"expected the value {product}")
