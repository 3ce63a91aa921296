"""The validity function: one entry applied to the state, or refused with a code.

``apply`` is pure and deterministic; every member runs it and must get the same state root. What it does not
check is whether the ``txid`` is new: whoever holds the log does that (see ``ledger.batches``), because the
state keeps no list of all entries.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from ledger.entries import Entry
from ledger.errors import InvalidSignature, Refusal
from ledger.membership import Network, member_key
from ledger.rules import RULES
from ledger.rules.act import Act, require
from ledger.rules.governance import genesis
from ledger.tables import Row, State, Table
from ledger.times import parse_time

__all__ = ["GENESIS", "MAX_LIFETIME", "SEAL", "Row", "State", "Table", "apply", "check_attributable"]

GENESIS = "gov.genesis"
SEAL = "seal"
MAX_LIFETIME = timedelta(hours=24)
"""How far ahead an entry may expire; bounds how long a signed entry can lie around before it is sequenced."""

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
    check_attributable(state, entry)
    _check_status(state, entry)
    expires = parse_time(entry.exp)
    require(expires >= time, "entry.expired", "the entry expired before its batch")
    require(expires <= time + MAX_LIFETIME, "entry.expires-too-late", "expected an expiry within 24 hours")
    rule = RULES.get(entry.type)
    if rule is None:
        raise Refusal("entry.unknown-type", "expected a type of the validity table")
    return rule(state, act)


def check_attributable(state: State, entry: Entry) -> None:
    """Check that a member of this network can be held to the entry: network, actor, its one signature.

    Raises:
        Refusal: it cannot.
    """
    network = Network.of(state)
    require(network is not None and entry.net == network.name, "entry.wrong-net", "expected this network")
    key = member_key(state, entry.actor)
    if key is None:
        raise Refusal("entry.unknown-actor", "expected a member as actor")
    kids = [signature.kid for signature in entry.sigs]
    require(kids == [key.kid], "entry.wrong-signers", "expected exactly the actor's signature")
    try:
        entry.verify(key.kid, key.public)
    except InvalidSignature as exc:
        raise Refusal("entry.bad-signature", "the actor's signature does not verify") from exc


def _check_status(state: State, entry: Entry) -> None:
    expected = "admitted" if entry.type == _ACKNOWLEDGE else "active"
    actual = state.rows("members")[entry.actor]["status"]
    require(actual == expected, "entry.actor-not-" + expected, f"expected an {expected} member")
