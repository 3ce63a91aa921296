"""Proposals: opened, voted on, executed, and carried out at the index that they state.

``gov.execute`` decides and ``settle`` carries out. Between the two the change waits in the table ``pending``,
so the checkpoint that covers the decision is cosigned by those who took it. Every check is made three times:
when a change is proposed, when it is executed, and when it takes effect. A change that has become impossible
meanwhile lapses with the code of the refusal; it never takes effect in part.
"""

from __future__ import annotations

from ledger.canonical import MAX_INTEGER
from ledger.errors import Refusal
from ledger.membership import VotingRule, active_members, passes
from ledger.rules import shapes
from ledger.rules.act import Act, existing, require
from ledger.rules.actions import ACTION, carry_out
from ledger.tables import Row, State

__all__ = ["MAX_EFFECTIVE_AFTER", "execute", "propose", "settle", "vote", "withdraw"]

MAX_EFFECTIVE_AFTER = 100_000
"""Entries a change may wait for between its execution and its effect."""

_MAX_ACTIONS = 8
_QUEUE = "queue"

_PROPOSAL = shapes.identifier("proposal")
_PROPOSE = shapes.record(
    {"proposal": _PROPOSAL, "actions": shapes.list_of(ACTION, least=1, most=_MAX_ACTIONS)},
    {"effective_after": shapes.COUNT, "reason": shapes.REASON},
)
_VOTE = shapes.record({"proposal": _PROPOSAL, "approve": shapes.BOOLEAN})
_BY_ID = shapes.record({"proposal": _PROPOSAL})


def propose(state: State, act: Act) -> State:
    """Open a proposal; proposing counts as approving."""
    body = _PROPOSE(act.entry.body, "body")
    require(state.get("proposals", body["proposal"]) is None, "proposal.exists", "the id is already in use")
    delay = body.get("effective_after", 0)
    require(
        delay <= MAX_EFFECTIVE_AFTER,
        "proposal.effective-too-late",
        f"expected at most {MAX_EFFECTIVE_AFTER} entries",
    )
    _check_possible(state, body["actions"])
    row = {
        "proposal": body["proposal"],
        "proposer": act.actor,
        "actions": body["actions"],
        "reason": body.get("reason", ""),
        "effective_after": delay,
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
    """Decide a proposal that a quorum of today's active members approves; a later batch carries it out."""
    body = _BY_ID(act.entry.body, "body")
    row = _open_proposal(state, body["proposal"])
    _check_votes(state, row)
    _check_possible(state, row["actions"])
    effective = act.index + 1 + row["effective_after"]
    change = {"proposal": body["proposal"], "executed": act.index, "effective": effective}
    state = act.put(state, "pending", _QUEUE, {"changes": [*_waiting(state), change]})
    return act.put(
        state, "proposals", body["proposal"], {**row, "status": "executed", "effective": effective}
    )


def settle(state: State, index: int) -> State:
    """Carry out the changes that are due when a batch begins.

    Args:
        state: the state before the batch.
        index: the batch's first index.

    Returns:
        The state that the batch's entries are applied to; the same object if nothing is due.
    """
    waiting = _waiting(state)
    due = [change for change in waiting if change["effective"] <= index]
    if not due:
        return state
    rest = [change for change in waiting if change["effective"] > index]
    state = state.put("pending", _QUEUE, {"changes": rest}, index=index)
    for change in sorted(due, key=lambda change: (change["effective"], change["executed"])):
        row = state.rows("proposals")[change["proposal"]]
        try:
            state = carry_out(state, row["actions"], index)
        except Refusal as refusal:
            row = {**row, "status": "lapsed", "code": refusal.code}
        else:
            row = {**row, "status": "effective", "effective": index}
        state = state.put("proposals", change["proposal"], row, index=index)
    return state


def _check_votes(state: State, row: Row) -> None:
    members = active_members(state)
    approvals = {did for did, approves in row["votes"].items() if approves and did in members}
    needed = VotingRule.of(state).quorum(len(members))
    require(
        len(approvals) >= needed,
        "proposal.no-quorum",
        f"expected {needed} approvals, found {len(approvals)}",
    )
    require(passes(state, approvals), "proposal.no-regulator", "expected the regulators' approval as well")


def _check_possible(state: State, actions: list[Row]) -> None:
    """Refuse what could not be carried out after all that waits already."""
    carry_out(settle(state, MAX_INTEGER), actions, MAX_INTEGER)


def _waiting(state: State) -> list[Row]:
    queue = state.get("pending", _QUEUE)
    return [] if queue is None else queue["changes"]


def _open_proposal(state: State, proposal: str) -> Row:
    row = existing(state, "proposals", proposal, "proposal.unknown")
    require(row["status"] == "open", "proposal.closed", f"expected an open proposal, it is {row['status']}")
    return row
