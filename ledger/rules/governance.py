"""Governance: the genesis, proposals and votes, and what members say about themselves."""

from __future__ import annotations

from ledger.errors import InvalidSignature, MalformedKey, Refusal
from ledger.membership import NETWORK_KEY, KeyRecord, active_members, quorum_of
from ledger.notes import ED25519, Vkey
from ledger.rules import shapes
from ledger.rules.act import Act, existing, require
from ledger.rules.enrolment import ENROLMENT, KEY, check_enrolment, check_key, check_new
from ledger.tables import Row, State

__all__ = ["acknowledge", "execute", "genesis", "propose", "update_member", "vote", "withdraw"]

_MAX_FOUNDERS = 60
_MAX_SKEW_S = 3600

_GENESIS = shapes.record(
    {
        "name": shapes.SENTENCE,
        "origin": shapes.SENTENCE,
        "log": shapes.text(400),
        "hub": shapes.record({"did": shapes.DID, "name": shapes.NAME, "tx": KEY, "tls": shapes.BYTES}),
        "members": shapes.list_of(ENROLMENT, least=1, most=_MAX_FOUNDERS),
        "params": shapes.record({"max_clock_skew_s": shapes.POSITIVE}),
        "engine": shapes.WORD,
    }
)
_ACTION = shapes.record({"action": shapes.constant("member.add"), "enrolment": ENROLMENT})
_PROPOSAL = shapes.identifier("proposal")
_PROPOSE = shapes.record({"proposal": _PROPOSAL, "actions": shapes.list_of(_ACTION, least=1, most=8)})
_VOTE = shapes.record({"proposal": _PROPOSAL, "approve": shapes.BOOLEAN})
_BY_ID = shapes.record({"proposal": _PROPOSAL})
_ACK = shapes.record({})
_UPDATE = shapes.record({"endpoint": shapes.ENDPOINT})


def genesis(state: State, act: Act) -> State:
    """Found the network. Signed by the hub and by every founder, at index 0."""
    entry = act.entry
    require(
        act.index == 0 and not state.table_roots(), "genesis.not-first", "expected the genesis at index 0"
    )
    body = _GENESIS(entry.body, "body")
    require(entry.net == body["name"], "entry.wrong-net", "expected the network's own name")
    hub = body["hub"]
    check_key(hub["did"], hub["tx"])
    require(entry.actor == hub["did"], "genesis.wrong-actor", "expected the hub as actor")
    _check_log_key(body["log"], body["origin"])
    skew = body["params"]["max_clock_skew_s"]
    require(skew <= _MAX_SKEW_S, "genesis.invalid-params", f"expected a skew of at most {_MAX_SKEW_S} s")
    network = {
        "name": body["name"],
        "origin": body["origin"],
        "log": body["log"],
        "hub": hub,
        "engine": body["engine"],
        "max_clock_skew_s": skew,
    }
    state = act.put(state, "params", NETWORK_KEY, network)
    signers = [KeyRecord.of(hub["tx"])]
    for enrolment in body["members"]:
        member = check_enrolment(body["name"], enrolment)
        check_new(state, member)
        state = act.put(state, "members", member["did"], {**member, "status": "active"})
        signers.append(KeyRecord.of(member["tx"]))
    _check_signers(act, signers)
    return state


def _check_log_key(text: str, origin: str) -> None:
    try:
        log = Vkey.parse(text)
    except MalformedKey as exc:
        raise Refusal("genesis.invalid-log-key", str(exc)) from exc
    named = log.type == ED25519 and log.name == origin
    require(named, "genesis.invalid-log-key", "expected an Ed25519 log key named after the origin")


def _check_signers(act: Act, signers: list[KeyRecord]) -> None:
    attached = {signature.kid for signature in act.entry.sigs}
    expected = {signer.kid for signer in signers}
    require(attached == expected, "genesis.wrong-signers", "expected the hub and every founder, nobody else")
    for signer in signers:
        try:
            act.entry.verify(signer.kid, signer.public)
        except InvalidSignature as exc:
            raise Refusal(
                "entry.bad-signature", "a founder's or the hub's signature does not verify"
            ) from exc


def propose(state: State, act: Act) -> State:
    """Open a proposal; proposing counts as approving."""
    body = _PROPOSE(act.entry.body, "body")
    require(state.get("proposals", body["proposal"]) is None, "proposal.exists", "the id is already in use")
    _apply_actions(state, act, body["actions"])
    row = {
        "proposal": body["proposal"],
        "proposer": act.actor,
        "actions": body["actions"],
        "votes": {act.actor: True},
        "status": "open",
    }
    return act.put(state, "proposals", body["proposal"], row)


def vote(state: State, act: Act) -> State:
    """Approve or reject an open proposal; the last vote of a member counts."""
    body = _VOTE(act.entry.body, "body")
    row = _open_proposal(state, body["proposal"])
    votes = {**row["votes"], act.actor: body["approve"]}
    return act.put(state, "proposals", body["proposal"], {**row, "votes": votes})


def withdraw(state: State, act: Act) -> State:
    """Take back one's own open proposal."""
    body = _BY_ID(act.entry.body, "body")
    row = _open_proposal(state, body["proposal"])
    require(row["proposer"] == act.actor, "entry.not-permitted", "expected the proposer")
    return act.put(state, "proposals", body["proposal"], {**row, "status": "withdrawn"})


def execute(state: State, act: Act) -> State:
    """Carry out a proposal that a quorum of today's active members approves."""
    body = _BY_ID(act.entry.body, "body")
    row = _open_proposal(state, body["proposal"])
    members = active_members(state)
    approvals = sum(1 for did, approves in row["votes"].items() if approves and did in members)
    needed = quorum_of(len(members))
    require(approvals >= needed, "proposal.no-quorum", f"expected {needed} approvals, found {approvals}")
    state = _apply_actions(state, act, row["actions"])
    return act.put(state, "proposals", body["proposal"], {**row, "status": "executed"})


def acknowledge(state: State, act: Act) -> State:
    """Start to count as a member: the admitted member shows that it holds its key."""
    _ACK(act.entry.body, "body")
    row = existing(state, "members", act.actor, "entry.unknown-actor")
    return act.put(state, "members", act.actor, {**row, "status": "active"})


def update_member(state: State, act: Act) -> State:
    """Move one's own endpoint."""
    body = _UPDATE(act.entry.body, "body")
    row = existing(state, "members", act.actor, "entry.unknown-actor")
    return act.put(state, "members", act.actor, {**row, "endpoint": body["endpoint"]})


def _open_proposal(state: State, proposal: str) -> Row:
    row = existing(state, "proposals", proposal, "proposal.unknown")
    require(row["status"] == "open", "proposal.closed", f"expected an open proposal, it is {row['status']}")
    return row


def _apply_actions(state: State, act: Act, actions: list[Row]) -> State:
    net = state.rows("params")[NETWORK_KEY]["name"]
    for action in actions:
        member = check_enrolment(net, action["enrolment"])
        check_new(state, member)
        state = act.put(state, "members", member["did"], {**member, "status": "admitted"})
    return state
