"""The validity function: one entry applied to the state, or refused with a code.

Before the first entry of a batch, ``settle`` carries out the governance changes that are due by then.

``apply`` is pure and deterministic; every member runs it and must get the same state root. What it does not
check is whether the ``txid`` is new: whoever holds the log does that (see ``ledger.batches``), because the
state keeps no list of all entries.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from ledger.entries import Entry
from ledger.errors import InvalidSignature, Refusal
from ledger.membership import NETWORK_KEY, KeyRecord, allowed_algorithms, member_key
from ledger.rules import RULES
from ledger.rules.act import Act, require
from ledger.rules.epochs import MAX_LIFETIME
from ledger.rules.epochs import begin as begin_epoch
from ledger.rules.genesis import genesis
from ledger.rules.proposals import settle
from ledger.tables import Row, State, Table
from ledger.times import parse_time

__all__ = [
    "EPOCH",
    "GENESIS",
    "MAX_LIFETIME",
    "SEAL",
    "Row",
    "State",
    "Table",
    "apply",
    "check_attributable",
    "settle",
    "signing_keys",
]

GENESIS = "gov.genesis"
EPOCH = "gov.epoch"
"""Entry 0 of a log that goes on where another one stopped; see ``ledger.rules.epochs``."""
SEAL = "seal"
_ACKNOWLEDGE = "member.ack"


def apply(state: State, entry: Entry, *, index: int, time: datetime) -> State:
    """Apply one entry.

    Args:
        state: the state after all entries before it.
        entry: the parsed entry; not a seal.
        index: its place in the log.
        time: the time of its batch, from the batch's seal.

    Returns:
        The new state.

    Raises:
        Refusal: the entry is not valid here. Its ``code`` stands in the seal; the state does not change.
    """
    act = Act(entry, index, time)
    if entry.type == GENESIS:
        return genesis(state, act)
    if entry.type == EPOCH:
        return begin_epoch(state, act)
    check_attributable(state, entry)
    _check_status(state, entry)
    expires = parse_time(entry.exp)
    require(expires >= time, "entry.expired", "the entry expired before its batch")
    require(expires <= time + MAX_LIFETIME, "entry.expires-too-late", "expected an expiry within 24 hours")
    floor = state.rows("params")[NETWORK_KEY].get("floor")
    require(floor is None or entry.exp > floor, "entry.previous-epoch", "it may stand in an earlier log")
    rule = RULES.get(entry.type)
    if rule is None:
        raise Refusal("entry.unknown-type", "expected a type of the validity table")
    return rule.apply(state, act)


def signing_keys(state: State, entry: Entry) -> tuple[KeyRecord, ...]:
    """Return the keys that must have signed an entry: those of its type's signers, all of them.

    Raises:
        Refusal: the entry is for another network, a signer is no member, or the body names none.
    """
    network = state.get("params", NETWORK_KEY)
    require(network is not None and entry.net == network["name"], "entry.wrong-net", "expected this network")
    keys = []
    for did in _signers(state, entry):
        key = member_key(state, did)
        if key is None:
            raise Refusal("entry.unknown-actor", "expected members as signers")
        keys.append(key)
    return tuple(keys)


def check_attributable(state: State, entry: Entry) -> None:
    """Check that members of this network can be held to the entry: network, signers, all their signatures.

    Raises:
        Refusal: they cannot.
    """
    keys = signing_keys(state, entry)
    attached = {signature.kid for signature in entry.sigs}
    if attached != {key.kid for key in keys}:
        retired = any(_is_retired(state, kid) for kid in attached)
        require(not retired, "entry.key-retired", "a signature is by a key that was replaced")
        raise Refusal("entry.wrong-signers", "expected the signers' signatures and no other")
    allowed = allowed_algorithms(state)
    for key in keys:
        require(key.alg in allowed, "entry.algorithm-not-allowed", f"{key.alg} is not allowed here")
        try:
            entry.verify(key.kid, key.public, key.alg)
        except InvalidSignature as exc:
            raise Refusal("entry.bad-signature", "a signer's signature does not verify") from exc


def _signers(state: State, entry: Entry) -> Sequence[str]:
    rule = RULES.get(entry.type)
    return (entry.actor,) if rule is None else rule.signers(state, entry)


def _is_retired(state: State, kid: str) -> bool:
    row = state.get("keys", kid)
    return row is not None and row["until"] is not None


def _check_status(state: State, entry: Entry) -> None:
    expected = "admitted" if entry.type == _ACKNOWLEDGE else "active"
    for did in _signers(state, entry):
        actual = state.rows("members")[did]["status"]
        require(actual == expected, "entry.actor-not-" + expected, f"expected an {expected} member")
