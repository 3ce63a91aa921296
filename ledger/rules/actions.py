"""What a proposal may do: a closed set of actions, and what must hold after them.

An action changes the state as from the index at which it takes effect, or refuses. The actions of a proposal
are carried out together or not at all, and ``check_governable`` looks at the result: no decision may leave a
network that could take no further one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from ledger.algorithms import ALGORITHMS
from ledger.membership import (
    ALGORITHMS_KEY,
    KEY_USES,
    NETWORK_KEY,
    VETOES,
    VOTING_KEY,
    VotingRule,
    active_members,
    allowed_algorithms,
    key_row,
    passes,
    quorum_of,
)
from ledger.rules import shapes
from ledger.rules.act import existing, require
from ledger.rules.enrolment import ENROLMENT, check_enrolment, check_new
from ledger.rules.genesis import MAX_CLOCK_SKEW_S
from ledger.rules.members import admit
from ledger.rules.rotation import ROTATION, rotate
from ledger.rules.shapes import Shape
from ledger.tables import Row, State

__all__ = ["ACTION", "ACTIONS", "ENGINES", "Action", "carry_out", "check_governable"]

ENGINES = ("sql", "etcd", "nats")


@dataclass(frozen=True)
class Action:
    """A kind of action: the shape of its object, and ``apply(state, action, index)``."""

    shape: Shape
    apply: Callable[[State, Row, int], State]


def _action(value: object, where: str) -> Row:
    kind = value.get("action") if isinstance(value, dict) else None
    action = ACTIONS.get(kind) if isinstance(kind, str) else None
    if action is None:
        raise shapes.malformed(f"{where}.action", " or ".join(ACTIONS))
    checked: Row = action.shape(value, where)
    return checked


ACTION: Shape = _action


def carry_out(state: State, actions: Iterable[Row], index: int) -> State:
    """Carry out the actions of one proposal at ``index``.

    Raises:
        Refusal: an action is impossible, or the network could not be governed afterwards.
    """
    for action in actions:
        state = ACTIONS[action["action"]].apply(state, action, index)
    check_governable(state)
    return state


def check_governable(state: State) -> None:
    """Refuse a state in which no proposal could pass any more, or whose veto nobody could exercise."""
    members = active_members(state)
    require(bool(members), "governance.no-member", "expected at least one active member")
    rule, allowed = VotingRule.of(state), allowed_algorithms(state)
    regulated = any(row["role"] == "regulator" for row in members.values())
    require(rule.veto == "none" or regulated, "governance.no-regulator", "expected an active regulator")
    needed = rule.quorum(len(members))
    require(
        needed <= len(members),
        "governance.quorum-unreachable",
        f"expected at least {needed} active members, found {len(members)}",
    )
    able = [did for did, row in members.items() if row["tx"]["alg"] in allowed]
    require(passes(state, able), "governance.algorithm-needed", "too few members could still sign a vote")


def _add(state: State, action: Row, index: int) -> State:
    member = check_enrolment(state.rows("params")[NETWORK_KEY]["name"], action["enrolment"])
    check_new(state, member)
    return admit(state, member, "admitted", index)


def _suspend(state: State, action: Row, index: int) -> State:
    return _moved(state, action["member"], ("active",), "suspended", index)


def _resume(state: State, action: Row, index: int) -> State:
    return _moved(state, action["member"], ("suspended",), "active", index)


def _remove(state: State, action: Row, index: int) -> State:
    did = action["member"]
    state = _moved(state, did, ("active", "admitted", "suspended"), "removed", index)
    for use in KEY_USES:
        number = 1
        while (row := state.get("keys", key_row(did, use, number))) is not None:
            if row["until"] is None:
                state = state.put("keys", key_row(did, use, number), {**row, "until": index}, index=index)
            number += 1
    return state


def _moved(state: State, did: str, before: tuple[str, ...], after: str, index: int) -> State:
    row = existing(state, "members", did, "member.unknown")
    expected = " or ".join(before)
    require(
        row["status"] in before,
        "member.wrong-status",
        f"expected a member that is {expected}, it is {row['status']}",
    )
    return state.put("members", did, {**row, "status": after}, index=index)


def _rotate(state: State, action: Row, index: int) -> State:
    return rotate(state, action["rotation"], index)


def _set_params(state: State, action: Row, index: int) -> State:
    voting, network = state.rows("params")[VOTING_KEY], state.rows("params")[NETWORK_KEY]
    if "quorum" in action:
        floor = quorum_of(len(active_members(state)))
        require(
            action["quorum"] >= floor,
            "params.quorum-too-low",
            f"expected a quorum of at least {floor}, got {action['quorum']}",
        )
        voting = {**voting, "quorum": action["quorum"]}
    if "regulator_veto" in action:
        voting = {**voting, "veto": action["regulator_veto"]}
    if "max_clock_skew_s" in action:
        require(
            action["max_clock_skew_s"] <= MAX_CLOCK_SKEW_S,
            "params.invalid-skew",
            f"expected a skew of at most {MAX_CLOCK_SKEW_S} s, got {action['max_clock_skew_s']}",
        )
        network = {**network, "max_clock_skew_s": action["max_clock_skew_s"]}
        state = state.put("params", NETWORK_KEY, network, index=index)
    return state.put("params", VOTING_KEY, voting, index=index)


def _allow(state: State, action: Row, index: int) -> State:
    allowed, algorithm = allowed_algorithms(state), action["algorithm"]
    require(algorithm not in allowed, "algorithm.unchanged", f"{algorithm} is allowed already")
    return state.put("params", ALGORITHMS_KEY, {"allowed": sorted({*allowed, algorithm})}, index=index)


def _forbid(state: State, action: Row, index: int) -> State:
    allowed, algorithm = allowed_algorithms(state), action["algorithm"]
    require(algorithm in allowed, "algorithm.unchanged", f"{algorithm} is forbidden already")
    hub = state.rows("params")[NETWORK_KEY]["hub"]
    require(algorithm != hub["tx"]["alg"], "algorithm.in-use", "the hub and every cosigning key use it")
    return state.put("params", ALGORITHMS_KEY, {"allowed": sorted(allowed - {algorithm})}, index=index)


def _switch_engine(state: State, action: Row, index: int) -> State:
    network = state.rows("params")[NETWORK_KEY]
    require(network["engine"] != action["engine"], "engine.unchanged", "it is the engine in use")
    return state.put("params", NETWORK_KEY, {**network, "engine": action["engine"]}, index=index)


def _named(kind: str, members: Mapping[str, Shape]) -> Shape:
    return shapes.record({"action": shapes.constant(kind), **members})


def _some_params(value: object, where: str) -> Row:
    checked: Row = _PARAMS(value, where)
    if len(checked) == 1:
        raise shapes.malformed(where, "at least one parameter")
    return checked


_PARAMS = shapes.record(
    {"action": shapes.constant("params.set")},
    {
        "quorum": shapes.POSITIVE,
        "regulator_veto": shapes.one_of(*VETOES),
        "max_clock_skew_s": shapes.POSITIVE,
    },
)
_MEMBER = {"member": shapes.DID}
_ALGORITHM = {"algorithm": shapes.one_of(*ALGORITHMS)}

ACTIONS: Mapping[str, Action] = MappingProxyType(
    {
        "member.add": Action(_named("member.add", {"enrolment": ENROLMENT}), _add),
        "member.suspend": Action(_named("member.suspend", _MEMBER), _suspend),
        "member.resume": Action(_named("member.resume", _MEMBER), _resume),
        "member.remove": Action(_named("member.remove", _MEMBER), _remove),
        "key.rotate": Action(_named("key.rotate", {"rotation": ROTATION}), _rotate),
        "params.set": Action(_some_params, _set_params),
        "algorithm.allow": Action(_named("algorithm.allow", _ALGORITHM), _allow),
        "algorithm.forbid": Action(_named("algorithm.forbid", _ALGORITHM), _forbid),
        "engine.switch": Action(_named("engine.switch", {"engine": shapes.one_of(*ENGINES)}), _switch_engine),
    }
)
