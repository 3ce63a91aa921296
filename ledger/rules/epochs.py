"""A new log epoch: entry 0 of a log that goes on where another one's last final checkpoint stands.

A log whose members cosigned two histories, so that neither can have a quorum, cannot go on. Its members then
sign, offline, that its key counts no more and that a new log takes its place. The state before this entry is
the one that the old log's last final checkpoint covers: the carried state. The entry states its root, names
that checkpoint with the quorum's cosignatures, and is signed by the hub and by a quorum of those members.

Members, keys, assets, agreements, jobs and open proposals stay. Places in the old log mean nothing in the new
one: every row gets index 0, keys in use count from 0, replaced ones nowhere. Changes that waited for a later
entry of the old log lapse.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from types import MappingProxyType

from ledger.checkpoints import open_checkpoint
from ledger.errors import InvalidSignature, LedgerError, MalformedKey, Refusal
from ledger.membership import (
    NETWORK_KEY,
    KeyRecord,
    Network,
    active_members,
    allowed_algorithms,
    electorate,
    genesis_hash,
    passes,
)
from ledger.notes import ED25519, Vkey
from ledger.rules import shapes
from ledger.rules.act import Act, require
from ledger.rules.enrolment import KEY, check_key, check_unused
from ledger.tables import Row, State, Table, combine_table_roots
from ledger.times import format_time, parse_time

__all__ = ["MAX_LIFETIME", "begin", "epoch_of", "next_origin"]

MAX_LIFETIME = timedelta(hours=24)
"""How far ahead an entry may expire; bounds how long a signed entry can lie around before it is sequenced."""

_MAX_NOTE = 24_000
_LAPSED = "epoch.lapsed"
_NOBODY: Mapping[str, bytes] = MappingProxyType({})

_PREVIOUS = shapes.record(
    {
        "genesis": shapes.DIGEST,
        "origin": shapes.SENTENCE,
        "size": shapes.POSITIVE,
        "checkpoint": shapes.text(_MAX_NOTE),
        "state": shapes.DIGEST,
        "time": shapes.TIME,
    }
)
_EPOCH = shapes.record(
    {
        "name": shapes.SENTENCE,
        "epoch": shapes.POSITIVE,
        "previous": _PREVIOUS,
        "origin": shapes.SENTENCE,
        "log": shapes.text(400),
        "hub": shapes.record({"did": shapes.DID, "name": shapes.NAME, "tx": KEY, "tls": shapes.BYTES}),
    }
)


def epoch_of(state: State) -> int:
    """Return which log of its network a state belongs to: 1 for the one that began with a genesis."""
    row = state.get("params", NETWORK_KEY)
    return 1 if row is None else int(row.get("epoch", 1))


def next_origin(state: State) -> str:
    """Return the origin that the log of the next epoch has: the first log's, with ``/e`` and the number."""
    epoch, origin = epoch_of(state), str(state.rows("params")[NETWORK_KEY]["origin"])
    return f"{origin.removesuffix(f'/e{epoch}') if epoch > 1 else origin}/e{epoch + 1}"


def begin(state: State, act: Act, others: Mapping[str, bytes] = _NOBODY) -> State:
    """Begin a new log with the carried state.

    Args:
        state: the carried state; of a reader that has the governed tables alone, those.
        act: the entry, at index 0.
        others: roots of the carried tables that ``state`` leaves out.

    Raises:
        Refusal: it is not what a quorum of the carried state's members may decide.
    """
    require(act.index == 0, "epoch.not-first", "expected it at index 0")
    body = _EPOCH(act.entry.body, "body")
    network = Network.of(state)
    if network is None:
        raise Refusal("epoch.nothing-carried", "expected the state that the previous log leaves")
    previous, row = body["previous"], state.rows("params")[NETWORK_KEY]
    root = combine_table_roots({**others, **state.table_roots()}).hex()
    require(root == previous["state"], "epoch.wrong-state", "expected the carried state of the stated root")
    require(body["name"] == network.name == act.entry.net, "entry.wrong-net", "expected this network")
    number = epoch_of(state) + 1
    require(body["epoch"] == number, "epoch.wrong-number", f"expected epoch {number}, got {body['epoch']}")
    known = row.get("genesis", previous["genesis"])
    require(known == previous["genesis"], "epoch.other-log", "expected the log of the epoch before")
    _check_checkpoint(state, network, previous)
    ended = parse_time(previous["time"])
    require(act.time >= ended, "epoch.too-early", f"expected no time before {previous['time']}")
    _check_log_key(state, body)
    _check_hub(state, body, act)
    _check_signers(state, body["hub"], act)
    renewed = _renewed(state)
    after = {
        **row,
        "origin": body["origin"],
        "log": body["log"],
        "hub": body["hub"],
        "epoch": number,
        "genesis": genesis_hash(act.entry.raw),
        "floor": format_time(ended + MAX_LIFETIME),
        "retired": [*row.get("retired", []), row["log"]],
    }
    return act.put(renewed, "params", NETWORK_KEY, after)


def _check_checkpoint(state: State, network: Network, previous: Row) -> None:
    code = "epoch.wrong-checkpoint"
    require(previous["origin"] == network.origin, code, "expected the origin of the log before")
    voters = electorate(state)
    try:
        checkpoint, note = open_checkpoint(previous["checkpoint"].encode(), network.log)
        cosigners = voters.cosigners(note)
    except LedgerError as exc:
        raise Refusal(code, str(exc)) from exc
    require(checkpoint.size == previous["size"], code, f"expected size {checkpoint.size}")
    require(
        voters.is_final(cosigners),
        "epoch.checkpoint-not-final",
        f"expected {voters.quorum} cosignatures and the regulators' that count, got {len(cosigners)}",
    )


def _check_log_key(state: State, body: Row) -> None:
    code = "epoch.invalid-log-key"
    try:
        log = Vkey.parse(body["log"])
    except MalformedKey as exc:
        raise Refusal(code, str(exc)) from exc
    origin = next_origin(state)
    require(body["origin"] == origin, "epoch.wrong-origin", f"expected the origin {origin}")
    require(
        log.type == ED25519 and log.name == origin, code, "expected an Ed25519 key named after the origin"
    )
    row = state.rows("params")[NETWORK_KEY]
    used = {Vkey.parse(text).public for text in (row["log"], *row.get("retired", []))}
    require(log.public not in used, "epoch.log-key-reused", "expected a log key that no earlier log had")


def _check_hub(state: State, body: Row, act: Act) -> None:
    """Check the hub's record; keys that are not those of the hub before must be new."""
    hub, before = body["hub"], state.rows("params")[NETWORK_KEY]["hub"]
    require(act.entry.actor == hub["did"], "epoch.wrong-actor", "expected the hub as actor")
    check_key(hub["did"], hub["tx"])
    taken = any(hub[name] == row[name] for row in state.rows("members").values() for name in ("did", "name"))
    require(not taken, "epoch.invalid-hub", "expected a hub that is no member")
    fresh = {use: hub[use] for use in ("tx", "tls") if hub[use] != before[use]}
    check_unused(state, {**fresh, "cosign": body["log"]})


def _check_signers(state: State, hub: Row, act: Act) -> None:
    members = {row["tx"]["kid"]: (did, row["tx"]) for did, row in active_members(state).items()}
    attached = {signature.kid for signature in act.entry.sigs}
    require(hub["tx"]["kid"] in attached, "epoch.wrong-signers", "expected the hub's signature")
    signers = attached - {hub["tx"]["kid"]}
    require(
        signers <= set(members), "epoch.wrong-signers", "expected the hub and active members, nobody else"
    )
    allowed = allowed_algorithms(state)
    for record in (hub["tx"], *(members[kid][1] for kid in sorted(signers))):
        key = KeyRecord.of(record)
        require(key.alg in allowed, "entry.algorithm-not-allowed", f"{key.alg} is not allowed here")
        try:
            act.entry.verify(key.kid, key.public, key.alg)
        except InvalidSignature as exc:
            raise Refusal("entry.bad-signature", "a signer's signature does not verify") from exc
    agreed = {members[kid][0] for kid in signers}
    require(passes(state, agreed), "epoch.no-quorum", f"expected a quorum of members, got {len(agreed)}")


def _renewed(state: State) -> State:
    """Return the carried rows as rows of the new log."""
    lapsed = {
        change["proposal"] for row in state.rows("pending").values() for change in row.get("changes", [])
    }
    tables = {
        name: Table.of({key: _renewed_row(name, key, row, key in lapsed) for key, row in table.items()})
        for name, table in ((name, state.rows(name)) for name in state.table_roots())
    }
    return State(tables)


def _renewed_row(table: str, key: str, row: Row, is_lapsed: bool) -> Row:
    row = {**row, "index": 0}
    if table == "keys":
        return {**row, "from": 0, "until": None if row["until"] is None else 0}
    if table == "pending":
        return {**row, "changes": []}
    if table == "proposals" and is_lapsed:
        return {**row, "status": "lapsed", "code": _LAPSED}
    return row
