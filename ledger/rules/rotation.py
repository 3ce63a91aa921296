"""Key rotation: a member's keys replaced by new ones, proved by the new ones and decided by the old quorum.

A rotation names the keys it replaces, so that it can be carried out once and in no other place. The DID stays
that of the first entry key. The key that is replaced stays in the table ``keys`` with the indices between
which it was valid: what it signed then stays verifiable, what it signs later is refused.
"""

from __future__ import annotations

from typing import Any

from ledger import algorithms, base64url, canonical
from ledger.algorithms import ALGORITHMS
from ledger.errors import InvalidSignature, Refusal
from ledger.keys import PUBLIC_SIZE
from ledger.membership import KEY_USES, NETWORK_KEY, KeyRecord, KeyUse, allowed_algorithms, key_row
from ledger.notes import Vkey
from ledger.rules import shapes
from ledger.rules.act import existing, require
from ledger.rules.enrolment import KEY, check_cosigning_key, check_unused
from ledger.tables import Row, State

__all__ = ["ROTATION", "rotate", "rotation_message"]

_INVALID = "rotation.invalid"

_KEYS = shapes.record(
    {},
    {"tx": KEY, "cosign": shapes.text(400), "tls": shapes.BYTES, "seal": shapes.BYTES},
)
ROTATION = shapes.record(
    {
        "v": shapes.constant(1),
        "net": shapes.SENTENCE,
        "did": shapes.DID,
        "old": shapes.record({"kid": shapes.SENTENCE, "cosign": shapes.text(400)}),
        "new": _KEYS,
        "proofs": shapes.record({"tx": shapes.BYTES}, {"cosign": shapes.BYTES}),
    }
)


def rotation_message(rotation: Row) -> bytes:
    """Return what the new keys sign: the rotation without its proofs, under its own domain.

    ``proofs.tx`` is by the entry key that is valid afterwards, new or not; ``proofs.cosign`` by a new
    cosigning key.
    """
    signed = {name: value for name, value in rotation.items() if name != "proofs"}
    return b"parley-rotation/v1\n" + canonical.encode(signed)


def rotate(state: State, rotation: dict[str, Any], index: int) -> State:
    """Replace a member's keys as from ``index``.

    Raises:
        Refusal: the member is unknown or removed, its keys are others by now, or the new ones do not fit.
    """
    did, new = rotation["did"], rotation["new"]
    row = existing(state, "members", did, "member.unknown")
    require(row["status"] != "removed", "member.wrong-status", "expected a member that is not removed")
    net = state.rows("params")[NETWORK_KEY]["name"]
    require(rotation["net"] == net, _INVALID, "expected a rotation for this network")
    current = {"kid": row["tx"]["kid"], "cosign": row["cosign"]}
    require(rotation["old"] == current, "rotation.stale", "expected today's keys as the old ones")
    require(bool(new), _INVALID, "expected at least one new key")
    after = {**row, **new}
    _check_keys(state, net, did, new, after)
    _check_proofs(rotation, after)
    state = state.put("members", did, after, index=index)
    for use in KEY_USES:
        if use in new:
            number = _last(state, did, use)
            old = state.rows("keys")[key_row(did, use, number)]
            state = state.put("keys", key_row(did, use, number), {**old, "until": index}, index=index)
            key = {"did": did, "use": use, "key": new[use], "from": index, "until": None}
            state = state.put("keys", key_row(did, use, number + 1), key, index=index)
    return state


def _check_keys(state: State, net: str, did: str, new: Row, after: Row) -> None:
    if "tx" in new:
        expected = key_row(did, "tx", _last(state, did, "tx") + 1)
        require(new["tx"]["kid"] == expected, _INVALID, f"expected the key id {expected}")
        allowed = new["tx"]["alg"] in allowed_algorithms(state)
        require(allowed, "algorithm.not-allowed", "expected a key of an allowed algorithm")
        size, found = ALGORITHMS[new["tx"]["alg"]].public_size, len(base64url.decode(new["tx"]["public"]))
        require(size == found, _INVALID, f"expected an entry key of {size} bytes, got {found}")
    if "cosign" in new:
        check_cosigning_key(net, after["name"], new["cosign"], _INVALID)
    if "seal" in new:
        size = len(base64url.decode(new["seal"]))
        require(size == PUBLIC_SIZE, _INVALID, f"expected a sealing key of {PUBLIC_SIZE} bytes, got {size}")
    check_unused(state, new)


def _check_proofs(rotation: Row, after: Row) -> None:
    proofs, message = rotation["proofs"], rotation_message(rotation)
    expected = {"tx", "cosign"} if "cosign" in rotation["new"] else {"tx"}
    require(set(proofs) == expected, _INVALID, f"expected proofs by {' and '.join(sorted(expected))}")
    entry_key = KeyRecord.of(after["tx"])
    keys = {
        "tx": (entry_key.alg, entry_key.public),
        "cosign": (algorithms.EDDSA, Vkey.parse(after["cosign"]).public),
    }
    for use, proof in proofs.items():
        try:
            algorithms.verify(*keys[use], message, base64url.decode(proof))
        except InvalidSignature as exc:
            raise Refusal(_INVALID, f"the proof by the {use} key does not verify") from exc


def _last(state: State, did: str, use: KeyUse) -> int:
    number = 1
    while state.get("keys", key_row(did, use, number + 1)) is not None:
        number += 1
    return number
